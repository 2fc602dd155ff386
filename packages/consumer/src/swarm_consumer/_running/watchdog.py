"""The watchdog: why a node cannot continue, and whether a thread or the lifespan ended unexpectedly."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from swarm_consumer._connection.connection import Connection
from swarm_consumer._connection.workers import Workers
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._running.event_loop import EventLoop
from swarm_consumer._running.lifespan import Lifespan
from swarm_consumer.events import ClientError, ErrorOccurred


class Watchdog:
    """Keeps the first reason to end the node, `fatal`, and then calls `wake`. Callable from any thread."""

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
        """Take an error of a worker or hook thread outside of any handler."""
        self._bus.emit(ErrorOccurred(where="worker thread", error=error))
        self.fail(reason)

    def loop_failed(self, error: BaseException) -> None:
        """Take an exception of a task or callback that would end the event loop, which continues."""
        self._bus.emit(ErrorOccurred(where="a task or callback on the event loop", error=error))

    def undelivered(self, error: BaseException) -> None:
        """Take the failure of a message that no one waits for."""
        self._bus.emit(ErrorOccurred(where="a message that was produced outside of consume() and hooks", error=error))


def loss(connections: Iterable[Connection], workers: Workers, event_loop: EventLoop, lifespan: Lifespan) -> str | None:
    """Return which owner, worker, hook or event-loop thread, or the lifespan, has ended; None if all are alive."""
    owner = next((connection.thread.name for connection in connections if not connection.thread.is_alive()), None)
    dead = owner or workers.dead() or event_loop.dead()
    if dead is not None:
        return f"the thread {dead} ended unexpectedly, so its work has stopped"
    return lifespan.ended_early
