"""The reporter's decisions under a simulated clock: hundreds of hours in seconds, and no thread."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from swarm_health import Status
from swarm_liveness._judging.ages import Stamps
from swarm_liveness._judging.schedule import Schedule, dropped, state_dropped, turn, wake_at
from swarm_liveness._judging.verdict import Facts, Judgement, Verdict, judge
from swarm_liveness.settings import Limits

HEALTHY = Judgement(Verdict(), None)
SICK = Judgement(Verdict(Status.MEMORY, "too big"), None)


def test_a_bad_verdict_goes_out_at_once_and_then_with_the_beat() -> None:
    schedule = Schedule(beat_at=10.0, statistics_at=100.0)
    first = turn(schedule, SICK, 3.0, 10.0, 1.0)
    assert first.beat
    assert first.schedule.beat_at == 13.0
    assert not turn(first.schedule, SICK, 4.0, 10.0, 1.0).beat
    assert turn(first.schedule, SICK, 13.0, 10.0, 1.0).beat


def test_a_bad_report_that_was_dropped_is_tried_at_the_next_turn() -> None:
    first = turn(Schedule(10.0, 100.0), SICK, 3.0, 10.0, 1.0)
    assert turn(dropped(first.schedule), SICK, 3.1, 10.0, 1.0).beat


def test_another_code_goes_out_at_once_too() -> None:
    first = turn(Schedule(10.0, 100.0), SICK, 3.0, 10.0, 1.0)
    assert turn(first.schedule, Judgement(Verdict(Status.CONSUMING, "stuck"), None), 3.1, 10.0, 1.0).beat


def test_without_a_judgement_there_is_no_beat_and_no_hurry() -> None:
    step = turn(Schedule(0.0, 0.0), None, 5.0, 10.0, 1.0)
    assert not step.beat
    assert step.schedule.beat_at == 15.0


def test_recovery_waits_for_the_beat() -> None:
    first = turn(Schedule(10.0, 100.0), SICK, 3.0, 10.0, 1.0).schedule
    assert not turn(first, HEALTHY, 5.0, 10.0, 1.0).beat
    assert turn(first, HEALTHY, 13.0, 10.0, 1.0).beat


@pytest.mark.parametrize(
    ("expiry", "sample", "expected"), [(None, None, 5.0), (4.0, None, 4.0), (4.0, 3.0, 3.0), (9.0, 8.0, 5.0)]
)
def test_sleep_ends_at_the_earliest_deadline(expiry: float | None, sample: float | None, expected: float) -> None:
    assert wake_at(Schedule(5.0, 6.0), Judgement(Verdict(), expiry), sample) == expected


@pytest.mark.parametrize("seed", range(100))
def test_scripted_hours(poll: Any, run: Any, seed: int) -> None:
    """Some hours of a node with groups that poll and batches that run; at one moment one unit of one kind dies.

    The reporter sleeps until its own deadlines only. What dies must be reported at the very moment its TTL is over (a
    join state within an interval), with its name; nothing may be reported before; a beat must go out every interval.
    """
    chance = random.Random(seed)
    interval = chance.choice([1.0, 5.0, 10.0])
    limits = Limits(
        polling_ttl=interval * chance.randint(1, 40),
        consuming_ttl=interval * chance.randint(1, 40),
        stability_ttl=interval * chance.randint(1, 60),
    )
    assert limits.polling_ttl is not None
    assert limits.consuming_ttl is not None
    assert limits.stability_ttl is not None
    groups = [poll(f"group-{number}") for number in range(chance.randint(1, 4))]
    runs = [run(partition=number) for number in range(chance.randint(1, 6))]
    kind = chance.choice([Status.POLLING, Status.CONSUMING, Status.STABILITY])
    dies_at = chance.uniform(0.0, 3000 * interval)
    victim: Any = None
    expected = float("inf")

    # The runtime moves at moments of its own, drawn so that no live unit ever reaches its TTL.
    tightest = min(limits.polling_ttl, limits.consuming_ttl, limits.stability_ttl)
    schedule = Schedule(beat_at=0.0, statistics_at=0.0)
    now = moves = 0.0
    beats: list[float] = []
    judgement: Judgement | None = None
    while True:
        wake = wake_at(schedule, judgement, None)
        while moves < wake:
            if victim is None and moves >= dies_at:
                victim = chance.choice(runs if kind == Status.CONSUMING else groups)
                if kind == Status.CONSUMING:
                    expected = victim.started + limits.consuming_ttl
                elif kind == Status.POLLING:
                    expected = victim.last_poll + limits.polling_ttl
                    victim.join_state = "steady"
                else:
                    victim.join_state, victim.join_state_since = "wait-sync", moves
                    expected = moves + limits.stability_ttl
            for group in groups:
                if group is not victim or kind == Status.STABILITY:
                    group.last_poll = moves
                if group is not victim:
                    group.join_state = chance.choice(["steady", "wait-join"])
                    group.join_state_since = moves
            for one in runs:
                if one is not victim:
                    one.started = moves
            moves += chance.uniform(tightest * 0.1, tightest * 0.4)
        now = wake
        judgement = judge(Facts(stamps=Stamps(polls=groups, runs=runs)), limits, now)
        step = turn(schedule, judgement, now, interval, interval)
        schedule = step.schedule
        if step.beat and judgement.verdict.healthy:
            beats.append(now)
        if not judgement.verdict.healthy:
            assert step.beat
            break
        assert now < expected
        if now > dies_at + 1e5:
            pytest.fail("the dead unit was never reported")
    assert judgement.verdict.code == kind
    name = f"flights/{victim.partition} " if kind == Status.CONSUMING else f"'{victim.subscription_group}'"
    assert name in judgement.verdict.reason
    late = interval if kind == Status.STABILITY else 0.0
    assert expected <= now + 1e-6
    assert now <= expected + late + 1e-6
    gaps = [after - before for before, after in pairwise(beats)]
    assert all(gap == pytest.approx(interval) for gap in gaps)


def test_a_state_goes_out_at_once_and_is_then_left_to_the_interval() -> None:
    schedule = Schedule(beat_at=10.0, statistics_at=100.0, state="starting")
    first = turn(schedule, HEALTHY, 3.0, 10.0, 100.0, "running")
    assert first.statistics
    assert not first.beat
    assert first.schedule.statistics_at == 103.0
    assert not turn(first.schedule, HEALTHY, 4.0, 10.0, 100.0, "running").statistics
    assert turn(first.schedule, HEALTHY, 4.0, 10.0, 100.0, "quieting").statistics


def test_a_state_that_was_dropped_is_told_at_the_next_turn() -> None:
    first = turn(Schedule(10.0, 100.0), HEALTHY, 3.0, 10.0, 100.0, "running")
    assert turn(state_dropped(first.schedule), HEALTHY, 3.1, 10.0, 100.0, "running").statistics


def test_a_state_that_cannot_be_asked_for_is_none_that_has_changed() -> None:
    assert not turn(Schedule(10.0, 100.0, state="running"), None, 3.0, 10.0, 100.0, None).statistics
