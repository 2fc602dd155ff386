"""A program in a pseudo-terminal, and the screen that its user sees."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

import pyte

# A session leader takes the pseudo-terminal as its own: the kernel then sends it SIGWINCH, SIGINT, SIGTSTP and SIGHUP.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
)


class Terminal:
    """A pseudo-terminal with a program in it, and the screen that its user sees."""

    def __init__(self, columns: int, lines: int, *arguments: str, **environment: str) -> None:
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.master, self.slave = pty.openpty()
        self._set_size(columns, lines)
        self.modes_before = termios.tcgetattr(self.slave)
        # A worker of the tests has COLUMNS and LINES, which say more than the terminal (shutil.get_terminal_size).
        foreign = ("SWARM_", "NO_COLOR", "COLUMNS", "LINES")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        self.popen = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, sys.executable, "-m", "swarm_cli", *arguments],
            stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
            env=kept | {"TERM": "xterm-256color"} | environment,
        )  # fmt: skip

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        self._set_size(columns, lines)

    def press(self, *keys: str) -> None:
        for key in keys:
            os.write(self.master, key.encode())

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def shows(self, pattern: str, timeout_s: float = 30.0) -> "re.Match[str]":
        """Read until the screen matches; AssertionError with the screen after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while (found := re.search(pattern, self.text(), re.MULTILINE)) is None:
            assert self._read(deadline), f"no {pattern!r} on the screen:\n{self.text()}"
        return found

    def shows_not(self, pattern: str, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while re.search(pattern, self.text(), re.MULTILINE):
            assert self._read(deadline), f"still {pattern!r} on the screen:\n{self.text()}"

    def _read(self, deadline: float) -> bool:
        if not select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        data = os.read(self.master, 65536)
        self.raw += data
        self.stream.feed(data)
        return True

    def ended(self, timeout_s: float = 30.0) -> int:
        """The exit code, once everything that it wrote has been read."""
        deadline = time.monotonic() + timeout_s
        while self.popen.poll() is None:  # reading meanwhile: it must not wait for room in the terminal's buffer
            assert time.monotonic() < deadline, f"it has not ended:\n{self.text()}"
            self._read(time.monotonic() + 0.05)
        while self._read(time.monotonic()):
            pass
        return int(self.popen.returncode)

    def restored(self) -> bool:
        """Whether the terminal is as before: its modes, the cursor, the screen."""
        left = self.raw.rindex(b"\x1b[?25h\x1b[?1049l")
        return termios.tcgetattr(self.slave) == self.modes_before and b"\x1b[?1049h" not in self.raw[left:]

    def cursor_is_shown(self) -> bool:
        """Whether the cursor, if it was hidden, is back."""
        return self.raw.rfind(b"\x1b[?25h") >= self.raw.rfind(b"\x1b[?25l")

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(10)
        for descriptor in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)
