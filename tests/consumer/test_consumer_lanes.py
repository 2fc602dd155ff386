"""Lanes: what may be worked on now, and what becomes of it. No client, no thread, no clock but the given one."""

from __future__ import annotations

import confluent_kafka
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swarm_consumer import App, Consumer
from swarm_consumer._scheduling.lanes import Lanes, LaneState
from swarm_consumer._scheduling.progress import Ledger

KEY = ("flights", 0)


def route(**options):
    app = App("lanes", {"bootstrap.servers": "nowhere:1"})
    app.topic("flights", **{"max_messages": 3, **options})(
        type("Handler", (Consumer,), {"consume": lambda self, messages: None})
    )
    return app.routes[0]


@pytest.fixture
def lanes():
    return Lanes(Ledger())


def offsets(run):
    return [record.offset() for record in run.records]


def test_messages_are_taken_in_order_and_in_batches(lanes, make_records):
    lane = lanes.assign(KEY, route(), 0.0)
    assert lanes.receive(lane, make_records(0, 2)) is True
    assert lanes.receive(lane, make_records(2, 5)) is False, "a lane is queued once"
    taken = []
    for _ in range(3):
        run = lanes.take(lane, 0.0)
        taken.append(offsets(run))
        lanes.finish(run, False, 0.1)
    assert taken == [[0, 1, 2], [3, 4, 5], [6]]
    assert lane.state is LaneState.IDLE
    assert lanes.held_total == 0
    assert lanes.ledger.position(KEY) == 7


def test_one_run_at_a_time(lanes, make_records):
    lane = lanes.assign(KEY, route(), 0.0)
    lanes.receive(lane, make_records(0, 6))
    run = lanes.take(lane, 0.0)
    assert lanes.take(lane, 0.0) is None
    assert lanes.receive(lane, make_records(6, 1)) is False
    assert lanes.finish(run, False, 1.0).queue is True


def test_a_failure_keeps_what_is_not_marked_and_waits(lanes, make_records):
    lane = lanes.assign(KEY, route(retry_backoff=2.0), 0.0)
    lanes.receive(lane, make_records(0, 5))
    run = lanes.take(lane, 0.0)
    lanes.ledger.mark(KEY, run.epoch, 1)
    outcome = lanes.finish(run, True, 10.0)
    assert (outcome.queue, outcome.retry_in_s, outcome.first_unmarked) == (False, 2.0, 1)
    assert lane.state is LaneState.WAITING
    assert lanes.next_wake() == 12.0
    assert lanes.wake(11.9) == []
    assert lanes.take(lane, 11.9) is None
    assert lanes.wake(12.0) == [lane]
    again = lanes.take(lane, 12.0)
    assert (offsets(again), again.attempt) == ([1, 2], 2)
    lanes.finish(again, False, 12.1)
    after = lanes.take(lane, 12.1)
    assert (offsets(after), after.attempt) == ([3, 4], 1)


def test_manual_marking_leaves_the_position_to_the_handler(lanes, make_records):
    lane = lanes.assign(KEY, route(manual_marking=True), 0.0)
    lanes.receive(lane, make_records(0, 3))
    run = lanes.take(lane, 0.0)
    lanes.finish(run, False, 1.0)
    assert lanes.ledger.position(KEY) is None


def test_a_handler_that_saw_it_should_leave_marks_only_explicitly(lanes, make_records):
    lane = lanes.assign(KEY, route(), 0.0)
    lanes.receive(lane, make_records(0, 3))
    run = lanes.take(lane, 0.0)
    run.marks_only = True
    lanes.ledger.mark(KEY, run.epoch, 2)
    lanes.finish(run, False, 1.0)
    assert lanes.ledger.position(KEY) == 2


def test_a_run_that_outlived_its_partition_changes_nothing(lanes, make_records):
    lane = lanes.assign(KEY, route(), 0.0)
    lanes.receive(lane, make_records(0, 3))
    run = lanes.take(lane, 0.0)
    lanes.close(KEY)
    lanes.ledger.release(KEY)
    outcome = lanes.finish(run, False, 1.0)
    assert outcome.stale
    assert lanes.ledger.position(KEY) is None
    assert lanes.running() == []


def test_a_partition_that_came_back_waits_for_the_run_of_its_former_life(lanes, make_records):
    lane = lanes.assign(KEY, route(), 0.0)
    lanes.receive(lane, make_records(0, 3))
    old = lanes.take(lane, 0.0)
    lanes.close(KEY)
    lanes.ledger.release(KEY)
    back = lanes.assign(KEY, route(), 1.0)
    assert lanes.receive(back, make_records(0, 3)) is False, "two handlers of one partition never run side by side"
    assert [run.epoch for run in lanes.running()] == [old.epoch]
    outcome = lanes.finish(old, False, 2.0)
    assert outcome.stale
    assert outcome.queue
    new = lanes.take(back, 2.0)
    assert offsets(new) == [0, 1, 2]
    lanes.finish(new, False, 3.0)
    assert lanes.ledger.position(KEY) == 3


def test_a_client_that_goes_back_by_itself_voids_what_came_before(lanes, make_records):
    lane = lanes.assign(KEY, route(), 0.0)
    lanes.receive(lane, make_records(100, 3))
    run = lanes.take(lane, 0.0)
    lanes.receive(lane, make_records(0, 2))
    assert lanes.finish(run, False, 1.0).stale
    assert lanes.ledger.position(KEY) == 0  # to be committed: the commit before may be beyond the end of the log
    assert lane.went_back
    new = lanes.take(lane, 1.0)
    assert offsets(new) == [0, 1]


def test_pause_and_resume(lanes, make_records):
    lane = lanes.assign(KEY, route(), 0.0)
    lanes.receive(lane, make_records(0, 4))
    run = lanes.take(lane, 0.0)
    lanes.pause(lane, 5.0)
    assert lanes.finish(run, False, 1.0).queue is False
    assert lane.state is LaneState.PAUSED
    assert lanes.wake(4.9) == []
    assert lanes.wake(5.0) == [lane]
    lanes.pause(lane, float("inf"))
    assert lanes.take(lane, 6.0) is None
    assert lanes.resume(lane) is True
    assert offsets(lanes.take(lane, 7.0)) == [3]


def test_a_frozen_group_takes_nothing_and_a_thawed_one_goes_on(lanes, make_records):
    lane = lanes.assign(KEY, route(), 0.0)
    lanes.receive(lane, make_records(0, 4))
    lanes.frozen = True
    assert lanes.take(lane, 0.0) is None
    assert lanes.thaw() == [lane]
    assert lanes.take(lane, 0.0) is not None


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_every_message_is_handled_in_order_and_nothing_is_stored_too_early(data):
    """Random arrivals, successes, failures, marks, pauses and lost assignments against the plain log of a partition."""
    lanes = Lanes(Ledger())
    one = route(retry_backoff=1.0, max_messages=data.draw(st.integers(1, 5)))
    lane = lanes.assign(KEY, one, 0.0)
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
            lanes.receive(lane, records)
            fetched += count
        elif step == "take" and run is None:
            run = lanes.take(lane, now)
            if run is not None:
                first = run.records[0].offset()
                assert first <= max(handled, default=committed - 1) + 1, "no message is passed over"
        elif step == "ok" and run is not None:
            handled.update(offsets(run))
            lanes.finish(run, False, now)
            run = None
        elif step == "fail" and run is not None:
            lanes.finish(run, True, now)
            run = None
        elif step == "mark" and run is not None and lanes.ledger.owns(KEY, run.epoch):
            upto = data.draw(st.integers(0, len(run.records) - 1))
            handled.update(offsets(run)[: upto + 1])
            lanes.ledger.mark(KEY, run.epoch, run.records[upto].offset() + 1)
        elif step == "wake":
            lanes.wake(now + 100)
        elif step == "pause":
            lanes.pause(lane, now + 1)
        elif step == "store":
            for storable in lanes.ledger.take_storable():
                committed = storable.offset
        elif step == "move":
            lanes.close(KEY)
            released = lanes.ledger.release(KEY)
            committed = released.offset if released is not None else committed
            if run is not None:
                lanes.finish(run, False, now)
                run = None
            lane = lanes.assign(KEY, one, now)
            fetched = committed
        assert set(range(committed)) <= handled, "an offset was stored before everything below it was handled"
    assert lanes.held_total == sum(len(each.held) for each in lanes.by_key.values())


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


def hooked_lane(lanes, now=0.0):
    lane = lanes.assign(KEY, HOOKED, now)
    lane.consumer = Hooked()
    return lane


def test_a_partition_that_came_back_twice_waits_for_the_run_of_its_first_life(lanes, make_records):
    first = hooked_lane(lanes)
    lanes.receive(first, make_records(0, 3))
    old = lanes.take(first, 0.0)
    lanes.close(KEY)
    second = hooked_lane(lanes, 1.0)
    assert lanes.begin_hook(second, "tick", 1.0) is None, "a hook ran beside the handler of the former assignment"
    assert not lanes.is_free(second)
    lanes.close(KEY)
    third = hooked_lane(lanes, 2.0)
    assert lanes.receive(third, make_records(0, 3)) is False
    assert lanes.running() == [old]
    assert lanes.finish(old, False, 3.0).queue
    assert offsets(lanes.take(third, 3.0)) == [0, 1, 2]


def test_revoked_of_an_idle_partition_comes_before_the_first_batch_of_its_next_life(lanes, make_records):
    lane = hooked_lane(lanes)
    lanes.close(KEY, tell=True)
    assert lanes.at_work, "a stop waits for what is owed"
    back = hooked_lane(lanes, 1.0)
    assert lanes.receive(back, make_records(0, 3)), "a worker comes, and calls revoked() if nobody does"
    assert lanes.owing(KEY) is lane
    run = lanes.begin_hook(lane, "revoked", 1.0)
    assert run is not None
    assert lanes.owing(KEY) is None
    assert lanes.take(back, 1.0) is None, "a batch would run beside revoked()"
    assert lanes.receive(back, make_records(3, 3)) is False
    assert lanes.finish(run, False, 2.0).queue
    assert offsets(lanes.take(back, 2.0)) == [0, 1, 2, 3, 4, 5]
    assert lanes.at_work


def test_revoked_is_called_once(lanes, make_records):
    lane = hooked_lane(lanes)
    lanes.receive(lane, make_records(0, 3))
    run = lanes.take(lane, 0.0)
    lanes.close(KEY, tell=True)
    assert lanes.finish(run, False, 1.0).owes_revoked
    last = lanes.begin_hook(lane, "revoked", 1.0)
    assert lanes.finish(last, False, 2.0).owes_revoked is False
    assert lanes.begin_hook(lane, "revoked", 3.0) is None
    assert lanes.is_free(lane), "the partition would wait for ever"


def test_revoked_that_is_at_work_when_its_partition_goes_is_not_owed_again(lanes):
    lane = hooked_lane(lanes)
    run = lanes.begin_hook(lane, "revoked", 0.0)
    lanes.close(KEY, tell=True)
    assert lanes.finish(run, False, 1.0).owes_revoked is False


def test_a_tick_of_a_partition_that_is_gone_is_not_called(lanes):
    lane = hooked_lane(lanes)
    lanes.close(KEY)
    assert lanes.begin_hook(lane, "tick", 1.0) is None
    assert lanes.begin_hook(lane, "eofed", 1.0) is None


def _records(first, count):
    return [confluent_kafka.Message(topic="flights", partition=0, offset=first + n, value=b"x") for n in range(count)]


@settings(max_examples=500, deadline=None)
@example(["assign", "receive", "take", "close", "assign", "tell"])
@given(
    st.lists(st.sampled_from(["assign", "close", "tell", "receive", "take", "hook", "revoked", "finish"]), max_size=60)
)
def test_at_most_one_call_of_a_partition_runs_at_any_time(steps):
    lanes = Lanes(Ledger())
    lane, runs, owed, told, offset = None, [], [], [], 0
    for now, step in enumerate(steps):
        if step == "assign" and lane is None:
            lane = hooked_lane(lanes, now)
        elif step in ("close", "tell") and lane is not None:
            if lanes.close(KEY, tell=step == "tell").owes_revoked:
                told.append(lane)
                if lane.running is None:
                    owed.append(lane)
            lanes.ledger.release(KEY)
            lane = None
        elif step == "receive" and lane is not None:
            lanes.receive(lane, _records(offset, 2))
            offset += 2
        elif step == "take" and lane is not None:
            runs += [run] if (run := lanes.take(lane, now)) is not None else []
        elif step == "hook" and lane is not None:
            runs += [run] if (run := lanes.begin_hook(lane, "tick", now)) is not None else []
        elif step == "revoked" and owed:
            run = lanes.begin_hook(owed.pop(), "revoked", now)
            assert run is not None, "revoked() was owed and never called"
            told.remove(run.lane)
            runs.append(run)
        elif step == "finish" and runs:
            run = runs.pop()
            if lanes.finish(run, False, now).owes_revoked:
                owed.append(run.lane)
        assert len(runs) <= 1
        assert lanes.running() == runs
    while runs or owed:
        run = runs.pop() if runs else lanes.begin_hook(owed.pop(), "revoked", 99)
        if run.action == "revoked":
            told.remove(run.lane) if run.lane in told else None
        if lanes.finish(run, False, 99).owes_revoked:
            owed.append(run.lane)
    assert told == []
    if lane is not None:
        assert lanes.is_free(lane), "the partition would wait for ever"
