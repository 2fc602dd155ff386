"""The histories prove something: faults are found, every kind of event comes, and a seed says all."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.histories import kinds, seams
from benchmarks.histories.history import History
from benchmarks.histories.mutants import MUTANTS, mutated
from benchmarks.histories.plan import FEATURES
from benchmarks.histories.search import OPEN, many, one

ROOT = Path(__file__).resolve().parents[3]
WITHIN = 2000


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_fault_in_the_runtime_is_found(mutant: str) -> None:
    with seams.installed(), mutated(mutant):
        assert any(one(seed)[1] is not None for seed in range(WITHIN)), f"not found in {WITHIN} histories"


@pytest.mark.parametrize(
    ("seed", "what"),
    [
        (1003141, "a log is cut while the node drains"),
        (1006939, "the same"),
        (2009391, "what was stored before such a cut is committed after it"),
        (2026300, "a going back is refused, and the node stops before it is committed again"),
        (2000384, "the fake broker let a commit arrive after the JoinGroup that was sent behind it"),
    ],
)
def test_what_broke_once_holds(seed: int, what: str) -> None:
    with seams.installed():
        assert one(seed)[1] is None, what


def test_a_failing_seed_is_told_with_its_course() -> None:
    with mutated("one offset too many is committed"):
        _, found = many(range(WITHIN))
    told = str(found[0])
    assert "which nothing covers" in told or "where no record has ever been" in told
    assert f"seed {found[0].seed}" in told
    assert "handed" in told
    assert len(found[0].features) < 5, "what does not matter is left out"


def test_every_kind_of_event_comes() -> None:
    counts, found = many(range(100_000, 100_000 + WITHIN))
    assert not found, str(found[0])
    lacking = kinds.missing(counts)
    assert not [kind for kind in lacking if not kinds.left_out(kind, OPEN)], f"never came: {lacking}"


def test_what_comes_is_the_same_for_the_same_seed_in_another_process() -> None:
    def digest(hash_seed: str) -> str:
        code = (
            "from benchmarks.histories import seams\n"
            "from benchmarks.histories.search import one\n"
            "with seams.installed():\n"
            "    for seed in range(60):\n"
            "        history, _ = one(seed)\n"
            "        print(sorted(history.journal.counts.items()), history.scheduler.steps, history.scheduler.now)\n"
        )
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", code]
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert digest("1") == digest("2")


def test_the_seams_are_taken_out_again() -> None:
    import threading
    import time

    from swarm_consumer._connection import connection, owner

    with seams.installed():
        assert owner.time is not time
    assert owner.time is time
    assert connection.threading is threading


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), without=st.sets(st.sampled_from(FEATURES), max_size=len(FEATURES) - 3))
def test_no_offset_passes_whatever_is_left_out(seed: int, without: set[str]) -> None:
    # Hypothesis leaves features out and finds the smallest seed: what it reports, `--show` tells.
    with seams.installed():
        history = History(seed, OPEN | without)
        error = history.run()
    assert error is None, f"{error} (python -m benchmarks.consumer_histories --show {seed})"


def test_kinds_are_counted() -> None:
    assert kinds.missing(Counter(dict.fromkeys(kinds.EXPECTED[1:], 1))) == [kinds.EXPECTED[0]]
