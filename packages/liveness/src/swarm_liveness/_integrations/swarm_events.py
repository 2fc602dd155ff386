"""Counts a supervisor's events for /metrics. It knows them by class name, so it does not import the supervisor."""

from __future__ import annotations

import signal
import time
from collections import Counter, deque
from typing import Any

from swarm_health import Status

# The loop's lag is the largest in this time, so that a scrape every 15 or 30 s does not miss any.
LAG_WINDOW_S = 60.0

_STATUS_NAMES = {status: status.name.lower() for status in Status} | {
    Status.NOT_REPORTING: "silent",
    Status.HEALTHY: "planned",
}

STOP_REASONS = (*_STATUS_NAMES.values(), "custom")
"""All reasons for a stop."""
RESTART_REASONS = (*STOP_REASONS, "exit", "signal")
"""All reasons for a restart."""


def status_name(status: int) -> str:
    """A health status as a label. All custom codes share one value, which bounds the number of series."""
    try:
        return _STATUS_NAMES[Status(status)]
    except ValueError:
        return "custom"


class SwarmEvents:
    """A listener for `supervisor.subscribe` that counts starts, stops, exits and crash loops, and measures loop lag."""

    def __init__(self) -> None:
        """Start with every count at 0."""
        self.starts: Counter[int] = Counter()
        """Forks by node id."""
        self.restarts: Counter[tuple[int, str]] = Counter()
        """Processes started to replace another, by node id and by the reason why that one ended."""
        self.stops: Counter[tuple[int, str]] = Counter()
        """How often nodes were told to stop, by node id and status name."""
        self.kills: Counter[int] = Counter()
        """How often nodes had to be killed, by node id."""
        self.exits: Counter[tuple[int, str, str]] = Counter()
        """Exits by node id, exit code and signal name; the code or the signal is ""."""
        self.crash_loops: Counter[int] = Counter()
        self.signals: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        """ErrorOccurred events by what the supervisor was doing."""
        self._reasons: dict[int, str] = {}
        self._spares: dict[int, int] = {}  # node id: generation of a spare that has not taken over yet
        self._deadline: float | None = None
        self._lags: deque[tuple[float, float]] = deque()

    def __call__(self, event: Any) -> None:
        """Count one event; an unknown one is ignored."""
        count = getattr(self, f"_on_{type(event).__name__}", None)
        if count is not None:
            count(event)

    def loop_lag_s(self, now: float | None = None) -> float:
        """The longest delay of the loop after its own deadline in the last minute, in seconds, its work included."""
        self._forget(time.monotonic() if now is None else now)
        return self._lags[0][1] if self._lags else 0.0

    def _on_AfterFork(self, event: Any) -> None:
        self.starts[event.node_id] += 1
        if event.spare:  # it takes over once the old one is gone, or never does
            self._spares[event.node_id] = event.generation
            return
        reason = self._reasons.pop(event.node_id, None)
        if event.generation > 1:
            self.restarts[event.node_id, reason or "exit"] += 1

    def _on_ReplacementFinished(self, event: Any) -> None:
        self._spares.pop(event.node_id, None)
        self.restarts[event.node_id, self._reasons.pop(event.node_id, "planned")] += 1

    def _on_NodeStopping(self, event: Any) -> None:
        name = status_name(event.status)
        self.stops[event.node_id, name] += 1
        self._reasons[event.node_id] = name

    def _on_NodeTerminating(self, event: Any) -> None:
        self.kills[event.node_id] += 1

    def _on_NodeExited(self, event: Any) -> None:
        code = "" if event.code is None else str(event.code)
        self.exits[event.node_id, code, _signal_name(event.signal)] += 1
        if self._spares.get(event.node_id) == event.generation:
            del self._spares[event.node_id]
            return
        # A node that was told to stop already has a reason; otherwise it ended on its own.
        self._reasons.setdefault(event.node_id, "signal" if event.signal is not None else "exit")

    def _on_CrashLoop(self, event: Any) -> None:
        self.crash_loops[event.node_id] += 1

    def _on_SignalReceived(self, event: Any) -> None:
        self.signals[_signal_name(event.signal)] += 1

    def _on_ErrorOccurred(self, event: Any) -> None:
        self.errors[str(event.where).partition(" ")[0].rstrip(":")] += 1

    def _on_Controlled(self, event: Any) -> None:
        if self._deadline is not None and event.at > self._deadline:
            self._note_lag(event.at, event.at - self._deadline)
        self._deadline = event.next_deadline

    def _note_lag(self, at: float, lag: float) -> None:
        """Keep a falling sequence of maxima, of which the first is the largest in the window."""
        self._forget(at)
        while self._lags and self._lags[-1][1] <= lag:
            self._lags.pop()
        self._lags.append((at, lag))

    def _forget(self, now: float) -> None:
        while self._lags and self._lags[0][0] < now - LAG_WINDOW_S:
            self._lags.popleft()


def _signal_name(number: int | None) -> str:
    if number is None:
        return ""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
