"""What was produced and is on its way: one message, and all of those of one run."""

from __future__ import annotations

import threading
from collections.abc import Callable

import confluent_kafka

from swarm_consumer.errors import DeliveryError

Await = Callable[[Callable[[], bool], float], None]
"""Serves the producer until the given function is true or the seconds are over."""


class Delivery:
    """What `produce` returns: a message on its way to the broker."""

    __slots__ = ("_await", "_done", "_error", "_group", "offset", "partition", "topic")

    def __init__(self, await_all: Await, topic: str, group: Deliveries | None) -> None:
        self._await = await_all
        self._group = group
        self._done = False
        self._error: confluent_kafka.KafkaError | None = None
        self.topic = topic
        self.partition: int | None = None
        self.offset: int | None = None

    @property
    def done(self) -> bool:
        """Whether the broker has answered, or the client has given up."""
        return self._done

    @property
    def error(self) -> DeliveryError | None:
        """Why the message was not delivered; None while it is under way and when it arrived."""
        return None if self._error is None else DeliveryError(f"not delivered to {self.topic}: {self._error.str()}")

    def wait(self, timeout: float = 30.0) -> Delivery:
        """Wait up to `timeout` seconds for the acknowledgement. Raises DeliveryError when there was none."""
        self._await(lambda: self._done, timeout)
        if not self._done:
            raise DeliveryError(f"not acknowledged by {self.topic} within {timeout:g} s")
        if (error := self.error) is not None:
            raise error
        return self

    def _answered(self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        self.partition = message.partition()
        self.offset = message.offset()
        self._error = error
        self._done = True
        if self._group is not None:
            self._group.answered(self)


class Deliveries:
    """The messages one run has produced: how many are still under way, and the first that failed."""

    __slots__ = ("_lock", "failed", "pending")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.pending = 0
        self.failed: Delivery | None = None

    def added(self) -> None:
        """Count one more under way."""
        with self._lock:
            self.pending += 1

    def removed(self) -> None:
        """Count one less: it could not even be queued."""
        with self._lock:
            self.pending -= 1

    def answered(self, delivery: Delivery) -> None:
        """Count one that is no longer under way."""
        with self._lock:
            self.pending -= 1
            if delivery.error is not None and self.failed is None:
                self.failed = delivery
