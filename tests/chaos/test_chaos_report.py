"""The page, the JSON and the picture of a run say what was found, and how to run it again."""

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.chaos import report
from benchmarks.chaos.faults import Injected
from benchmarks.chaos.keeper import End
from benchmarks.chaos.ledger import Bound, Ledger
from benchmarks.chaos.records import BatchBegun, Handled, decode, encode
from benchmarks.chaos.run import Outcome, Plan, broker_errors
from benchmarks.chaos.sample import Sample


def outcome(handled: int, problems: list[str]) -> Outcome:
    ledger = Ledger(Bound(3.0, 500))
    records = [decode(encode("k0", number)) for number in range(10)]
    for offset, record in enumerate(records):
        ledger.produced(0, offset, record, 100.0)
    ledger.batch(BatchBegun(100.5, 7, 0, 1, 0, 0, 9))
    for offset in range(handled):
        ledger.handled(Handled(101.0, 7, 0, offset, records[offset]))
    kill = Injected("node-kill", 101.0, 101.1, 101.2, 103.0, "pid 7", bound_s=18.0)
    unseen = Injected("scale", 102.0, detail="not seen: 4 nodes within 22 s")
    sample = Sample(104.0, 6, 21, 1, 45.0, 0, 20, 8)
    return Outcome(
        plan=Plan(minutes=3, seed=5), started=100.0, ended=105.0, faults=[kill, unseen], account=ledger.account(),
        samples=[sample], ends=[End(6, 105.0, 0, 0.01, ())], exit_code=0, exits=Counter({"unplanned: killed": 1}),
        produced_per_s=Counter({0: 10}), handled_per_s=Counter({1: handled}), lag={0: 10, 1: 10 - handled},
        problems=problems,
    )  # fmt: skip


def test_a_run_that_kept_every_promise_has_passed() -> None:
    page = report.text(outcome(10, []))
    assert report.passed(outcome(10, []))
    assert "PASSED: 1 faults of 1 kinds were seen (1 had no effect and do not count)" in page
    assert "again:" not in page


@pytest.mark.parametrize(("handled", "problems"), [(9, []), (10, ["supervisor 6: 2 zombies"])])
def test_a_run_that_did_not_says_what_and_how_to_run_it_again(handled: int, problems: list[str]) -> None:
    found = outcome(handled, problems)
    page = report.text(found)
    assert not report.passed(found)
    assert "again: hatch run chaos --minutes 3 --seed 5 " in page
    assert ("k0 9 was never handled" in page) == (handled == 9)
    assert all(problem in page for problem in problems)


def test_what_the_broker_calls_an_error_is_told_by_kind(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_text(
        "[main] WARN kafka.log.LogManager - a setting is old\n"
        "[group-coordinator-event-processor-3] ERROR org.apache.kafka.coordinator.common.runtime.CoordinatorRuntime - "
        "[GroupCoordinator id=1] Failed to load metadata from __consumer_offsets-2 with epoch 28\n"
        "[group-coordinator-event-processor-1] ERROR org.apache.kafka.coordinator.common.runtime.CoordinatorRuntime - "
        "[GroupCoordinator id=1] Failed to load metadata from __consumer_offsets-0 with epoch 29\n"
    )
    failed = "[GroupCoordinator id=#] Failed to load metadata from __consumer_offsets-# with epoch #"
    assert broker_errors(log) == {failed: 2}
    assert broker_errors(tmp_path / "none") == {}
    found = outcome(10, [])
    assert "the broker itself" not in report.text(found)
    found.broker_errors = broker_errors(log)
    assert f"      2  {failed}\n" in report.text(found)


def test_everything_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = {path.suffix: path for path in report.write(outcome(10, []), tmp_path)}
    assert json.loads(paths[".json"].read_text())["lag"] == [10, 0, 0, 0, 0]
    assert paths[".png"].read_bytes().startswith(b"\x89PNG")
    assert paths[".txt"].read_text() == report.text(outcome(10, []))
