"""Notifies systemd of the supervisor's state (sd_notify(3)): ready, status, reloading, stopping, more time, watchdog.

Everything comes from the supervisor's own loop and events. A watchdog that a thread serves would prove nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from swarm_liveness.protocols import Loop, SnapshotView

# systemd must hear from the watchdog within its interval; sd_watchdog_enabled(3) recommends every half of it.
WATCHDOG_SHARE = 0.5
# How often to ask for more time while draining or waiting at the start; each time for three times as long.
EXTEND_EVERY_S = 5.0
EXTEND_BY_S = 3 * EXTEND_EVERY_S
# When to repeat an important notification that the manager did not take because its socket was full.
AGAIN_S = 1.0

_CHANGES = frozenset({"READY", "RELOADING", "STOPPING"})

# States in which stopping may take long.
_DRAINING = frozenset({"stopping"})


class Notifier:
    """Sends datagrams to the service manager; does nothing if there is none."""

    def __init__(self, environment: Mapping[str, str] | None = None, *, pid: int | None = None) -> None:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; None: from this process's environment."""
        environment = os.environ if environment is None else environment
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        self.dropped = 0
        """How many notifications could not be sent."""
        self.watchdog_s: float | None = None
        """The longest time between two WATCHDOG=1, in seconds; None: the manager does not expect any."""
        self._read_watchdog(environment, os.getpid() if pid is None else pid)

    @property
    def enabled(self) -> bool:
        """Whether there is a service manager to notify."""
        return self._address is not None

    def notify(self, **assignments: str | int) -> bool:
        """Send assignments, like READY=1, in one datagram. Never blocks; False if it was not sent."""
        if self._address is None:
            return False
        text = "\n".join(f"{name}={_one_line(value)}" for name, value in assignments.items())
        try:
            if self._socket is None:
                self._socket = socket.socket(
                    socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
                )
            self._socket.sendto(text.encode(), self._address)
        except OSError:
            self.dropped += 1
            return False
        return True

    def close(self) -> None:
        """Close the socket. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read_watchdog(self, environment: Mapping[str, str], pid: int) -> None:
        # WATCHDOG_PID guards against a child that inherited the variables (sd_watchdog_enabled(3)).
        with contextlib.suppress(ValueError):
            usec = int(environment.get("WATCHDOG_USEC", "0"))
            if usec > 0 and int(environment.get("WATCHDOG_PID", str(pid))) == pid:
                self.watchdog_s = usec / 1e6


class SystemdListener:
    """Follows a supervisor: `supervisor.subscribe(listener)`. The supervisor provides the loop and the snapshots.

    It sends READY=1 when all wanted nodes are healthy for the first time, STATUS= at each change, RELOADING=1 while
    nodes are replaced, STOPPING=1 and EXTEND_TIMEOUT_USEC while draining, and WATCHDOG=1 from a timer of the loop.
    EXTEND_TIMEOUT_USEC is also sent while a start waits (usually for Kafka) and until its nodes run.
    """

    def __init__(self, loop: Loop, snapshot: Callable[[], SnapshotView], notifier: Notifier | None = None) -> None:
        """Use the loop's timers and the snapshots; `notifier` None: the one in this process's environment."""
        self._loop = loop
        self._snapshot = snapshot
        self.notifier = Notifier() if notifier is None else notifier
        self._ready = False
        self._stopping = False
        self._reloading = False
        self._begun = False
        self._waits = False
        self._status = ""
        self._pending: dict[str, str | int] = {}
        """A change of state that has not reached the manager yet."""
        self._repeat_set = False

    def __call__(self, event: Any) -> None:
        """Handle one event, by the name of its class."""
        if not self.notifier.enabled:
            return
        name = type(event).__name__
        if not self._begun and name in ("Held", "AfterFork", "Controlled"):
            self._begun = True
            self._feed_watchdog()
        if name == "Held":
            self._follow()
            if not self._waits:
                self._waits = True
                self._extend_start()
        elif name == "Stopped":
            self._notify(STATUS=str(event))
            self.notifier.close()
        elif name == "Stopping":
            self._drain(str(event))
        elif name == "RolloutStarted" and not self._stopping:
            self._reloading = True
            # Without this time the manager could not distinguish the answer to this reload from an earlier READY=1.
            self._notify(RELOADING=1, MONOTONIC_USEC=int(time.monotonic() * 1e6), STATUS=str(event))
        elif name == "RolloutFinished":
            if self._reloading:
                self._reloading = False
                self._notify(READY=1, STATUS=str(event))
        elif name in (
            "Released",
            "NodeRunning",
            "NodeExited",
            "NodeStopping",
            "CrashLoop",
            "Quieting",
            "Scaled",
            "NodeRestarting",
        ):
            self._follow()

    def _follow(self) -> None:
        snapshot = self._snapshot()
        healthy = snapshot.running
        status = f"{snapshot.state}: {healthy} of {snapshot.wanted} nodes healthy"
        if snapshot.restarts:
            status += f", {snapshot.restarts} {'restart' if snapshot.restarts == 1 else 'restarts'}"
        if snapshot.reason:
            status += f" ({snapshot.reason})"
        if not self._ready and not self._stopping and healthy >= snapshot.wanted:
            self._ready = True
            self._notify(READY=1, STATUS=status)
        elif status != self._status:
            self._notify(STATUS=status)
        self._status = status

    def _drain(self, reason: str) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._notify(STOPPING=1, STATUS=reason)
        self._extend()

    def _extend(self) -> None:
        """Ask for more time while the loop works and nodes drain. A loop that hangs stops asking."""
        if self._snapshot().state not in _DRAINING:
            return
        self._notify(EXTEND_TIMEOUT_USEC=int(EXTEND_BY_S * 1e6))
        self._loop.call_at(time.monotonic() + EXTEND_EVERY_S, self._extend)

    def _extend_start(self) -> None:
        """Ask for more time while the start waits for something else."""
        if self._ready or self._stopping or self._snapshot().state != "starting":
            return
        self._notify(EXTEND_TIMEOUT_USEC=int(EXTEND_BY_S * 1e6))
        self._loop.call_at(time.monotonic() + EXTEND_EVERY_S, self._extend_start)

    def _feed_watchdog(self) -> None:
        if self.notifier.watchdog_s is not None:
            self._notify(WATCHDOG=1)
            self._loop.call_at(time.monotonic() + WATCHDOG_SHARE * self.notifier.watchdog_s, self._feed_watchdog)

    def _notify(self, **assignments: str | int) -> None:
        """Notify. A change of state that the manager did not take is sent again until it does, or until the next one.

        If READY=1 were lost, the manager would kill the whole unit at the end of its start timeout.
        """
        taken = self.notifier.notify(**assignments)
        if _CHANGES.intersection(assignments):
            self._pending = {} if taken else assignments
            self._repeat_later()

    def _repeat_later(self) -> None:
        if self._pending and not self._repeat_set:
            self._repeat_set = True
            self._loop.call_at(time.monotonic() + AGAIN_S, self._repeat)

    def _repeat(self) -> None:
        self._repeat_set = False
        if self._pending and self.notifier.notify(**self._pending):
            self._pending = {}
        self._repeat_later()


def _address(text: str) -> str | bytes | None:
    if text.startswith("@"):
        return b"\0" + os.fsencode(text[1:])  # the abstract namespace (unix(7))
    # Other transports, such as vsock:, are for whole machines.
    return text if text.startswith("/") else None


def _one_line(value: object) -> str:
    return " ".join(str(value).split())[:1000]
