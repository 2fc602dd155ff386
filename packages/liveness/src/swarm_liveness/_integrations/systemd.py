"""Tells systemd how the supervisor is (sd_notify(3)): ready, status, reloading, stopping, more time, still turning.

Everything comes from the supervisor's own loop and events. A watchdog fed by a thread would prove nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from swarm_liveness.protocols import Loop, SnapshotView

# systemd wants the watchdog fed in less than its time; half of it is what sd_watchdog_enabled(3) recommends.
WATCHDOG_SHARE = 0.5
# While draining, or waiting at the start, more time is asked for this often, for three times as long.
EXTEND_EVERY_S = 5.0
EXTEND_BY_S = 3 * EXTEND_EVERY_S
# What the manager did not take (its socket is full) and must not miss is told again so soon.
AGAIN_S = 1.0

_CHANGES = frozenset({"READY", "RELOADING", "STOPPING"})

# States in which stopping takes its time.
_DRAINING = frozenset({"stopping"})


class Notifier:
    """Sends datagrams to the service manager; does nothing where there is none."""

    def __init__(self, environment: Mapping[str, str] | None = None, *, pid: int | None = None) -> None:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; None: of this process."""
        environment = os.environ if environment is None else environment
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        self.dropped = 0
        """Notifications that could not be sent."""
        self.watchdog_s: float | None = None
        """How often, in seconds, the manager wants to hear WATCHDOG=1 at least; None: it does not."""
        self._read_watchdog(environment, os.getpid() if pid is None else pid)

    @property
    def enabled(self) -> bool:
        """Whether a service manager listens."""
        return self._address is not None

    def notify(self, **assignments: str | int) -> bool:
        """Send assignments, like READY=1, in one datagram; never blocks, False when it was not sent."""
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
    """Follows a supervisor: `supervisor.subscribe(listener)`, with the supervisor as its loop and its snapshots.

    READY=1 when every wanted node is healthy for the first time; STATUS= at each change; RELOADING=1 while nodes are
    replaced; STOPPING=1 and EXTEND_TIMEOUT_USEC while draining; the latter also while a start waits (for Kafka, as a
    rule) and until its nodes run; WATCHDOG=1 from a timer of the loop.
    """

    def __init__(self, loop: Loop, snapshot: Callable[[], SnapshotView], notifier: Notifier | None = None) -> None:
        """Use the loop's timers and the snapshots; None: the notifier of this process's environment."""
        self._loop = loop
        self._snapshot = snapshot
        self.notifier = Notifier() if notifier is None else notifier
        self._ready = False
        self._stopping = False
        self._reloading = False
        self._begun = False
        self._waits = False
        self._status = ""
        self._untold: dict[str, str | int] = {}
        """A change of state that the manager has not taken yet."""
        self._again = False

    def __call__(self, event: Any) -> None:
        """Follow one event, by the name of its class."""
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
            self._tell(STATUS=str(event))
            self.notifier.close()
        elif name == "Stopping":
            self._drain(str(event))
        elif name == "RolloutStarted" and not self._stopping:
            self._reloading = True
            # Without this time the manager could not tell an answer to this reload from an earlier READY=1.
            self._tell(RELOADING=1, MONOTONIC_USEC=int(time.monotonic() * 1e6), STATUS=str(event))
        elif name == "RolloutFinished":
            if self._reloading:
                self._reloading = False
                self._tell(READY=1, STATUS=str(event))
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
        well = snapshot.running
        status = f"{snapshot.state}: {well} of {snapshot.wanted} nodes healthy"
        if snapshot.restarts:
            status += f", {snapshot.restarts} {'restart' if snapshot.restarts == 1 else 'restarts'}"
        if snapshot.reason:
            status += f" ({snapshot.reason})"
        if not self._ready and not self._stopping and well >= snapshot.wanted:
            self._ready = True
            self._tell(READY=1, STATUS=status)
        elif status != self._status:
            self._tell(STATUS=status)
        self._status = status

    def _drain(self, reason: str) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._tell(STOPPING=1, STATUS=reason)
        self._extend()

    def _extend(self) -> None:
        """Ask for more time while the loop turns and nodes drain; a loop that hangs stops asking."""
        if self._snapshot().state not in _DRAINING:
            return
        self._tell(EXTEND_TIMEOUT_USEC=int(EXTEND_BY_S * 1e6))
        self._loop.call_at(time.monotonic() + EXTEND_EVERY_S, self._extend)

    def _extend_start(self) -> None:
        """Ask for more time while the start waits for something: it is not this process that is late."""
        if self._ready or self._stopping or self._snapshot().state != "starting":
            return
        self._tell(EXTEND_TIMEOUT_USEC=int(EXTEND_BY_S * 1e6))
        self._loop.call_at(time.monotonic() + EXTEND_EVERY_S, self._extend_start)

    def _feed_watchdog(self) -> None:
        if self.notifier.watchdog_s is not None:
            self._tell(WATCHDOG=1)
            self._loop.call_at(time.monotonic() + WATCHDOG_SHARE * self.notifier.watchdog_s, self._feed_watchdog)

    def _tell(self, **assignments: str | int) -> None:
        """Notify; a change of state that was not taken is told again until it is, or until the next one.

        A READY=1 that is lost would have the manager kill the whole unit when its time to start is over.
        """
        taken = self.notifier.notify(**assignments)
        if _CHANGES.intersection(assignments):
            self._untold = {} if taken else assignments
            self._tell_again_later()

    def _tell_again_later(self) -> None:
        if self._untold and not self._again:
            self._again = True
            self._loop.call_at(time.monotonic() + AGAIN_S, self._tell_again)

    def _tell_again(self) -> None:
        self._again = False
        if self._untold and self.notifier.notify(**self._untold):
            self._untold = {}
        self._tell_again_later()


def _address(text: str) -> str | bytes | None:
    if text.startswith("@"):
        return b"\0" + os.fsencode(text[1:])  # the abstract namespace (unix(7))
    # Other transports, such as vsock:, are for machines as a whole.
    return text if text.startswith("/") else None


def _one_line(value: object) -> str:
    return " ".join(str(value).split())[:1000]
