"""The soak's own ledger is proven before it is believed; and a small soak on real Kafka."""

import random
import zlib
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.flatness import trend
from benchmarks.chaos.soak_ledger import BatchDone, SoakLedger, checksum, parse, value
from benchmarks.soak import Memory, Outcome, Plan, Soak, text


def batch(first: int, last: int, *, at: float = 0.0, pid: int = 1, crc: int | None = None) -> BatchDone:
    return BatchDone(at, pid, 0, first, last, checksum(0, first, last) if crc is None else crc)


def ledger(*batches: BatchDone, records: int = 100) -> SoakLedger:
    made = SoakLedger([records], uncommitted_s=3.0)
    for each in batches:
        made.done(each)
    return made


def test_a_line_of_the_log_is_read_as_it_was_written() -> None:
    assert parse(batch(3, 7, at=1.5).line()) == batch(3, 7, at=1.5)


def test_every_record_handled_once_is_a_clean_account() -> None:
    made = ledger(batch(0, 49), batch(50, 99))
    assert (made.lost(), made.times(), made.problems, made.handled()) == (0, {1: 100}, [], 100)


def test_a_record_that_nobody_handled_is_lost() -> None:
    made = ledger(batch(0, 48), batch(50, 99))
    assert made.lost() == 1
    assert made.times() == {0: 1, 1: 99}
    assert "was never handled" in made.problems[0]


def test_a_replay_is_counted_and_bounded_by_its_age() -> None:
    made = ledger(batch(0, 49, at=1.0), batch(50, 79, at=3.0), batch(50, 99, at=9.0, pid=2))
    assert (made.times(), made.replays, made.problems) == ({1: 70, 2: 30}, 1, [])
    made = ledger(batch(0, 49, at=1.0), batch(50, 79, at=9.0), batch(10, 99, at=11.0, pid=2))
    assert made.longest_replay_s == 8.0
    assert "the bound is 3 s" in made.problems[0]


@pytest.mark.parametrize("dishonest", ["drop", "double", "swap", "change"])
def test_what_was_not_given_exactly_is_not_counted(dishonest: str) -> None:
    given = [value(0, offset) for offset in range(10)]
    if dishonest == "drop":
        del given[4]
    elif dishonest == "double":
        given.insert(4, given[4])
    elif dishonest == "swap":
        given[4], given[5] = given[5], given[4]
    else:
        given[4] = given[4][:-1] + b"y"
    made = ledger(batch(0, 9, crc=zlib.crc32(b"".join(given))), records=10)
    assert made.lost() == 10
    assert "other records" in made.problems[0]


def test_an_offset_that_was_never_produced_is_told() -> None:
    assert "no offset 100" in ledger(batch(90, 100)).problems[0]


def test_a_rise_is_told_from_noise() -> None:
    draw = random.Random(1)
    level = [(float(second), 40 + draw.uniform(-2, 2)) for second in range(200)]
    rising = [(second, resident + second / 20) for second, resident in level]
    assert trend(level).flat(1.0)
    assert not trend(rising).flat(1.0)
    assert trend(rising).slope_per_minute == pytest.approx(3.0, abs=0.3)
    assert trend([(float(second), 45.0) for second in range(10)]).noise == 0.0
    with pytest.raises(ValueError, match="three points"):
        trend(level[:2])


def test_memory_of_the_second_half_is_judged_apart_for_each_kind_of_process() -> None:
    outcome = Outcome(Plan(records=1, rate=1.0, kill_every_s=1.0, limit_s=1.0), duration_s=200.0)
    for second in range(200):
        life = 100 + second // 25  # node 1 is killed every 25 s
        nodes = {0: (10, 40.0 + second), 1: (life, 30.0)}
        outcome.memory.append(Memory(float(second), 45.0, nodes, 0))
    trends = outcome.trends()
    assert trends["supervisor"].flat(1.0)
    assert not trends["node 0, never killed"].flat(1.0)
    assert (trends["killed nodes, a point a life"].points, trends["killed nodes, a point a life"].mean) == (4, 30.0)
    assert "supervisor" in text(outcome)


def test_a_short_soak_loses_nothing(kafka_broker: Any, tmp_path: Path) -> None:
    outcome = Soak(
        Plan(records=60_000, rate=20_000.0, kill_every_s=2.0, limit_s=60.0, most_kills=3), kafka_broker, tmp_path
    ).carry_out()
    counted = [problem for problem in outcome.problems if "MB" not in problem]  # too short to judge memory
    assert counted == [], (tmp_path / "swarm.log").read_text()[-3000:]
    assert (outcome.lost, outcome.produced) == (0, 60_000)
    assert outcome.kills
    assert sum(outcome.times.values()) == 60_000
