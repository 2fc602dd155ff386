"""The watchdog: why a node cannot go on, and whether a thread or the lifespan ended though nobody told it to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from swarm_consumer._connection.connection import Connection
from swarm_consumer._connection.workers import Workers
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._running.event_loop import EventLoop
from swarm_consumer._running.lifespan import Lifespan
from swarm_consumer.events import ClientError, ErrorOccurred


class Watchdog:
    """Keeps the first reason to end the node, `fatal`; `wake` is called when there is one. From any thread."""

    def __init__(self, bus: Bus, wake: Callable[[], None]) -> None:
        self._bus = bus
        self._wake = wake
        self.fatal: str | None = None

    def fail(self, reason: str) -> None:
        """End the node for this reason."""
        if self.fatal is None:
            self.fatal = reason
            self._bus.emit(ClientError(subscription_group="node", code="_FAIL", reason=reason, fatal=True))
        self._wake()

    def worker_failed(self, reason: str, error: BaseException) -> None:
        """Take what was raised on a worker or hook thread outside of any handler."""
        self._bus.emit(ErrorOccurred(where="worker thread", error=error))
        self.fail(reason)

    def loop_failed(self, error: BaseException) -> None:
        """Take what a task or callback raised to end the event loop, which goes on."""
        self._bus.emit(ErrorOccurred(where="a task or callback on the event loop", error=error))

    def undelivered(self, error: BaseException) -> None:
        """Take the failure of a message that nobody waits for."""
        self._bus.emit(ErrorOccurred(where="a message that was produced outside of consume() and hooks", error=error))


def loss(connections: Iterable[Connection], workers: Workers, event_loop: EventLoop, lifespan: Lifespan) -> str | None:
    """Say which owner, worker, hook or event-loop thread is no more, or that the lifespan is; None while all are."""
    owner = next((connection.thread.name for connection in connections if not connection.thread.is_alive()), None)
    dead = owner or workers.dead() or event_loop.dead()
    if dead is not None:
        return f"the thread {dead} ended without a word: nothing it was responsible for goes on"
    return lifespan.ended_early
