"""A partition with its lane and backlog against a simple list: what is handed out next, and what is done."""

from __future__ import annotations

import confluent_kafka
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from swarm_consumer import App, Consumer, DeadLetters
from swarm_consumer._scheduling.going_back import go_back
from swarm_consumer._scheduling.lane import LaneState
from swarm_consumer._scheduling.ledger import Ledger
from swarm_consumer._scheduling.partitions import Partitions

KEY = ("flights", 0)


class Handler(Consumer):
    def consume(self, messages):
        """Never called here."""

    def tick(self):
        """Nor this."""


class PartitionMachine(RuleBasedStateMachine):
    """`left` is the list: offsets that came and are not done, in order. The first `running` of them are at work."""

    @initialize(limit=st.integers(1, 5), letters=st.sampled_from([None, 0, 2]), independent=st.booleans())
    def begin(self, limit, letters, independent):
        app = App("model", {"bootstrap.servers": "nowhere:1"})
        diverting = None if letters is None else DeadLetters(topic=None, max_retries=letters, independent=independent)
        app.topic("flights", max_messages=limit, retry_backoff=1.0, dead_letters=diverting)(Handler)
        self.route, self.limit, self.letters = app.routes[0], limit, letters
        self.partitions, self.now, self.log_end = Partitions(Ledger()), 0.0, 0
        self.runs, self.done = [], 0
        self.assign()

    def assign(self):
        self.partition = self.partitions.assign(KEY, self.route, self.now)
        (self.lane,) = self.partition.lanes
        self.lane.consumer = Handler()
        self.start_at(self.done, known=False)

    def start_at(self, offset, *, known=True):
        """Begin anew at an offset."""
        self.left, self.again, self.next_offset = [], [], offset
        self.done, self.position = offset, offset if known else None

    @property
    def run(self):
        """The run of the present epoch."""
        return next((one for one in self.runs if one.epoch == self.partition.epoch and one.lane is self.lane), None)

    # -- what happens ------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 9), skipped=st.integers(0, 2), holes=st.sets(st.integers(1, 7)))
    def receive(self, count, skipped, holes):
        if self.partition.pending_seek is not None:
            return
        first = self.next_offset + skipped
        self.next_offset = first + count
        self.log_end = max(self.log_end, self.next_offset)
        offsets = [
            one for one in range(first, self.next_offset) if one - first not in holes or one == first + count - 1
        ]
        records = [confluent_kafka.Message(topic="flights", partition=0, offset=one, value=b"xy") for one in offsets]
        self.partitions.receive(self.partition, records)
        self.left += offsets

    @rule()
    def take(self):
        now_or_later = self.lane.state is LaneState.READY
        run = self.partitions.take(self.lane, self.now)
        assert run is None or now_or_later
        if run is None:
            return
        assert not self.runs, "one run at a time, whatever came and went"
        offsets = [record.offset() for record in run.records]
        assert offsets == self.left[: len(offsets)], "in order, and nothing is left out"
        assert 1 <= len(offsets) <= self.limit
        if run.alone:
            assert len(offsets) == 1
        elif self.again:
            assert offsets == self.again, "what failed comes again before anything else, and as it was"
        else:
            assert len(offsets) == min(self.limit, len(self.left)), "no message is held back"
        assert run.again == bool(self.again)
        self.runs.append(run)

    @precondition(lambda self: self.runs)
    @rule(failed=st.booleans(), marked=st.integers(0, 5), seek=st.none() | st.integers(0, 30))
    def finish(self, failed, marked, seek):
        run = self.runs.pop()
        present = run.epoch == self.partition.epoch and run.lane is self.lane
        if run.action != "consume":
            self.partitions.finish(run, False, self.now)
            return
        offsets = [record.offset() for record in run.records]
        if marked:
            next_offset = offsets[min(marked, len(offsets)) - 1] + 1
            assert self.partitions.ledger.mark(KEY, run.epoch, next_offset) is present
            if present:
                self.mark(next_offset)
        run.seek = None if failed else seek
        outcome = self.partitions.finish(run, failed, self.now)
        assert outcome.stale is not present
        if not present:
            return
        if not failed:
            if seek is None:
                self.mark(offsets[-1] + 1)
            self.again = [one for one in self.again if one > offsets[-1]] if run.alone else []
            assert (self.partition.pending_seek is not None) is (seek is not None)
            return
        remaining = [one for one in offsets if one >= (self.position or 0)]
        self.again = remaining + ([one for one in self.again if one > offsets[-1]] if run.alone else [])
        assert outcome.first_unmarked == (remaining[0] if remaining else offsets[-1] + 1)
        assert (outcome.retry_in_s is None) is outcome.isolating

    @rule(times=st.integers(1, 6))
    def fail_again_and_again(self, times):
        """As often as it takes until messages are tried one by one."""
        for _ in range(times):
            self.wait(60.0)
            self.take()
            if self.run is not None and self.run.action == "consume":
                self.finish(True, 0, None)

    def mark(self, next_offset):
        self.left = [one for one in self.left if one >= next_offset]
        if self.position is None or next_offset > self.position:
            self.position = self.done = next_offset

    @precondition(lambda self: self.partition.pending_seek is not None and not self.runs)
    @rule()
    def seek(self):
        target = int(self.partition.pending_seek)
        self.partitions.sought(self.partition, target)
        self.start_at(target)

    @rule(back=st.integers(1, 20))
    def the_log_is_cut(self, back):
        """The client begins again further back without having been asked to.

        Not as far back as what is left, if it begins at the end of the log.
        """
        if self.partition.pending_seek is None and self.partition.expected is not None:
            place = max(0, self.next_offset - back)
            if place < self.partition.expected:
                record = confluent_kafka.Message(topic="flights", partition=0, offset=place, value=b"x")
                still_open = [one for one in self.left if one < place]
                self.partitions.receive(self.partition, [record])
                if self.partition.pending_seek is not None:
                    target = int(self.partition.pending_seek)
                    assert target < place
                    self.start_at(target, known=self.position is not None)
                else:
                    self.start_at(place)
                    self.left, self.next_offset = [place], place + 1
                assert all(one >= self.next_offset or one in self.left for one in still_open)

    @precondition(lambda self: self.run is None or self.run.action != "consume")
    @rule()
    def go_back(self):
        """Everything that is not marked comes again."""
        if not self.runs and self.left and go_back(self.partitions, self.partition, self.now):
            assert int(self.partition.pending_seek) <= self.left[0]

    @rule(tell=st.booleans())
    def revoke_and_assign(self, tell):
        self.partitions.close(KEY, tell=tell)
        self.partitions.ledger.release(KEY)
        self.now += 1.0
        self.assign()

    @rule()
    def tick(self):
        run = self.partitions.begin_hook(self.lane, "tick", self.now)
        if run is not None:
            assert not self.runs
            self.runs.append(run)

    @rule(seconds=st.sampled_from([0.5, 2.0, 60.0]))
    def wait(self, seconds):
        self.now += seconds
        self.partitions.wake(self.now)

    @rule(seconds=st.sampled_from([1.0, float("inf")]))
    def pause(self, seconds):
        self.partitions.pause(self.partition, self.now + seconds)

    @rule()
    def resume(self):
        self.partitions.resume(self.partition)

    @rule()
    def freeze_and_thaw(self):
        self.partitions.frozen = True
        assert self.partitions.take(self.lane, self.now) is None
        self.partitions.thaw()

    # -- what holds --------------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost(self):
        if not hasattr(self, "partition"):
            return
        backlog, run = self.lane.backlog, self.run
        at_work = run.records if run is not None else []
        waiting = [*at_work, *(backlog.retry or []), *backlog.held]
        offsets = [record.offset() for record in waiting]
        if self.partition.pending_seek is None:
            assert [one for one in offsets if one >= (self.position or 0)] == self.left
        assert self.partitions.ledger.position(KEY) == self.position
        assert self.partitions.held_total == len(backlog.held)
        assert self.partitions.held_bytes == backlog.held_bytes
        assert self.partitions.running() == self.runs

    def teardown(self):
        """Let everything go well: all that is left is handed out and done."""
        if not hasattr(self, "partition"):
            return
        for _ in range(2 * 9 * 50 + 100):  # each record of each step is taken and finished, one by one at worst
            self.now += 100.0
            self.partitions.resume(self.partition)
            self.partitions.wake(self.now)
            if self.runs:
                self.finish(False, 0, None)
            elif (owing := self.partitions.owing(KEY)) is not None:
                self.runs.append(self.partitions.begin_hook(owing, "revoked", self.now))
            elif self.partition.pending_seek is not None:
                self.seek()
            elif self.left:
                self.take()
            else:
                break
            self.nothing_is_lost()
        assert self.partition.drained
        assert not self.left


PartitionMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestPartition = PartitionMachine.TestCase
