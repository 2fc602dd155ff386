"""The gate: many together or one alone, in every order of threads, and no wait without an end."""

from __future__ import annotations

import threading
import time

import pytest

from swarm_consumer._connection.gate import Gate

LONG_S = 30.0


def nothing():
    """A note that nobody keeps."""


class Thread:
    """A thread that does one thing after the other, as it is told."""

    def __init__(self):
        self._orders, self._told = [], threading.Condition()
        self.results = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def order(self, call, *given):
        with self._told:
            self._orders.append((call, given))
            self._told.notify_all()
        return self

    def _run(self):
        while True:
            with self._told:
                self._told.wait_for(lambda: self._orders)
                call, given = self._orders[0]
            result = call(*given)
            with self._told:
                del self._orders[0]
                self.results.append(result)
                self._told.notify_all()

    def done(self, count, timeout_s=LONG_S):
        with self._told:
            return self._told.wait_for(lambda: len(self.results) >= count, timeout_s)


def until(condition):
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def threads():
    return [Thread() for _ in range(4)]


def test_many_are_inside_together(threads):
    gate = Gate()
    for one in threads:
        assert one.order(gate.enter).done(1)
    assert [one.results for one in threads] == [[True]] * 4


def test_one_alone_waits_for_all_others_and_keeps_the_next_ones_out(threads):
    gate, (first, second, alone, late) = Gate(), threads
    first.order(gate.enter).done(1)
    second.order(gate.enter).done(1)
    alone.order(gate.begin_alone, nothing)
    until(lambda: gate._wanted)
    late.order(gate.enter)
    until(lambda: gate._waiting)
    first.order(gate.leave).done(2)
    assert not alone.done(1, 0.05)
    second.order(gate.leave).done(2)
    assert alone.done(1)
    assert not late.done(1, 0.05)
    alone.order(lambda: gate.end_alone(alone.results[0])).done(2)
    assert late.done(1)


def test_whoever_waited_goes_in_before_the_next_suspect(threads):
    gate, (one, other, waits, _) = Gate(), threads
    one.order(gate.begin_alone, nothing).done(1)
    other.order(gate.begin_alone, nothing)
    until(lambda: gate._wanted == 1)
    waits.order(gate.enter)
    until(lambda: gate._waiting)
    one.order(lambda: gate.end_alone(one.results[0])).done(2)
    assert waits.done(1)
    assert not other.done(1, 0.05)
    waits.order(gate.leave)
    assert other.done(1)


def test_a_suspect_that_takes_too_long_lets_others_in_after_its_note_says_so(threads):
    gate, (alone, waits, next_alone, _) = Gate(alone_s=0.05), threads
    said = []
    alone.order(gate.begin_alone, lambda: said.append(len(waits.results))).done(1)
    (tenure,) = alone.results
    assert not tenure.over
    waits.order(gate.enter)
    assert waits.done(1)
    assert said == [0], "before the other is in"
    assert tenure.over
    waits.order(gate.leave).done(2)
    # The one that was alone still runs: the next one is not alone beside it.
    next_alone.order(gate.begin_alone, nothing)
    assert not next_alone.done(1, 0.05)
    alone.order(gate.end_alone, tenure)
    assert next_alone.done(1)
    assert said == [0], "once"


def test_a_longer_time_alone_may_be_asked_for(threads):
    gate, (alone, waits, *_) = Gate(alone_s=0.05), threads
    alone.order(gate.begin_alone, nothing).done(1)
    alone.results[0].until += LONG_S
    waits.order(gate.enter)
    assert not waits.done(1, 0.3)
    alone.order(gate.end_alone, alone.results[0])
    assert waits.done(1)


def test_a_note_that_cannot_be_written_keeps_nobody_out(threads):
    gate, (alone, waits, third, _) = Gate(alone_s=0.05), threads

    def fail():
        raise OSError("the memory is gone")

    def enter():
        try:
            return gate.enter()
        except OSError:
            return gate.enter()

    alone.order(gate.begin_alone, fail).done(1)
    waits.order(enter)
    assert waits.done(1)
    third.order(gate.enter)
    assert third.done(1)


def test_waiting_to_be_alone_keeps_others_out_for_a_stretch_only(threads):
    gate, (busy, alone, waits, _) = Gate(alone_s=0.05), threads
    busy.order(gate.enter).done(1)  # and does not end
    alone.order(gate.begin_alone, nothing)
    until(lambda: gate._wanted)
    waits.order(gate.enter)
    assert waits.done(1)
    assert not alone.results


def test_patience_ends(threads):
    gate, (busy, alone, *_) = Gate(alone_s=0.02, patience_s=0.1), threads
    busy.order(gate.enter).done(1)
    alone.order(gate.begin_alone, nothing)
    assert alone.done(1)
    assert alone.results == [None]
    assert not gate._closed


def test_what_was_waited_for_in_vain_is_not_waited_for_by_each_suspect(threads):
    """A handler of hours would keep all others at a batch a minute, for ten minutes with each of a hundred suspects."""
    gate, (busy, alone, other, _) = Gate(alone_s=0.02, patience_s=0.1), threads
    busy.order(gate.enter).done(1)
    assert alone.order(gate.begin_alone, nothing).done(1)
    gate._patience_s = 10 * LONG_S
    assert other.order(gate.begin_alone, nothing).done(1)
    assert other.results == [None]
    busy.order(gate.leave).order(gate.enter).done(3)
    other.order(gate.begin_alone, nothing)
    assert not other.done(2, 0.1), "it was out in between, so it does not take hours"
    busy.order(gate.leave)
    assert other.done(2)
    assert other.results[1] is not None


def test_waiting_ends_when_it_is_of_no_use_any_more(threads):
    gate, (busy, alone, waits, _) = Gate(), threads
    gone = threading.Event()
    busy.order(gate.enter).done(1)
    alone.order(gate.begin_alone, nothing, gone.is_set)
    until(lambda: gate._wanted)
    waits.order(gate.enter, gone.is_set)
    until(lambda: gate._waiting)
    gone.set()
    assert waits.done(1)
    assert waits.results[0] in (True, False)  # the other may have given up before, which opens the gate
    assert alone.done(1)
    assert alone.results == [None]
    waits.order(gate.leave)
    busy.order(gate.leave).done(2)
    assert not gate._closed


def test_nobody_is_let_in_to_a_suspect_at_the_end_of_the_process(threads):
    gate, (alone, waits, *_) = Gate(alone_s=0.02), threads
    said = []
    gone = threading.Event()
    alone.order(gate.begin_alone, lambda: said.append(1)).done(1)
    gate.ending = True
    waits.order(gate.enter, gone.is_set)
    assert not waits.done(1, 0.1)
    gone.set()
    assert waits.done(1)
    assert waits.results == [False]
    assert not said


def test_in_a_crowd_one_is_alone_and_everybody_gets_a_turn():
    gate = Gate()
    inside, alone_at, failures = [], [], []
    turns = dict.fromkeys(range(8), 0)

    def enters(index):
        while turns[index] < 60:
            gate.enter()
            inside.append(index)
            if alone_at:
                failures.append("entered beside a suspect")
            time.sleep(0)
            inside.remove(index)
            gate.leave()
            turns[index] += 1

    def is_alone(index):
        while turns[index] < 60:
            tenure = gate.begin_alone(nothing)
            alone_at.append(index)
            if inside or len(alone_at) > 1:
                failures.append("not alone")
            time.sleep(0)
            alone_at.remove(index)
            gate.end_alone(tenure)
            turns[index] += 1

    crowd = [threading.Thread(target=is_alone if index > 5 else enters, args=(index,)) for index in turns]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(LONG_S)
    assert not failures
    assert set(turns.values()) == {60}


def test_a_pass_costs_next_to_nothing_while_nothing_is_suspected():
    gate = Gate()

    def passes(count):
        begun = time.perf_counter()
        for _ in range(count):
            gate.enter()
            gate.leave()
        return (time.perf_counter() - begun) / count

    assert min(passes(20_000) for _ in range(20)) < 2e-6, "at most 0.02 us a message in batches of 100"
