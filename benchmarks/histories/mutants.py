"""Faults put into the runtime on purpose: each must be found, or the histories prove nothing."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from swarm_consumer._connection import commits
from swarm_consumer._producing.deliveries import Deliveries
from swarm_consumer._producing.producer import Producer
from swarm_consumer._scheduling.lanes import Lanes
from swarm_consumer._scheduling.progress import Ledger, Storable

Mutant = Callable[[Callable[..., Any]], Callable[..., Any]]


def _any_epoch(original: Callable[..., Any]) -> Callable[..., Any]:
    def mark(self: Ledger, key: Any, epoch: int, next_offset: int, *rest: Any, **options: Any) -> Any:
        entry = self._entries.get(key)
        if entry is not None and entry.epoch != epoch:  # what that epoch was given counts too: else it is refused
            entry.delivered = max(entry.delivered or 0, next_offset)
        return original(self, key, epoch if entry is None else entry.epoch, next_offset, *rest, **options)

    return mark


def _not_delivered(original: Callable[..., Any]) -> Callable[..., Any]:
    def mark(self: Ledger, key: Any, epoch: int, next_offset: int, *rest: Any, **options: Any) -> Any:
        entry = self._entries.get(key)
        if entry is not None:
            entry.delivered = max(entry.delivered or 0, next_offset)
        return original(self, key, epoch, next_offset, *rest, **options)

    return mark


def _owns_all(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, key, epoch: key in self._entries


def _owned(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, key, epoch, _: self.owns(key, epoch)


def _one_more(original: Callable[..., Any]) -> Callable[..., Any]:
    def send(group: Any, client: Any, places: Any) -> Any:
        return original(group, client, [Storable(one.topic, one.partition, one.offset + 1) for one in places])

    return send


def _nothing_fails(original: Callable[..., Any]) -> Callable[..., Any]:
    def answered(self: Deliveries, delivery: Any) -> None:
        delivery._error = None
        original(self, delivery)

    return answered


def _no_waiting(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, deliveries, timeout: None


def _failures_pass(original: Callable[..., Any]) -> Callable[..., Any]:
    def finish(self: Lanes, run: Any, failed: bool, now: float, **options: Any) -> Any:
        return original(self, run, failed and run.attempt < 3, now, **options)

    return finish


def _rest_is_dropped(original: Callable[..., Any]) -> Callable[..., Any]:
    def failed(self: Lanes, lane: Any, run: Any, *rest: Any) -> Any:
        outcome = original(self, lane, run, *rest)
        if lane.retry is not None and len(lane.retry) > 1:
            del lane.retry[0]
        return outcome

    return failed


def _last_is_held_back(original: Callable[..., Any]) -> Callable[..., Any]:
    def take(self: Lanes, lane: Any, now: float) -> Any:
        run = original(self, lane, now)
        if run is not None and len(run.records) > 2:
            run.records.pop(1)
        return run

    return take


def _never_woken(original: Callable[..., Any]) -> Callable[..., Any]:
    def wake(self: Lanes, now: float) -> Any:
        woken = original(self, now)
        return woken[:1]

    return wake


def _beside_the_former(original: Callable[..., Any]) -> Callable[..., Any]:
    def close(self: Lanes, key: Any, **options: Any) -> Any:
        lane = original(self, key, **options)
        self._former.clear()
        return lane

    return close


MUTANTS: dict[str, tuple[tuple[Any, str, Mutant], ...]] = {
    "an old epoch counts": ((Ledger, "mark", _any_epoch), (Ledger, "owns", _owns_all)),  # each guards for the other
    "messages that were not delivered may be marked": ((Ledger, "mark", _not_delivered), (Ledger, "may_mark", _owned)),
    "one offset too many is committed": ((commits, "send", _one_more),),
    "no delivery fails": ((Deliveries, "answered", _nothing_fails),),
    "deliveries are not awaited": ((Producer, "settle", _no_waiting),),
    "the third attempt counts as done": ((Lanes, "finish", _failures_pass),),
    "a failed batch loses its first message": ((Lanes, "_failed", _rest_is_dropped),),
    "a message is left out of its batch": ((Lanes, "take", _last_is_held_back),),
    "a partition does not wait for its former assignment": ((Lanes, "close", _beside_the_former),),
    "only one lane at a time is woken": ((Lanes, "wake", _never_woken),),
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
