"""A terminal for a live picture: it reads single keys, follows resizing, and restores the terminal afterwards.

No thread draws: the owner waits here for keys, signals and its own descriptors, and paints when needed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import termios
import tty
from collections.abc import Sequence
from types import FrameType
from typing import NamedTuple

from swarm_cli.operation import coloured
from swarm_cli.views.keys import keys
from swarm_cli.views.styles import RESET, sequence

ENTER = "\x1b[?1049h\x1b[?25l"
"""The alternate screen, and no cursor (xterm control sequences)."""
LEAVE = "\x1b[?25h\x1b[?1049l"
SIGNALS = (signal.SIGWINCH, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)


class Line(NamedTuple):
    """One line of a picture: its text, already cut to the width, and names of `styles.STYLES`."""

    text: str = ""
    style: str = ""


class Happened(NamedTuple):
    """What ended a wait."""

    keys: tuple[str, ...] = ()
    signals: frozenset[int] = frozenset()
    ready: bool = False
    """Whether the owner's descriptor can be read."""


def _nothing(number: int, frame: FrameType | None) -> None:
    """The wakeup descriptor reports the signal."""


class Terminal:
    """The terminal of this process, as a context manager. Create it in the main thread."""

    def __init__(self) -> None:
        self._in = sys.stdin.fileno()
        self._out = sys.stdout.fileno()
        self._colours = coloured()

    def __enter__(self) -> Terminal:
        self._saved = termios.tcgetattr(self._in)
        self._wake, wakes = socket.socketpair()
        self._wake.setblocking(False)
        wakes.setblocking(False)
        self._wakes = wakes
        self._handlers = {number: signal.signal(number, _nothing) for number in SIGNALS}
        self._wakeup_before = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._wake.close()
        self._wakes.close()

    def size(self) -> tuple[int, int]:
        """Columns and lines, at least 1 of each."""
        try:
            size = os.get_terminal_size(self._out)
        except OSError:
            return 80, 24
        return (size.columns or 80), (size.lines or 24)

    def paint(self, lines: Sequence[Line]) -> None:
        """Show the picture, line by line over the old one, without flicker."""
        _, height = self.size()
        parts = ["\x1b[H"]
        for number, line in enumerate(lines[:height]):
            parts.append(
                ("\r\n" if number else "") + f"{RESET}\x1b[K" + sequence(line.style, self._colours) + line.text
            )
        parts.append(f"{RESET}\x1b[J" if len(lines) < height else RESET)
        self._write("".join(parts))

    def wait(self, fd: int | None, timeout_s: float) -> Happened:
        """Wait for keys, a signal or `fd`, for at most `timeout_s`."""
        watched = [self._in, self._wake] if fd is None else [self._in, self._wake, fd]
        ready, _, _ = select.select(watched, [], [], max(0.0, timeout_s))
        pressed: tuple[str, ...] = ()
        signals: frozenset[int] = frozenset()
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                signals = frozenset(self._wake.recv(4096))
        if self._in in ready:
            try:
                typed = os.read(self._in, 1024)
            except OSError:
                typed = b""
            if not typed:  # the terminal is gone
                signals |= {signal.SIGHUP}
            pressed = tuple(keys(typed))
        return Happened(pressed, signals, fd is not None and fd in ready)

    def suspend(self) -> None:
        """Handle Handle Ctrl-Z: give the terminal back, stop, and take it again when this process is continued."""
        self._close()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, _nothing)
        self._open()

    def _open(self) -> None:
        # cbreak: keys arrive at once and are not echoed, while Ctrl-C and Ctrl-Z still send their signals.
        tty.setcbreak(self._in)
        self._write(ENTER)

    def _close(self) -> None:
        with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
            self._write(LEAVE)
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._saved)

    def _write(self, text: str) -> None:
        data = text.encode(errors="replace")
        while data:
            data = data[os.write(self._out, data) :]
