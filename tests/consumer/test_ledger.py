"""The offset ledger: what may be committed, by partition and assignment epoch, in whatever order runs end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from swarm_consumer._scheduling.ledger import Ledger
from swarm_consumer._scheduling.offset_runs import MOST_OPEN, consecutive

KEY = ("flights", 0)


def test_nothing_is_committable_before_a_mark():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 10)
    assert ledger.take_committable() == []
    assert ledger.position(KEY) is None


def test_a_mark_is_given_out_once():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 10)
    assert ledger.mark(KEY, epoch, 10, metadata="here", leader_epoch=3)
    (committable,) = ledger.take_committable()
    assert (committable.topic, committable.partition, committable.offset) == ("flights", 0, 10)
    assert (committable.metadata, committable.leader_epoch) == ("here", 3)
    assert ledger.take_committable() == []


def test_a_mark_below_the_position_changes_nothing():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 10)
    ledger.mark(KEY, epoch, 10)
    ledger.take_committable()
    assert ledger.mark(KEY, epoch, 4) is True
    assert ledger.take_committable() == []
    assert ledger.position(KEY) == 10


def test_what_was_never_delivered_cannot_be_marked():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 10)
    with pytest.raises(ValueError, match=r"offset 10 of flights\[0\] cannot be marked: it is not delivered yet"):
        ledger.mark(KEY, epoch, 11)
    assert ledger.take_committable() == []


def test_a_stale_epoch_marks_nothing_even_after_the_partition_came_back():
    ledger = Ledger()
    old = ledger.assign(KEY)
    ledger.deliver(KEY, old, 0, 10)
    ledger.release(KEY)
    assert ledger.mark(KEY, old, 10) is False
    new = ledger.assign(KEY)
    assert new != old
    ledger.deliver(KEY, new, 0, 5)
    assert ledger.mark(KEY, old, 5) is False
    assert ledger.deliver(KEY, old, 0, 99) is False
    assert ledger.take_committable() == []
    assert ledger.mark(KEY, new, 5)
    assert [committable.offset for committable in ledger.take_committable()] == [5]


def test_release_hands_out_what_was_not_stored_yet_and_only_that():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 10)
    ledger.mark(KEY, epoch, 7)
    released = ledger.release(KEY)
    assert released is not None
    assert released.offset == 7
    assert ledger.take_committable() == []
    assert ledger.release(KEY) is None


def test_a_restart_may_go_back():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 10)
    ledger.mark(KEY, epoch, 10)
    ledger.take_committable()
    again = ledger.restart(KEY, position=3)
    assert not ledger.owns(KEY, epoch)
    assert ledger.owns(KEY, again)
    assert [committable.offset for committable in ledger.take_committable()] == [3]
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
        accepted = self.ledger.deliver(key, epoch, self.delivered[epoch], self.delivered[epoch] + count)
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
        committable = self.ledger.release(key)
        del self.current[key]
        if committable is not None:
            self.check(key, epoch, committable.offset)

    @rule()
    def store(self):
        for committable in self.ledger.take_committable():
            key = (committable.topic, committable.partition)
            assert key in self.current, "nothing is stored for a partition that is not ours"
            self.check(key, self.current[key], committable.offset)

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


def completed(ledger, epoch, *runs):
    return [ledger.complete(KEY, epoch, *run) and ledger.position(KEY) for run in runs]


def test_the_position_waits_at_a_gap():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    for first in range(0, 40, 10):
        ledger.deliver(KEY, epoch, first, first + 10)
    assert completed(ledger, epoch, (20, 30, 7), (10, 20, 6)) == [None, None]
    assert ledger.take_committable() == []
    assert completed(ledger, epoch, (0, 10, 5)) == [30]
    (committable,) = ledger.take_committable()
    assert (committable.offset, committable.leader_epoch) == (30, 7), "the leader epoch is that of the last record"
    assert completed(ledger, epoch, (30, 40)) == [40]


def test_numbers_that_no_record_has_are_no_gap():
    """Compaction takes records away, and markers of transactions have an offset of their own."""
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 3, 10)
    ledger.deliver(KEY, epoch, 15, 20)
    assert completed(ledger, epoch, (15, 20), (3, 10)) == [None, 20]


def test_what_is_finished_in_parts_leaves_no_number_without_a_record_open():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 10, [(0, 1), (5, 7), (9, 10)])
    assert completed(ledger, epoch, (5, 6), (9, 10), (0, 1), (6, 7)) == [None, None, 6, 10]
    ledger.deliver(KEY, epoch, 12, 20, [(12, 13), (15, 16), (18, 20)])
    ledger.mark(KEY, epoch, 13)
    ledger.deliver(KEY, epoch, 15, 23, [(15, 16), (18, 20), (22, 23)])
    assert completed(ledger, epoch, (15, 20), (22, 23)) == [20, 23]


def test_a_run_that_covers_several_finished_ones_counts_to_its_own_end():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 20)
    assert completed(ledger, epoch, (4, 6), (8, 10), (12, 13), (2, 20), (0, 2)) == [None, None, None, None, 20]


@pytest.mark.parametrize("step", [10, 11])
def test_what_is_never_marked_does_not_fill_the_memory(step):
    """A handler with manual marking may keep its offsets elsewhere, or mark seldom."""
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    for first in range(0, 100_000, step):
        ledger.deliver(KEY, epoch, first, first + 10)
    assert len(ledger._entries[KEY].runs) <= (1 if step == 10 else MOST_OPEN + 1)
    assert ledger.position(KEY) is None
    assert ledger.all_done_before(KEY, epoch, 11) is False
    ledger.mark(KEY, epoch, first + 10)
    assert (ledger.position(KEY), len(ledger._entries[KEY].runs)) == (first + 10, 0)


def test_numbers_that_no_record_has_wait_for_no_mark():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 1)
    ledger.deliver(KEY, epoch, 5, 6)
    assert [ledger.all_done_before(KEY, epoch, offset) for offset in (0, 5)] == [True, False]
    ledger.mark(KEY, epoch, 1)
    assert ledger.all_done_before(KEY, epoch, 5)


def test_what_was_done_behind_a_mark_counts_with_it():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    for first in (0, 10, 20):
        ledger.deliver(KEY, epoch, first, first + 10)
    completed(ledger, epoch, (10, 20))
    assert ledger.mark(KEY, epoch, 10, "after 9")
    (committable,) = ledger.take_committable()
    assert (committable.offset, committable.metadata) == (20, None), "metadata is kept beside its own offset alone"
    completed(ledger, epoch, (20, 30))
    assert ledger.position(KEY) == 30


def test_what_was_done_behind_a_transaction_is_still_to_be_committed():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    for first in (0, 10):
        ledger.deliver(KEY, epoch, first, first + 10)
    completed(ledger, epoch, (10, 20))
    ledger.committed(KEY, epoch, 10)
    assert [one.offset for one in ledger.take_committable()] == [20]
    assert ledger.has_plain_marks(KEY), "a later transaction has to wait for it"


def test_what_was_handed_out_again_is_open_once():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 10)
    ledger.mark(KEY, epoch, 4)
    ledger.deliver(KEY, epoch, 4, 10)
    assert completed(ledger, epoch, (5, 10), (4, 5)) == [4, 10]


def test_what_was_never_delivered_cannot_be_completed():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 10)
    with pytest.raises(ValueError, match="is not delivered yet"):
        ledger.complete(KEY, epoch, 5, 11)
    assert ledger.complete(KEY, epoch + 1, 0, 10) is False
    assert ledger.position(KEY) is None


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_runs_that_end_in_any_order_move_the_position_to_the_first_gap(data):
    ledger, runs, offset = Ledger(), [], 0
    epoch = ledger.assign(KEY)
    for skipped, length in data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1)):
        runs.append((offset + skipped, offset + skipped + length))
        offset += skipped + length
        ledger.deliver(KEY, epoch, *runs[-1])
    left = list(runs)
    for run in data.draw(st.permutations(runs)):
        ledger.complete(KEY, epoch, *run)
        left.remove(run)
        before = [one for one in runs if not left or one < left[0]]
        assert ledger.position(KEY) == (before[-1][1] if before else None)
        assert len(ledger._entries[KEY].runs) <= 2 * len(left), "memory for what is in progress alone"


def test_a_stuck_run_keeps_two_runs_in_memory_however_many_offsets_are_done_behind_it():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    for first in range(0, 100_000, 100):
        ledger.deliver(KEY, epoch, first, first + 100)
        if first:
            ledger.complete(KEY, epoch, first, first + 100)
    assert ledger.position(KEY) is None
    assert len(ledger._entries[KEY].runs) == 2
    ledger.complete(KEY, epoch, 0, 100)
    assert (ledger.position(KEY), len(ledger._entries[KEY].runs)) == (100_000, 0)


class CompletionMachine(RuleBasedStateMachine):
    """One partition whose runs end in any order, against the naive truth: which offsets were given, which are done."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.committed = None
        self.assign()

    @rule()
    def assign(self):
        """The partition comes, or is taken away and comes back: what was at work under the old epoch is void."""
        last = self.ledger.release(KEY)
        if last is not None:
            self.check(last.offset)
        self.old = getattr(self, "epoch", None)
        self.begin(self.ledger.assign(KEY), None)

    @rule(back=st.integers(0, 30), known=st.booleans())
    def seek(self, back, known):
        """A seek, a log that was cut, a restart: the one way back."""
        place = max(0, self.end - back)
        self.old = self.epoch
        self.begin(self.ledger.restart(KEY, place if known else None), place if known else None)
        self.end = place

    def begin(self, epoch, position):
        self.epoch, self.floor, self.seen = epoch, position, None
        self.end = 0 if position is None else position
        self.given, self.done, self.ends = set(), set(), []

    @rule(skipped=st.integers(0, 3), length=st.integers(1, 12), holes=st.none() | st.sets(st.integers(1, 10)))
    def deliver(self, skipped, length, holes):
        first = self.end + skipped
        self.end = first + length
        given = [one for one in range(first, self.end) if one - first not in (holes or ()) or one == self.end - 1]
        self.given |= set(given)
        runs = None if holes is None else consecutive(given)
        assert self.ledger.deliver(KEY, self.epoch, first, self.end, runs)

    @rule(data=st.data())
    def fail(self, data):
        """What is not done is handed out once more, perhaps with some of what follows."""
        left = sorted(self.given - self.done)
        if left:
            first, before = data.draw(st.sampled_from(left)), self.end
            end = data.draw(st.integers(first + 1, self.end + 3))
            self.end = max(end, before)
            self.given |= set(range(before, self.end))
            assert self.ledger.deliver(KEY, self.epoch, first, end)

    @rule(data=st.data())
    def complete(self, data):
        if self.given:
            first = data.draw(st.sampled_from(sorted(self.given)))
            end = data.draw(st.integers(first + 1, min(self.end, first + 15)))
            assert self.ledger.complete(KEY, self.epoch, first, end, leader_epoch=end)
            self.done |= self.given & set(range(first, end))
            self.ends.append(end)

    @rule(data=st.data(), in_a_transaction=st.booleans())
    def mark(self, data, in_a_transaction):
        if self.given:
            end = data.draw(st.sampled_from(sorted(self.given))) + 1
            if in_a_transaction:
                self.ledger.committed(KEY, self.epoch, end)
            else:
                assert self.ledger.mark(KEY, self.epoch, end)
            if self.ledger.position(KEY) is not None and end >= (self.expected() or 0):
                self.done |= {one for one in self.given if one < end}
                self.ends.append(end)

    @rule(first=st.integers(0, 50), length=st.integers(1, 50))
    def end_late(self, first, length):
        """A run of an epoch that is over moves nothing."""
        if self.old is not None:
            before = self.ledger.position(KEY)
            assert self.ledger.complete(KEY, self.old, first, first + length) is False
            assert self.ledger.mark(KEY, self.old, first + length) is False
            assert self.ledger.deliver(KEY, self.old, first, first + length) is False
            assert self.ledger.position(KEY) == before

    @rule()
    def commit(self):
        for one in self.ledger.take_committable():
            self.check(one.offset)

    def expected(self):
        gap = min(self.given - self.done, default=None)
        reached = [end for end in self.ends if gap is None or end <= gap]
        return max([*reached, *([] if self.floor is None else [self.floor])], default=None)

    def check(self, offset):
        assert {one for one in self.given if one < offset} <= self.done, "a gap was passed"

    @invariant()
    def the_position_is_the_end_of_the_first_gapless_run(self):
        position = self.ledger.position(KEY)
        assert position == self.expected()
        if position is not None:
            self.check(position)
            assert self.seen is None or position >= self.seen, "it went back"
        self.seen = position

    @invariant()
    def memory_is_bounded_by_what_is_in_progress(self):
        left = sorted(self.given - self.done)
        pieces = sum(1 for one in left if one - 1 not in left)
        assert len(self.ledger._entries[KEY].runs) <= 2 * len(left)
        assert len(self.ledger._entries[KEY].runs._done) <= len(self.ledger._entries[KEY].runs._open) or not pieces


CompletionMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestCompletions = CompletionMachine.TestCase


class RecordingPlace:
    """A note that remembers what it was told."""

    def __init__(self):
        self.told = []
        self.token = "swarm:1"

    def __getattr__(self, name):
        return lambda *arguments, **options: self.told.append((name, *arguments, *options.values()))


def test_the_note_follows_the_position():
    ledger, place = Ledger(), RecordingPlace()
    epoch = ledger.assign(KEY, place)
    ledger.deliver(KEY, epoch, 0, 10)
    ledger.complete(KEY, epoch, 5, 10)  # a gap before it
    assert place.told == []
    ledger.complete(KEY, epoch, 0, 5, 7)
    assert place.told == [("move", 10, None)]
    assert ledger.present(KEY).metadata == "swarm:1"
    ledger.taken(KEY, 10, "swarm:1")
    assert place.told[-1] == ("committed", 10)


@pytest.mark.parametrize("metadata", [None, "", "page 7", "swarm:0"])
def test_a_commit_of_another_claim_is_none_that_the_note_has_seen(metadata):
    """As an answer that comes after a seek back: it would make the note sure before anything of it is committed."""
    ledger, place = Ledger(), RecordingPlace()
    ledger.assign(KEY, place)
    ledger.restart(KEY, 3)
    ledger.taken(KEY, 10, metadata)
    assert place.told == [("renew",)]


def test_a_start_is_committed_with_its_leader_epoch():
    """Otherwise the next owner could not find out that the log was cut since."""
    ledger = Ledger()
    ledger.assign(KEY)
    ledger.restart(KEY, 10, 4)
    assert ledger.present(KEY).leader_epoch == 4
    ledger.restart(KEY, 3)
    assert ledger.present(KEY).leader_epoch is None


def test_the_note_of_a_stale_epoch_is_not_moved():
    ledger, place = Ledger(), RecordingPlace()
    epoch = ledger.assign(KEY, place)
    ledger.deliver(KEY, epoch, 0, 10)
    ledger.restart(KEY, 3)
    assert place.told == [("renew",)]
    assert not ledger.mark(KEY, epoch, 10)
    assert place.told == [("renew",)]
    assert ledger.present(KEY).metadata == "swarm:1"


def test_a_position_with_metadata_of_the_application_is_not_noted():
    ledger, place = Ledger(), RecordingPlace()
    epoch = ledger.assign(KEY, place)
    ledger.deliver(KEY, epoch, 0, 10)
    ledger.mark(KEY, epoch, 5, metadata="mine")
    assert place.told[-1] == ("move", None, None)
    assert ledger.present(KEY).metadata == "mine"
    ledger.mark(KEY, epoch, 8)
    assert place.told[-1] == ("move", 8, None)
    ledger.mark(KEY, epoch, 8, metadata="mine again")
    assert place.told[-1] == ("move", None, None)


def test_an_offset_that_a_transaction_has_committed_is_not_noted():
    ledger, place = Ledger(), RecordingPlace()
    epoch = ledger.assign(KEY, place)
    ledger.deliver(KEY, epoch, 0, 10)
    ledger.committed(KEY, epoch, 5)
    assert place.told == [("move", None, None)]


@pytest.mark.parametrize("gracefully", [True, False])
def test_only_a_graceful_release_hides_the_note(gracefully):
    ledger, place = Ledger(), RecordingPlace()
    ledger.assign(KEY, place)
    ledger.release(KEY, gracefully=gracefully)
    assert place.told == ([("release",)] if gracefully else [])
