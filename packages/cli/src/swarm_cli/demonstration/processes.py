"""The processes that the demo starts: a swarm, and separate processes to compare it with."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from swarm_cli.errors import CommandError
from swarm_supervisor import ControlClient, ControlError, Snapshot


def _start(arguments: Sequence[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C at the terminal reaches only the demo, which stops everything gracefully.
    command = [sys.executable, "-m", "swarm_cli.demonstration._tied", str(os.getpid())]
    command += [sys.executable, "-m", "swarm_cli", *arguments]
    with log.open("ab") as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=os.environ | environment,
            start_new_session=True,
        )


class Processes:
    """Processes of `swarm-cli` that the demo starts, with their log and their end."""

    def __init__(self, commands: Sequence[Sequence[str]], log: Path, environment: dict[str, str]) -> None:
        self.log = log
        self._popen = [_start(command, log, environment) for command in commands]

    def pids(self) -> list[int]:
        """The living processes that were started here."""
        return [process.pid for process in self._popen if process.poll() is None]

    def check(self) -> None:
        """Raise CommandError with the end of the log if one of them has ended unexpectedly."""
        for process in self._popen:
            if process.poll() is not None:
                raise CommandError(f"a process of the demo ended unexpectedly ({process.returncode}):\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """The last lines that they logged."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, timeout_s: float = 30.0) -> list[int]:
        """Send TERM to all, wait, and KILL the rest after `timeout_s`. Returns the exit codes."""
        for process in self._popen:
            process.terminate()
        deadline = time.monotonic() + timeout_s
        codes = []
        for process in self._popen:
            try:
                codes.append(process.wait(max(0.0, deadline - time.monotonic())))
            except subprocess.TimeoutExpired:
                process.kill()
                codes.append(process.wait())
        return codes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Swarm(Processes):
    """`swarm-cli swarm` in a process of its own, seen through its control socket."""

    def __init__(self, arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        self._control = folder / "control.sock"
        command = ["swarm", *arguments, "--control", str(self._control)]
        super().__init__([command], folder / "swarm.log", environment)

    def status(self) -> Snapshot | None:
        """The supervisor's snapshot; None if it does not answer yet."""
        self.check()
        try:
            with ControlClient(self._control, timeout_s=2.0) as client:
                return client.status()
        except ControlError:
            return None
