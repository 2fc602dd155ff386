"""What was produced and is on its way: one message, and all of those of one run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import confluent_kafka

from swarm_consumer.errors import DeliveryError

Await = Callable[[Callable[[], bool], float], None]
"""Serves the producer until the given function is true or the seconds are over."""

MOST_KEPT = 1000
"""Failed deliveries of one run that are kept, so that `wait` can still deal with them; more are only counted."""


class Delivery:
    """What `produce` returns: a message on its way to the broker."""

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
        self._tell = tell  # whom to tell of a failure that nobody waits for
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
        """Why the message was not delivered; None while it is under way and when it arrived."""
        return None if self._error is None else DeliveryError(f"not delivered to {self.topic}: {self._error.str()}")

    def wait(self, timeout: float = 30.0) -> Delivery:
        """Wait up to `timeout` seconds for the acknowledgement. Raises DeliveryError when there was none.

        A failure that was raised here is the caller's to deal with: it no longer fails the batch.
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
    """The messages one run has produced: how many are still under way, and which failed without anybody hearing it."""

    __slots__ = ("_failed", "_lock", "_uncounted", "pending", "tainted")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: dict[int, Delivery] = {}
        self._uncounted = 0
        self.pending = 0
        self.tainted = False  # whether one has failed, heard or not

    @property
    def failure(self) -> DeliveryError | None:
        """The first failure that `Delivery.wait` has not raised."""
        first = next(iter(self._failed.values()), None)
        return None if first is None else first.error

    @property
    def unsettled(self) -> bool:
        """Whether something is under way, or has failed unheard."""
        return self.pending > 0 or bool(self._failed)

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
            if delivery._error is None:
                return
            self.tainted = True
            if delivery._heard:
                return
            if len(self._failed) < MOST_KEPT:
                self._failed[id(delivery)] = delivery
            else:
                self._uncounted += 1  # the last one kept stands for these too

    def heard(self, delivery: Delivery) -> None:
        """Take out one whose failure was raised to somebody."""
        with self._lock:
            if self._uncounted == 0 or len(self._failed) > 1:
                self._failed.pop(id(delivery), None)


class Producing(Protocol):
    """A run, as far as its output goes."""

    produced: Deliveries | None


_making = threading.Lock()


def produced_by(run: Producing) -> Deliveries:
    """Return what a run has produced; made when first asked for, as most runs produce nothing."""
    produced = run.produced
    if produced is None:
        with _making:
            produced = run.produced = run.produced or Deliveries()
    return produced
