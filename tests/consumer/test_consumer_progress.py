"""The offset ledger: what may be stored, by partition and assignment epoch."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from swarm_consumer._scheduling.progress import Ledger

KEY = ("flights", 0)


def test_nothing_is_storable_before_a_mark():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 10)
    assert ledger.take_storable() == []
    assert ledger.position(KEY) is None


def test_a_mark_is_given_out_once():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 10)
    assert ledger.mark(KEY, epoch, 10, metadata="here", leader_epoch=3)
    (storable,) = ledger.take_storable()
    assert (storable.topic, storable.partition, storable.offset) == ("flights", 0, 10)
    assert (storable.metadata, storable.leader_epoch) == ("here", 3)
    assert ledger.take_storable() == []


def test_a_mark_below_the_position_changes_nothing():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 10)
    ledger.mark(KEY, epoch, 10)
    ledger.take_storable()
    assert ledger.mark(KEY, epoch, 4) is True
    assert ledger.take_storable() == []
    assert ledger.position(KEY) == 10


def test_what_was_never_delivered_cannot_be_marked():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 10)
    with pytest.raises(ValueError, match=r"offset 10 of flights\[0\] cannot be marked: it is not delivered yet"):
        ledger.mark(KEY, epoch, 11)
    assert ledger.take_storable() == []


def test_a_stale_epoch_marks_nothing_even_after_the_partition_came_back():
    ledger = Ledger()
    old = ledger.assign(KEY)
    ledger.deliver(KEY, old, 10)
    ledger.release(KEY)
    assert ledger.mark(KEY, old, 10) is False
    new = ledger.assign(KEY)
    assert new != old
    ledger.deliver(KEY, new, 5)
    assert ledger.mark(KEY, old, 5) is False
    assert ledger.deliver(KEY, old, 99) is False
    assert ledger.take_storable() == []
    assert ledger.mark(KEY, new, 5)
    assert [storable.offset for storable in ledger.take_storable()] == [5]


def test_release_hands_out_what_was_not_stored_yet_and_only_that():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 10)
    ledger.mark(KEY, epoch, 7)
    released = ledger.release(KEY)
    assert released is not None
    assert released.offset == 7
    assert ledger.take_storable() == []
    assert ledger.release(KEY) is None


def test_a_restart_may_go_back():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 10)
    ledger.mark(KEY, epoch, 10)
    ledger.take_storable()
    again = ledger.restart(KEY, position=3)
    assert not ledger.owns(KEY, epoch)
    assert ledger.owns(KEY, again)
    assert [storable.offset for storable in ledger.take_storable()] == [3]
    with pytest.raises(KeyError):
        ledger.restart(("other", 1))


class LedgerMachine(RuleBasedStateMachine):
    """Compare the ledger with the naive truth: the set of offsets handled or marked under each epoch."""

    epochs = Bundle("epochs")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.current: dict[tuple[str, int], int] = {}
        self.delivered: dict[int, int] = {}
        self.done: dict[int, set[int]] = {}
        self.start: dict[int, int] = {}
        self.used: set[int] = set()
        self.out: dict[tuple[str, int], list[tuple[int, int]]] = {}

    @initialize(target=epochs)
    def begin(self):
        return multiple()

    @rule(target=epochs, partition=st.integers(0, 2), start=st.integers(0, 50))
    def assign(self, partition, start):
        key = ("flights", partition)
        epoch = self.ledger.assign(key)
        assert epoch not in self.used, "an epoch is never used twice"
        self.used.add(epoch)
        self.current[key] = epoch
        self.start[epoch] = self.delivered[epoch] = start
        self.done[epoch] = set()
        return (key, epoch)

    @rule(which=epochs, count=st.integers(1, 20))
    def deliver(self, which, count):
        key, epoch = which
        accepted = self.ledger.deliver(key, epoch, self.delivered[epoch] + count)
        assert accepted == (self.current.get(key) == epoch)
        if accepted:
            self.delivered[epoch] += count

    @rule(which=epochs, fraction=st.floats(0, 1))
    def mark(self, which, fraction):
        key, epoch = which
        if self.delivered[epoch] == self.start[epoch]:
            return
        span = self.delivered[epoch] - self.start[epoch]
        offset = self.start[epoch] + max(1, round(span * fraction))
        accepted = self.ledger.mark(key, epoch, offset)
        assert accepted == (self.current.get(key) == epoch), "a stale epoch moves nothing"
        if accepted:
            self.done[epoch].update(range(self.start[epoch], offset))

    @rule(which=epochs, beyond=st.integers(1, 5))
    def mark_beyond(self, which, beyond):
        key, epoch = which
        if self.current.get(key) != epoch:
            assert self.ledger.mark(key, epoch, self.delivered[epoch] + beyond) is False
            return
        with pytest.raises(ValueError, match="not delivered yet"):
            self.ledger.mark(key, epoch, self.delivered[epoch] + beyond)

    @rule(which=consumes(epochs))
    def release(self, which):
        key, epoch = which
        if self.current.get(key) != epoch:
            return
        storable = self.ledger.release(key)
        del self.current[key]
        if storable is not None:
            self.check(key, epoch, storable.offset)

    @rule()
    def store(self):
        for storable in self.ledger.take_storable():
            key = (storable.topic, storable.partition)
            assert key in self.current, "nothing is stored for a partition that is not ours"
            self.check(key, self.current[key], storable.offset)

    def check(self, key, epoch, offset):
        missing = set(range(self.start[epoch], offset)) - self.done[epoch]
        assert not missing, f"stored {offset} with {sorted(missing)} not done"
        earlier = [stored for which, stored in self.out.get(key, []) if which == epoch]
        assert not earlier or offset >= earlier[-1], "what is stored never goes back under one epoch"
        self.out.setdefault(key, []).append((epoch, offset))

    @invariant()
    def positions_are_done(self):
        for key, epoch in self.current.items():
            position = self.ledger.position(key)
            if position is not None:
                assert set(range(self.start[epoch], position)) <= self.done[epoch]


LedgerMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestLedger = LedgerMachine.TestCase
