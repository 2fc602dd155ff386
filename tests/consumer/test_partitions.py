"""Partitions and their lanes: what may be worked on now, and what becomes of it. Without client, thread and clock."""

from __future__ import annotations

import confluent_kafka
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swarm_consumer import App, Consumer, DeadLetters
from swarm_consumer._scheduling.lane import LaneState
from swarm_consumer._scheduling.ledger import Ledger
from swarm_consumer._scheduling.partitions import Partitions

KEY = ("flights", 0)


def route(**options):
    app = App("lanes", {"bootstrap.servers": "nowhere:1"})
    app.topic("flights", **{"max_messages": 3, **options})(
        type("Handler", (Consumer,), {"consume": lambda self, messages: None})
    )
    return app.routes[0]


@pytest.fixture
def partitions():
    return Partitions(Ledger())


def offsets(run):
    return [record.offset() for record in run.records]


def test_messages_are_taken_in_order_and_in_batches(partitions, make_records):
    lane = partitions.assign(KEY, route(), 0.0).lanes[0]
    assert partitions.receive(lane.partition, make_records(0, 2)) == [lane]
    assert partitions.receive(lane.partition, make_records(2, 5)) == [], "a lane is queued once"
    taken = []
    for _ in range(3):
        run = partitions.take(lane, 0.0)
        taken.append(offsets(run))
        partitions.finish(run, False, 0.1)
    assert taken == [[0, 1, 2], [3, 4, 5], [6]]
    assert lane.state is LaneState.IDLE
    assert partitions.held_total == 0
    assert partitions.ledger.position(KEY) == 7


def test_one_run_at_a_time(partitions, make_records):
    lane = partitions.assign(KEY, route(), 0.0).lanes[0]
    partitions.receive(lane.partition, make_records(0, 6))
    run = partitions.take(lane, 0.0)
    assert partitions.take(lane, 0.0) is None
    assert partitions.receive(lane.partition, make_records(6, 1)) == []
    assert partitions.finish(run, False, 1.0).queue


def test_a_failure_keeps_what_is_not_marked_and_waits(partitions, make_records):
    lane = partitions.assign(KEY, route(retry_backoff=2.0), 0.0).lanes[0]
    partitions.receive(lane.partition, make_records(0, 5))
    run = partitions.take(lane, 0.0)
    partitions.ledger.mark(KEY, run.epoch, 1)
    outcome = partitions.finish(run, True, 10.0)
    assert (outcome.queue, outcome.retry_in_s, outcome.first_unmarked) == ((), 2.0, 1)
    assert lane.state is LaneState.WAITING
    assert partitions.next_wake() == 12.0
    assert partitions.wake(11.9) == []
    assert partitions.take(lane, 11.9) is None
    assert partitions.wake(12.0) == [lane]
    again = partitions.take(lane, 12.0)
    assert (offsets(again), again.attempt) == ([1, 2], 2)
    partitions.finish(again, False, 12.1)
    after = partitions.take(lane, 12.1)
    assert (offsets(after), after.attempt) == ([3, 4], 1)


def sparse(make_records, *offsets):
    """Records as a compacted topic has them, or one that is written in transactions."""
    return [record for offset in offsets for record in make_records(offset, 1)]


def test_a_retry_after_a_mark_moves_the_position_over_numbers_without_a_record(partitions, make_records):
    lane = partitions.assign(KEY, route(), 0.0).lanes[0]
    partitions.receive(lane.partition, sparse(make_records, 0, 5, 7))
    run = partitions.take(lane, 0.0)
    partitions.ledger.mark(KEY, run.epoch, 1)
    partitions.finish(run, True, 0.0)
    partitions.wake(60.0)
    again = partitions.take(lane, 60.0)
    assert offsets(again) == [5, 7]
    partitions.finish(again, False, 60.0)
    assert partitions.ledger.position(KEY) == 8


def test_messages_tried_one_by_one_move_the_position_over_numbers_without_a_record(partitions, make_records):
    letters = DeadLetters(topic=None, max_retries=0, max_ratio=1)
    lane = partitions.assign(KEY, route(dead_letters=letters), 0.0).lanes[0]
    partitions.receive(lane.partition, sparse(make_records, 0, 5, 7))
    assert partitions.finish(partitions.take(lane, 0.0), True, 0.0).isolating
    seen = []
    for _ in range(3):
        partitions.finish(partitions.take(lane, 1.0), False, 1.0)
        seen.append(partitions.ledger.position(KEY))
    assert seen == [1, 6, 8]


def test_manual_marking_leaves_the_position_to_the_handler(partitions, make_records):
    lane = partitions.assign(KEY, route(manual_marking=True), 0.0).lanes[0]
    partitions.receive(lane.partition, make_records(0, 3))
    run = partitions.take(lane, 0.0)
    partitions.finish(run, False, 1.0)
    assert partitions.ledger.position(KEY) is None


def test_a_handler_that_saw_it_should_leave_marks_only_explicitly(partitions, make_records):
    lane = partitions.assign(KEY, route(), 0.0).lanes[0]
    partitions.receive(lane.partition, make_records(0, 3))
    run = partitions.take(lane, 0.0)
    run.marks_only = True
    partitions.ledger.mark(KEY, run.epoch, 2)
    partitions.finish(run, False, 1.0)
    assert partitions.ledger.position(KEY) == 2


def test_a_run_that_outlived_its_partition_changes_nothing(partitions, make_records):
    lane = partitions.assign(KEY, route(), 0.0).lanes[0]
    partitions.receive(lane.partition, make_records(0, 3))
    run = partitions.take(lane, 0.0)
    partitions.close(KEY)
    partitions.ledger.release(KEY)
    outcome = partitions.finish(run, False, 1.0)
    assert outcome.stale
    assert partitions.ledger.position(KEY) is None
    assert partitions.running() == []


def test_a_partition_that_came_back_waits_for_the_run_of_its_former_life(partitions, make_records):
    lane = partitions.assign(KEY, route(), 0.0).lanes[0]
    partitions.receive(lane.partition, make_records(0, 3))
    old = partitions.take(lane, 0.0)
    partitions.close(KEY)
    partitions.ledger.release(KEY)
    back = partitions.assign(KEY, route(), 1.0).lanes[0]
    assert partitions.receive(back.partition, make_records(0, 3)) == [], (
        "two handlers of one partition never run side by side"
    )
    assert [run.epoch for run in partitions.running()] == [old.epoch]
    outcome = partitions.finish(old, False, 2.0)
    assert outcome.stale
    assert outcome.queue
    new = partitions.take(back, 2.0)
    assert offsets(new) == [0, 1, 2]
    partitions.finish(new, False, 3.0)
    assert partitions.ledger.position(KEY) == 3


def test_a_client_that_goes_back_by_itself_voids_what_came_before(partitions, make_records):
    lane = partitions.assign(KEY, route(), 0.0).lanes[0]
    partitions.receive(lane.partition, make_records(100, 3))
    run = partitions.take(lane, 0.0)
    partitions.receive(lane.partition, make_records(0, 2))
    assert partitions.finish(run, False, 1.0).stale
    assert partitions.ledger.position(KEY) == 0  # to be committed: the commit before may be beyond the end of the log
    assert lane.partition.went_back
    new = partitions.take(lane, 1.0)
    assert offsets(new) == [0, 1]


@pytest.mark.parametrize("done", [True, False])
def test_a_client_that_begins_again_beyond_what_is_not_done_is_sent_back_there(partitions, make_records, done):
    """At the end of a log that was cut, under "latest": what had come and was not handled was passed."""
    lane = partitions.assign(KEY, route(), 0.0).lanes[0]
    partitions.receive(lane.partition, make_records(100, 150))
    run = partitions.take(lane, 0.0)
    if done:
        partitions.finish(run, False, 0.0)
        run = partitions.take(lane, 0.0)
    waits_at = run.first_offset
    assert partitions.receive(lane.partition, make_records(220, 2)) == []
    assert lane.partition.pending_seek == waits_at
    assert partitions.ledger.position(KEY) == (waits_at if done else None)
    assert lane.partition.went_back == done  # the commit that is under way may be beyond the end of the log
    assert partitions.finish(run, False, 1.0).stale
    assert partitions.take(lane, 1.0) is None
    partitions.sought(lane.partition, waits_at)
    partitions.receive(lane.partition, make_records(waits_at, 30))
    new = partitions.take(lane, 2.0)
    assert offsets(new)[0] == waits_at


def test_pause_and_resume(partitions, make_records):
    lane = partitions.assign(KEY, route(), 0.0).lanes[0]
    partitions.receive(lane.partition, make_records(0, 4))
    run = partitions.take(lane, 0.0)
    partitions.pause(lane.partition, 5.0)
    assert partitions.finish(run, False, 1.0).queue == ()
    assert lane.state is LaneState.PAUSED
    assert partitions.wake(4.9) == []
    assert partitions.wake(5.0) == [lane]
    partitions.pause(lane.partition, float("inf"))
    assert partitions.take(lane, 6.0) is None
    assert partitions.resume(lane.partition) == [lane]
    assert offsets(partitions.take(lane, 7.0)) == [3]


def test_a_frozen_group_takes_nothing_and_a_thawed_one_goes_on(partitions, make_records):
    lane = partitions.assign(KEY, route(), 0.0).lanes[0]
    partitions.receive(lane.partition, make_records(0, 4))
    partitions.frozen = True
    assert partitions.take(lane, 0.0) is None
    assert partitions.thaw() == [lane]
    assert partitions.take(lane, 0.0) is not None


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_every_message_is_handled_in_order_and_nothing_is_stored_too_early(data):
    """Random arrivals, successes, failures, marks, pauses and lost assignments against the plain log of a partition."""
    partitions = Partitions(Ledger())
    one = route(retry_backoff=1.0, max_messages=data.draw(st.integers(1, 5)))
    lane = partitions.assign(KEY, one, 0.0).lanes[0]
    committed = fetched = 0
    handled: set[int] = set()
    run = None
    now = 0.0
    for _ in range(data.draw(st.integers(5, 60))):
        now += 1.0
        step = data.draw(st.sampled_from(["fetch", "take", "ok", "fail", "mark", "wake", "store", "pause", "move"]))
        if step == "fetch":
            count = data.draw(st.integers(1, 7))
            records = [
                confluent_kafka.Message(topic="flights", partition=0, offset=offset, value=b"x")
                for offset in range(fetched, fetched + count)
            ]
            partitions.receive(lane.partition, records)
            fetched += count
        elif step == "take" and run is None:
            run = partitions.take(lane, now)
            if run is not None:
                first = run.records[0].offset()
                assert first <= max(handled, default=committed - 1) + 1, "no message is passed over"
        elif step == "ok" and run is not None:
            handled.update(offsets(run))
            partitions.finish(run, False, now)
            run = None
        elif step == "fail" and run is not None:
            partitions.finish(run, True, now)
            run = None
        elif step == "mark" and run is not None and partitions.ledger.owns(KEY, run.epoch):
            upto = data.draw(st.integers(0, len(run.records) - 1))
            handled.update(offsets(run)[: upto + 1])
            partitions.ledger.mark(KEY, run.epoch, run.records[upto].offset() + 1)
        elif step == "wake":
            partitions.wake(now + 100)
        elif step == "pause":
            partitions.pause(lane.partition, now + 1)
        elif step == "store":
            for committable in partitions.ledger.take_committable():
                committed = committable.offset
        elif step == "move":
            partitions.close(KEY)
            released = partitions.ledger.release(KEY)
            committed = released.offset if released is not None else committed
            if run is not None:
                partitions.finish(run, False, now)
                run = None
            lane = partitions.assign(KEY, one, now).lanes[0]
            fetched = committed
        assert set(range(committed)) <= handled, "an offset was stored before everything below it was handled"
    assert partitions.held_total == sum(each.held for each in partitions.by_key.values())


class Hooked(Consumer):
    def consume(self, messages): ...

    def tick(self): ...

    def eofed(self): ...

    def revoked(self): ...


def hooked_route():
    app = App("lanes", {"bootstrap.servers": "nowhere:1"})
    app.topic("flights")(Hooked)
    return app.routes[0]


HOOKED = hooked_route()


def hooked_lane(partitions, now=0.0):
    lane = partitions.assign(KEY, HOOKED, now).lanes[0]
    lane.consumer = Hooked()
    return lane


def test_a_partition_that_came_back_twice_waits_for_the_run_of_its_first_life(partitions, make_records):
    first = hooked_lane(partitions)
    partitions.receive(first.partition, make_records(0, 3))
    old = partitions.take(first, 0.0)
    partitions.close(KEY)
    second = hooked_lane(partitions, 1.0)
    assert partitions.begin_hook(second, "tick", 1.0) is None, "a hook ran beside the handler of the former assignment"
    assert not partitions.is_free(second)
    partitions.close(KEY)
    third = hooked_lane(partitions, 2.0)
    assert partitions.receive(third.partition, make_records(0, 3)) == []
    assert partitions.running() == [old]
    assert partitions.finish(old, False, 3.0).queue
    assert offsets(partitions.take(third, 3.0)) == [0, 1, 2]


def test_revoked_of_an_idle_partition_comes_before_the_first_batch_of_its_next_life(partitions, make_records):
    lane = hooked_lane(partitions)
    partitions.close(KEY, tell=True)
    assert partitions.at_work, "a stop waits for what is owed"
    back = hooked_lane(partitions, 1.0)
    assert partitions.receive(back.partition, make_records(0, 3)), "a worker comes, and calls revoked() if nobody does"
    assert partitions.owing(KEY) is lane
    run = partitions.begin_hook(lane, "revoked", 1.0)
    assert run is not None
    assert partitions.owing(KEY) is None
    assert partitions.take(back, 1.0) is None, "a batch would run beside revoked()"
    assert partitions.receive(back.partition, make_records(3, 3)) == []
    assert partitions.finish(run, False, 2.0).queue
    assert offsets(partitions.take(back, 2.0)) == [0, 1, 2, 3, 4, 5]
    assert partitions.at_work


def test_revoked_is_called_once(partitions, make_records):
    lane = hooked_lane(partitions)
    partitions.receive(lane.partition, make_records(0, 3))
    run = partitions.take(lane, 0.0)
    partitions.close(KEY, tell=True)
    assert partitions.finish(run, False, 1.0).owes_revoked
    last = partitions.begin_hook(lane, "revoked", 1.0)
    assert partitions.finish(last, False, 2.0).owes_revoked is False
    assert partitions.begin_hook(lane, "revoked", 3.0) is None
    assert partitions.is_free(lane), "the partition would wait for ever"


def test_revoked_that_is_at_work_when_its_partition_goes_is_not_owed_again(partitions):
    lane = hooked_lane(partitions)
    run = partitions.begin_hook(lane, "revoked", 0.0)
    partitions.close(KEY, tell=True)
    assert partitions.finish(run, False, 1.0).owes_revoked is False


def test_a_tick_of_a_partition_that_is_gone_is_not_called(partitions):
    lane = hooked_lane(partitions)
    partitions.close(KEY)
    assert partitions.begin_hook(lane, "tick", 1.0) is None
    assert partitions.begin_hook(lane, "eofed", 1.0) is None


def _records(first, count):
    return [confluent_kafka.Message(topic="flights", partition=0, offset=first + n, value=b"x") for n in range(count)]


@settings(max_examples=500, deadline=None)
@example(["assign", "receive", "take", "close", "assign", "tell"])
@given(
    st.lists(st.sampled_from(["assign", "close", "tell", "receive", "take", "hook", "revoked", "finish"]), max_size=60)
)
def test_at_most_one_call_of_a_partition_runs_at_any_time(steps):
    partitions = Partitions(Ledger())
    lane, runs, owed, told, offset = None, [], [], [], 0
    for now, step in enumerate(steps):
        if step == "assign" and lane is None:
            lane = hooked_lane(partitions, now)
        elif step in ("close", "tell") and lane is not None:
            if partitions.close(KEY, tell=step == "tell").lanes[0].owes_revoked:
                told.append(lane)
                if lane.running is None:
                    owed.append(lane)
            partitions.ledger.release(KEY)
            lane = None
        elif step == "receive" and lane is not None:
            partitions.receive(lane.partition, _records(offset, 2))
            offset += 2
        elif step == "take" and lane is not None:
            runs += [run] if (run := partitions.take(lane, now)) is not None else []
        elif step == "hook" and lane is not None:
            runs += [run] if (run := partitions.begin_hook(lane, "tick", now)) is not None else []
        elif step == "revoked" and owed:
            run = partitions.begin_hook(owed.pop(), "revoked", now)
            assert run is not None, "revoked() was owed and never called"
            told.remove(run.lane)
            runs.append(run)
        elif step == "finish" and runs:
            run = runs.pop()
            if partitions.finish(run, False, now).owes_revoked:
                owed.append(run.lane)
        assert len(runs) <= 1
        assert partitions.running() == runs
    while runs or owed:
        run = runs.pop() if runs else partitions.begin_hook(owed.pop(), "revoked", 99)
        if run.action == "revoked":
            told.remove(run.lane) if run.lane in told else None
        if partitions.finish(run, False, 99).owes_revoked:
            owed.append(run.lane)
    assert told == []
    if lane is not None:
        assert partitions.is_free(lane), "the partition would wait for ever"
