"""The benchmark of what a crash costs: its sums from the lines of a run, and a run of default settings itself."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.records import Entry, Handled, Numbered
from benchmarks.crash import MAX_MESSAGES, Bill, Cost, Crash, Plan, costs, longest_gap, repeats, text
from benchmarks.static_membership import Kill


def handled(at: float, partition: int, offset: int, pid: int = 1) -> Handled:
    return Handled(at, pid, partition, offset, Numbered("k", offset, 0))


ENTRIES: list[Entry] = [
    handled(1.0, 0, 0), handled(1.0, 1, 0), handled(1.1, 0, 1), handled(1.1, 1, 1),
    handled(1.2, 1, 2), handled(2.6, 1, 3), handled(3.1, 0, 1, pid=2), handled(3.2, 0, 2, pid=2), handled(9.0, 0, 3),
]  # fmt: skip


def test_the_longest_gap_is_of_any_partition_and_of_its_stretch_of_time() -> None:
    assert longest_gap(ENTRIES, 1.15, 3.15) == pytest.approx(2.0)
    assert longest_gap(ENTRIES, 3.15, 4.0) == pytest.approx(5.8)  # it begins within, and ends later
    assert longest_gap(ENTRIES[:3], 1.0, 9.0) == pytest.approx(0.1)


def test_a_record_is_a_repeat_where_it_was_handled_before_at_all() -> None:
    assert repeats(ENTRIES, 1.15, 9.9) == 1
    assert repeats(ENTRIES, 3.15, 9.9) == 0


def test_each_kill_is_charged_until_the_next() -> None:
    kills = [Kill(0, 1, 1.15, {0: 2.0}), Kill(1, 2, 3.15, {0: 5.8, 1: 0.4})]
    found = [(cost.node, cost.own_silence_s, cost.repeats, cost.partitions) for cost in costs(kills, ENTRIES)]
    assert found == [(0, 2.0, 1, 1), (1, 5.8, 0, 2)]
    assert [cost.silence_s for cost in costs(kills, ENTRIES)] == pytest.approx([2.0, 5.8])


def bill(
    silence: float = 0.2, again: int = 0, others: int | None = 0, lost: int = 0, *, supervisor: bool = False
) -> Bill:
    plan = Plan(first_restart_delay=0.0, supervisor=supervisor)
    cost = Cost(node=0, silence_s=silence, own_silence_s=silence, repeats=again, partitions=2)
    return Bill(plan=plan, costs=[cost], rebalances_at_others=others, lost=lost)


@pytest.mark.parametrize(
    ("found", "complaints"),
    [
        (bill(), 0),
        (bill(silence=1.6), 1),
        (bill(silence=4.9, supervisor=True), 0),
        (bill(again=2 * MAX_MESSAGES), 0),
        (bill(again=2 * MAX_MESSAGES + 1), 1),
        (bill(others=1, lost=1), 2),
        (bill(others=None), 0),
    ],
)
def test_what_does_not_hold_is_told(found: Bill, complaints: int) -> None:
    assert len(found.problems()) == complaints
    assert ("PASSED" in text(found)) == (complaints == 0)


def test_where_no_node_was_left_none_was_disturbed_and_the_page_says_why() -> None:
    assert "not killed: none were left;" in text(bill(others=None))
    assert "not killed: 0;" in text(bill(others=0))


def test_a_killed_node_is_back_without_a_rebalance_and_repeats_its_batch_at_most(
    kafka_broker: Any, tmp_path: Path
) -> None:
    found = Crash(Plan(first_restart_delay=0.0), kafka_broker, tmp_path).bill()
    assert found.rebalances_at_others == found.lost == 0, text(found)
    for cost in found.costs:
        # The session is 45 s. The bound itself is for a machine that is not busy with tests.
        assert cost.silence_s < 15.0, text(found)
        assert cost.repeats <= MAX_MESSAGES * cost.partitions, text(found)
