"""The watchdog: sees a thread of the node that has ended though nobody told it to."""

from __future__ import annotations

from collections.abc import Iterable

from swarm_consumer.client import SubscriptionClient
from swarm_consumer.event_loop import EventLoop
from swarm_consumer.workers import Workers


def dead_thread(clients: Iterable[SubscriptionClient], workers: Workers, event_loop: EventLoop) -> str | None:
    """Return the name of an owner, worker, hook or event-loop thread that is no more; None while all are there."""
    owner = next((client.thread.name for client in clients if not client.thread.is_alive()), None)
    return owner or workers.dead() or event_loop.dead()
