"""The two views of the demo: plain lines for a pipe, a live picture for a terminal of any width."""

import io

import pytest
from rich.console import Console

from swarm_cli.demonstration.pace import Pace
from swarm_cli.demonstration.report import MemoryComparison, Report, show
from swarm_cli.views.demo import LiveView, PlainView, view_for
from swarm_supervisor import NodeSnapshot


def node(number: int, state: str, pid: int | None, restarts: int) -> NodeSnapshot:
    return NodeSnapshot(
        id=number, generation=restarts, pid=pid, state=state, uptime_s=1, restarts=restarts, last_report_age_s=None,
        status=0, reason="", last_exit="", crash_loop=False, restart_in_s=None, spare_pid=None, spare_state="",
        statistics=None,
    )  # fmt: skip


NODES = [node(0, "running", 100, 0), node(1, "backing off", None, 1)]


def test_a_pipe_gets_plain_lines_without_control_characters() -> None:
    out = io.StringIO()
    view = view_for(Console(file=out, width=100))
    assert isinstance(view, PlainView)
    view.stage("Consuming")
    for done in range(0, 1001, 7):
        view.progress(done, 1000, NODES, {"0": done})
    view.event("node 1 [killed]")
    view.close()
    lines = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    assert len([line for line in lines if "of 1,000 records" in line]) == 3, "at each quarter that was passed"
    assert any("node 1 [killed]" in line for line in lines), "brackets are text, not markup"
    assert any("1 restart" in line for line in lines)


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_gets_a_bar_and_a_line_per_node_that_fit(width: int) -> None:
    out = io.StringIO()
    view = view_for(Console(file=out, width=width, height=24, force_terminal=True))
    assert isinstance(view, LiveView)
    view.stage("Consuming")
    view.progress(1000, 1000, NODES, {"0": 600, "1": 400})
    view.close()
    shown = out.getvalue()
    assert "node 0" in shown
    assert "backing off" in shown
    assert "1,000 / 1,000" in shown


def report(**changes: object) -> Report:
    values: dict[str, object] = {
        "records_in": 10, "records_out": 10, "lost": 0, "wrong": 0, "duplicated": 2, "by_node": {"0": 7, "1": 5},
        "killed": "node 1 (pid 7)", "replaced": True, "restarts": ["node 1: killed by SIGKILL"],
        "consuming_s": 1.5, "paces": {"one process": Pace()},
        "memory": MemoryComparison(swarm_mb=50, separate_mb=100, processes=2),
        "delays": [("Delta", "10", "0", "1", "2.0", "1", "9")],
    }  # fmt: skip
    return Report(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "passed", "says"),
    [
        ({}, True, "Every record came out"),
        ({"lost": 3}, False, "3 records were lost"),
        ({"wrong": 2}, False, "2 are wrong"),
        ({"replaced": False}, False, "was not replaced"),
        ({"memory": MemoryComparison(swarm_mb=101, separate_mb=100, processes=2)}, False, "did not use less memory"),
    ],
)
def test_the_verdict_follows_from_the_counts(changes: dict[str, object], passed: bool, says: str) -> None:
    out = io.StringIO()
    made = report(**changes)
    show(made, Console(file=out, width=100))
    assert made.passed is passed
    assert says in " ".join(out.getvalue().split())
    assert f"{100 * made.memory.saving:.0f} %" in out.getvalue()


def test_the_pace_begins_with_the_first_record_and_unknown_is_not_zero() -> None:
    pace = Pace()
    assert pace.per_s is None
    for now, records in ((0.0, 0), (5.0, 0), (6.0, 100), (7.0, 1100), (8.0, 2100)):
        pace.note(records, now)
    assert pace.per_s == 1000
