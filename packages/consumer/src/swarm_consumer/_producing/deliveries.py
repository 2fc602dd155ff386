"""Produced messages in flight: a single one, and all those of one run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import confluent_kafka

from swarm_consumer.errors import DeliveryError

Await = Callable[[Callable[[], bool], float], None]
"""Serves the producer until the given function is true or the seconds are over."""

MOST_KEPT = 1000
"""Most failed deliveries of one run that are kept for `wait`; further ones are only counted."""


class Delivery:
    """The return value of `produce`: a message on its way to the broker."""

    __slots__ = ("_await", "_done", "_error", "_groups", "_heard", "_tell", "_waited", "offset", "partition", "topic")

    def __init__(
        self,
        await_all: Await,
        topic: str,
        groups: tuple[Deliveries, ...] = (),
        tell: Callable[[DeliveryError], None] | None = None,
    ) -> None:
        self._await = await_all
        self._groups = groups
        self._tell = tell  # called for a failure that no one waits for
        self._done = False
        self._waited = False
        self._heard = False
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
        """Why the message was not delivered; None while it is in flight and after it arrived."""
        return None if self._error is None else DeliveryError(f"not delivered to {self.topic}: {self._error.str()}")

    def wait(self, timeout: float = 30.0) -> Delivery:
        """Wait up to `timeout` seconds for the acknowledgement. Raises DeliveryError if there is none.

        The caller must handle a failure raised here; it no longer fails the batch.
        """
        self._waited = True
        self._await(lambda: self._done, timeout)
        if self._done and self._error is None:
            return self
        self._heard = True
        for group in self._groups:
            group.heard(self)
        raise self.error or DeliveryError(f"not acknowledged by {self.topic} within {timeout:g} s")

    def _answered(self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        self.partition = message.partition()
        self.offset = message.offset()
        self._error = error
        self._done = True
        for group in self._groups:
            group.answered(self)
        if self._tell is not None and not self._waited and (failure := self.error) is not None:
            self._tell(failure)


class Deliveries:
    """The messages produced by a run: the number in flight, and the failures that were not raised to anyone."""

    __slots__ = ("_failed", "_lock", "_uncounted", "pending", "tainted")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: dict[int, Delivery] = {}
        self._uncounted = 0
        self.pending = 0
        self.tainted = False  # whether one has failed, raised or not

    @property
    def failure(self) -> DeliveryError | None:
        """The first failure that `Delivery.wait` has not raised."""
        first = next(iter(self._failed.values()), None)
        return None if first is None else first.error

    @property
    def unsettled(self) -> bool:
        """Whether a message is in flight, or has failed without being raised."""
        return self.pending > 0 or bool(self._failed)

    def added(self) -> None:
        """Count one more message in flight."""
        with self._lock:
            self.pending += 1

    def removed(self) -> None:
        """Uncount one that could not even be queued."""
        with self._lock:
            self.pending -= 1

    def answered(self, delivery: Delivery) -> None:
        """Count one that is no longer in flight."""
        with self._lock:
            self.pending -= 1
            if delivery._error is None:
                return
            self.tainted = True
            if delivery._heard:
                return
            if len(self._failed) < MOST_KEPT:
                self._failed[id(delivery)] = delivery
            else:
                self._uncounted += 1  # the last one kept represents these too

    def heard(self, delivery: Delivery) -> None:
        """Remove one whose failure was raised."""
        with self._lock:
            if self._uncounted == 0 or len(self._failed) > 1:
                self._failed.pop(id(delivery), None)


class Producing(Protocol):
    """The output side of a run."""

    produced: Deliveries | None


_making = threading.Lock()


def produced_by(run: Producing) -> Deliveries:
    """Return the deliveries of a run; created on first use, because most runs produce nothing."""
    produced = run.produced
    if produced is None:
        with _making:
            produced = run.produced = run.produced or Deliveries()
    return produced
