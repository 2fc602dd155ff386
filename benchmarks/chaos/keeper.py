"""The outer loop: starts `swarm-cli swarm`, starts it again whenever it ends, and watches what it leaves behind."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chaos import processes
from swarm_supervisor import ControlClient, ControlError, NodeSnapshot, Snapshot

ROOT = Path(__file__).resolve().parent.parent.parent
ORPHANS_GONE_S = 1.0
"""No node outlives its supervisor by more than this."""
LEFT_S = 10.0
"""After this, what has outlived its supervisor is killed."""


@dataclass(frozen=True, slots=True)
class End:
    """How one supervisor ended."""

    pid: int
    at: float
    code: int
    """As subprocess has it: -9 for SIGKILL."""
    orphans_s: float
    """How long the last of its nodes outlived it."""
    left: tuple[int, ...]
    """Who had to be killed because it outlived the supervisor by far too long."""


class Keeper:
    """One swarm after the other, under the same control socket."""

    def __init__(self, arguments: list[str], environment: dict[str, str], folder: Path, control: Path) -> None:
        self.control = control
        self.log = folder / "swarm.log"
        self.ends: list[End] = []
        self.events: list[dict[str, Any]] = []
        self.starts = 0
        self.pid = 0
        self._command = [sys.executable, "-m", "swarm_cli", *arguments, "--control", str(self.control)]
        self._environment = os.environ | environment
        self._ending = threading.Event()
        self._watchers: list[threading.Thread] = []
        self._popen: subprocess.Popen[bytes] | None = None
        self._started = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, name="outer loop"),
            threading.Thread(target=self._follow, name="events", daemon=True),
        ]

    def start(self) -> None:
        """Start the first one; the loop goes on until `stop`."""
        for thread in self._threads:
            thread.start()
        self._started.wait(10)

    def status(self) -> Snapshot | None:
        """Return the current snapshot of the swarm, None while it cannot be asked."""
        with contextlib.suppress(ControlError), ControlClient(self.control, timeout_s=2.0) as client:
            return client.status()
        return None

    def command(self, act: Callable[[ControlClient], None]) -> bool:
        """Do something through the control socket; False if nobody answers there."""
        with contextlib.suppress(ControlError), ControlClient(self.control, timeout_s=2.0) as client:
            act(client)
            return True
        return False

    def running(self) -> list[NodeSnapshot]:
        """Return the nodes that run now."""
        status = self.status()
        return [] if status is None else [node for node in status.nodes if node.state == "running" and node.pid]

    def signal(self, number: signal.Signals) -> int:
        """Send a signal to the supervisor that there is now; returns its pid."""
        assert self._popen is not None
        self._popen.send_signal(number)
        return self._popen.pid

    def stop(self, timeout_s: float) -> int:
        """End the swarm in order, and the loop. The exit code; -9 if it had to be killed."""
        assert self._popen is not None
        self._ending.set()
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(signal.SIGCONT)
            self._popen.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout_s)
        self.kill()
        for thread in [self._threads[0], *self._watchers]:
            thread.join(30)
        return self._popen.returncode

    def kill(self) -> None:
        """End whatever is there."""
        self._ending.set()
        if self._popen is not None and self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()

    def _keep(self) -> None:
        while not self._ending.is_set():
            with self.log.open("ab") as log:
                self._popen = subprocess.Popen(
                    self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
                )
            self.pid = self._popen.pid
            self.starts += 1
            self._started.set()
            began = time.monotonic()
            code = self._popen.wait()
            watcher = threading.Thread(target=self._watch_the_rest, args=(self._popen.pid, time.monotonic(), code))
            watcher.start()
            self._watchers = [each for each in self._watchers if each.is_alive()] + [watcher]
            if time.monotonic() - began < 1.0:
                self._ending.wait(1.0)  # it does not even start: no busy loop

    def _watch_the_rest(self, session: int, at: float, code: int) -> None:
        def nobody() -> bool:
            # A zombie runs nothing: it waits for whoever adopted it.
            return all(state in ("Z", "X") for state in processes.in_session(session).values())

        processes.wait_until(nobody, LEFT_S, 0.01)
        last = time.monotonic()
        left = tuple(pid for pid, state in processes.in_session(session).items() if state not in ("Z", "X"))
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.ends.append(End(session, at, code, last - at, left))

    def _follow(self) -> None:
        while not self._ending.is_set():
            try:
                with ControlClient(self.control, timeout_s=2.0) as client:
                    for event in client.subscribe():
                        self.events.append(event)
            except ControlError:
                time.sleep(0.1)
