"""Faults put into the runtime on purpose: each must be found, or the histories prove nothing."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from swarm_consumer._connection import commits
from swarm_consumer._producing.deliveries import Deliveries
from swarm_consumer._producing.producer import Producer
from swarm_consumer._scheduling.backlog import Backlog
from swarm_consumer._scheduling.ledger import Committable, Ledger
from swarm_consumer._scheduling.partitions import Partitions

Mutant = Callable[[Callable[..., Any]], Callable[..., Any]]


def _any_epoch(original: Callable[..., Any]) -> Callable[..., Any]:
    def note(self: Ledger, key: Any, epoch: int, *offsets: Any, **options: Any) -> Any:
        entry = self._entries.get(key)
        if entry is not None and entry.epoch != epoch:  # what that epoch was given counts too: else it is refused
            entry.delivered = max(entry.delivered or 0, _next_of(offsets))
        return original(self, key, epoch if entry is None else entry.epoch, *offsets, **options)

    return note


def _not_delivered(original: Callable[..., Any]) -> Callable[..., Any]:
    def note(self: Ledger, key: Any, epoch: int, *offsets: Any, **options: Any) -> Any:
        entry = self._entries.get(key)
        if entry is not None:
            entry.delivered = max(entry.delivered or 0, _next_of(offsets))
        return original(self, key, epoch, *offsets, **options)

    return note


def _next_of(offsets: Any) -> int:
    """The next offset among the arguments of `Ledger.mark` or `Ledger.complete`."""
    return max(one for one in offsets[:2] if isinstance(one, int))


def _owns_all(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, key, epoch: key in self._entries


def _owned(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, key, epoch, _: self.owns(key, epoch)


def _one_more(original: Callable[..., Any]) -> Callable[..., Any]:
    def send(group: Any, client: Any, places: Any) -> Any:
        return original(group, client, [Committable(one.topic, one.partition, one.offset + 1) for one in places])

    return send


def _nothing_fails(original: Callable[..., Any]) -> Callable[..., Any]:
    def answered(self: Deliveries, delivery: Any) -> None:
        delivery._error = None
        original(self, delivery)

    return answered


def _no_waiting(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, deliveries, timeout: None


def _failures_pass(original: Callable[..., Any]) -> Callable[..., Any]:
    def finish(self: Partitions, run: Any, failed: bool, now: float, **options: Any) -> Any:
        return original(self, run, failed and run.attempt < 3, now, **options)

    return finish


def _rest_is_dropped(original: Callable[..., Any]) -> Callable[..., Any]:
    def put_back(self: Backlog, records: Any, first: int) -> None:
        original(self, records, first)
        if self.retry is not None and len(self.retry) > 1:
            del self.retry[0]

    return put_back


def _last_is_held_back(original: Callable[..., Any]) -> Callable[..., Any]:
    def take(self: Partitions, lane: Any, now: float) -> Any:
        run = original(self, lane, now)
        if run is not None and len(run.records) > 2:
            run.records.pop(1)
        return run

    return take


def _never_woken(original: Callable[..., Any]) -> Callable[..., Any]:
    def wake(self: Partitions, now: float) -> Any:
        woken = original(self, now)
        return woken[:1]

    return wake


def _beside_the_former(original: Callable[..., Any]) -> Callable[..., Any]:
    def close(self: Partitions, key: Any, **options: Any) -> Any:
        partition = original(self, key, **options)
        self._former.clear()
        return partition

    return close


def _without_gaps(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, key, epoch, first, next_offset, runs=None: original(self, key, epoch, first, next_offset)


MUTANTS: dict[str, tuple[tuple[Any, str, Mutant], ...]] = {
    "an old epoch counts": (  # each guards for the others
        (Ledger, "mark", _any_epoch),
        (Ledger, "complete", _any_epoch),
        (Ledger, "owns", _owns_all),
    ),
    "messages that were not delivered may be marked": ((Ledger, "mark", _not_delivered), (Ledger, "may_mark", _owned)),
    "one offset too many is committed": ((commits, "send", _one_more),),
    "no delivery fails": ((Deliveries, "answered", _nothing_fails),),
    "deliveries are not awaited": ((Producer, "settle", _no_waiting),),
    "the third attempt counts as done": ((Partitions, "finish", _failures_pass),),
    "a failed batch loses its first message": ((Backlog, "put_back", _rest_is_dropped),),
    "a message is left out of its batch": ((Partitions, "take", _last_is_held_back),),
    "a partition does not wait for its former assignment": ((Partitions, "close", _beside_the_former),),
    "an offset without a record holds progress up": ((Ledger, "deliver", _without_gaps),),
    "only one lane at a time is woken": ((Partitions, "wake", _never_woken),),
}


@contextlib.contextmanager
def mutated(name: str) -> Iterator[None]:
    """While this lasts, the runtime has this fault."""
    originals = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in MUTANTS[name]]
    for owner, attribute, mutant in MUTANTS[name]:
        setattr(owner, attribute, mutant(getattr(owner, attribute)))
    try:
        yield
    finally:
        for owner, attribute, original in originals:
            setattr(owner, attribute, original)
