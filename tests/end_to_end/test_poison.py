"""Messages that kill their process, in a whole swarm: they become dead letters, and all others are handled in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.poison_table import Case, Seen, Swarm, in_mid_batch, no_suspects

HANGS = (
    "--node-report-timeout", "3", "--liveness-interval", "0.5", "--shutdown-timeout", "4", "--drain-timeout", "2",
)  # fmt: skip


def run(case: Case, broker: Any, folder: Path) -> Seen:
    """Run a case; it must be as the case says."""
    swarm = Swarm(case, broker, folder)
    try:
        seen = swarm.run()
    finally:
        if swarm.process.poll() is None:
            swarm.process.kill()
            swarm.process.wait(10)
    assert list(seen.problems()) == [], seen.log[-6000:]
    return seen


def test_two_messages_that_kill_become_letters_and_nobody_else_does(broker: Any, tmp_path: Path) -> None:
    case = Case("two", {(0, 25): "segfault", (2, 40): "exit"}, records=400, limit_s=120)
    seen = run(case, broker, tmp_path)
    assert "killed by SIGSEGV" in seen.letters[0, 25]["swarm-error"]
    assert "exited with code 7" in seen.letters[2, 40]["swarm-error"]
    assert {letter["swarm-attempts"] for letter in seen.letters.values()} == {"3"}
    assert "handed out one at a time" in seen.log


def test_without_a_dead_letter_topic_only_the_partition_of_the_culprit_stands(broker: Any, tmp_path: Path) -> None:
    case = Case("parked", {(1, 25): "segfault"}, records=400, letters=False, limit_s=120)
    seen = run(case, broker, tmp_path)
    assert "the partition is parked here" in seen.log
    assert "crash loop" not in seen.log.lower()


@pytest.mark.real_kafka
def test_five_poisoned_messages_of_four_kinds(kafka_broker: Any, tmp_path: Path) -> None:
    poison = {(0, 125): "segfault", (1, 300): "exit", (2, 475): "regex", (3, 650): "sleep", (0, 825): "segfault"}
    case = Case("five", poison, options=HANGS, environment={"POISON_TTL": "2"}, limit_s=180)
    seen = run(case, kafka_broker, tmp_path)
    assert "no report for 3.0 s" in seen.letters[2, 475]["swarm-error"]
    assert "has been running for" in seen.letters[3, 650]["swarm-error"]
    for place in ((2, 475), (3, 650)):
        assert "in poison" in seen.letters[place]["swarm-stack"]
    assert "swarm-stack" not in seen.letters[0, 125]


@pytest.mark.real_kafka
def test_what_an_operator_stops_is_not_suspected(kafka_broker: Any, tmp_path: Path) -> None:
    run(
        Case(
            "orders",
            records=400,
            limit_s=90,
            disturb=in_mid_batch(("restart",), ("scale", "1")),
            environment={"POISON_SECONDS": "0.02"},
            check=no_suspects,
        ),
        kafka_broker,
        tmp_path,
    )
