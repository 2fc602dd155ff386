"""What the page shows of an answer of /status: its own script, run by node.js on a stand-in for a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from swarm_health import Accounts, NodeStatistics, PartitionStatistics, TopicStatistics
from swarm_liveness._serving.checks import live, ready, status_parts
from swarm_liveness._serving.page import page
from swarm_liveness._serving.request import Request

DASH = "\N{EN DASH}"
NODE = shutil.which("node")
RATES = (("nodes", 3), ("topics", 4))
pytestmark = pytest.mark.skipif(NODE is None, reason="node.js is not installed: the page's script cannot be run")


def told(messages: int, *rows: PartitionStatistics) -> NodeStatistics:
    sums = [TopicStatistics(group, "orders", messages=messages) for group in sorted({row.group for row in rows})]
    return NodeStatistics(state="running", messages=messages, partitions=list(rows), topics=sums)


def row(group: str, partition: int, **figures: Any) -> PartitionStatistics:
    return PartitionStatistics("orders", partition, group=group, **figures)


def answer(snapshot: Any) -> Any:
    return json.loads(b"".join(status_parts(snapshot, {"live": live(snapshot), "ready": ready(snapshot)})))


@pytest.fixture
def drawn(tmp_path: Path) -> Any:
    """Show answers one after the other; None: nobody answers."""

    def draw(*answers: Any) -> list[Any]:
        html, given = tmp_path / "page.html", tmp_path / "answers.json"
        body = page()(Request("/")).body
        assert isinstance(body, bytes)
        html.write_bytes(body)
        given.write_text(json.dumps(answers))
        done = subprocess.run(
            [str(NODE), str(Path(__file__).with_name("page_dom.js")), str(html), str(given)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        shown: list[Any] = json.loads(done.stdout)
        return shown

    return draw


def cells(shown: Any, table: str) -> list[list[str]]:
    return [one["cells"] for one in shown[table] if one["kind"] != "note"]


def test_two_groups_of_one_topic_are_two_rows_and_unknown_is_not_0(drawn: Any, swarm: Any, node: Any) -> None:
    facts = told(50, row("audit", 0, lag=46004, lag_s=75.0), row("audit", 1), row("billing", 0, lag=0, lag_s=0.0))
    (shown,) = drawn(answer(swarm(wanted=1, nodes=[node(0, statistics=facts, reason="first start")])))
    assert cells(shown, "topics")[1:] == [
        ["audit", "orders", "≥46,004", "1 min 15 s", DASH, "50", "0", "0", "0", "2"],
        ["billing", "orders", "0", "0.0 s", DASH, "50", "0", "0", "0", "1"],
    ]
    assert [one[:6] for one in cells(shown, "partitions")[1:]] == [
        ["audit", "orders", "0", "0", "46,004", "1 min 15 s"],
        ["audit", "orders", "1", "0", DASH, DASH],
        ["billing", "orders", "0", "0", "0", "0.0 s"],
    ]
    assert "1 of 1 nodes" in shown["summary"]
    assert "lag ≥46,004" in shown["summary"]
    assert shown["state"] == "mark good"
    assert cells(shown, "nodes")[1][-1] == "", "that it is its first start is no news"


def test_a_dead_node_is_not_counted_and_its_partitions_stay(drawn: Any, swarm: Any, node: Any) -> None:
    accounts = Accounts()
    accounts.take(0, 1, told(30, row("billing", 0, lag=7, lag_s=1.0)), 0.0)
    accounts.ended(0, 1, 1.0)
    dead = node(0, state="backing off", pid=None, restart_in_s=2.0, last_exit="killed by SIGKILL")
    snapshot = swarm(wanted=2, nodes=[dead, node(1)], partitions=accounts.partitions(4.0))
    (shown,) = drawn(answer(snapshot))
    assert "1 of 2 nodes" in shown["summary"]
    assert shown["state"] == "mark wait", "amber: it runs, and not all of it"
    (orphan,) = cells(shown, "partitions")[1:]
    assert orphan[:5] == ["billing", "orders", "0", "no owner for 3.0 s", "7"]
    assert cells(shown, "nodes")[1][-1] == "restarts in 2.0 s: killed by SIGKILL"
    notes = [one["cells"] for one in shown["nodes"] if one["kind"] == "note"]
    assert notes == [["restarts in 2.0 s: killed by SIGKILL"]], "for screens without room for the column"


def test_a_quiet_node_is_quiet_here_too(drawn: Any, swarm: Any, node: Any) -> None:
    quiet = NodeStatistics(state="quiet")
    (shown,) = drawn(answer(swarm(state="quiet", nodes=[node(0, statistics=quiet), node(1, state="stopping")])))
    assert [one[1] for one in cells(shown, "nodes")[1:]] == ["quiet", "stopping"]
    assert "2 of 2" not in shown["summary"], "the one that stops is not healthy"


def test_a_rate_is_that_of_one_process_and_of_topics_over_all_of_them(drawn: Any, swarm: Any, node: Any) -> None:
    def at(uptime: float, messages: int, **changes: Any) -> Any:
        facts = told(messages, row("billing", 0, lag=0, messages=messages))
        return answer(swarm(wanted=1, uptime_s=uptime, nodes=[node(0, statistics=facts, uptime_s=uptime, **changes)]))

    first, second, third, later = drawn(
        at(10.0, 100), at(12.0, 300), at(14.0, 300, pid=None, state="backing off"), at(34.0, 300)
    )
    assert cells(first, "nodes")[1][3] == cells(first, "topics")[1][4] == DASH
    assert cells(second, "nodes")[1][3] == cells(second, "topics")[1][4] == "100"
    assert cells(third, "nodes")[1][3] == DASH, "a dead node does nothing"
    assert cells(third, "topics")[1][4] == "50", "in the last seconds"
    assert cells(later, "topics")[1][4] == "0"


def test_a_rate_does_not_jump_where_looks_and_reports_have_beats_of_their_own(
    drawn: Any, swarm: Any, node: Any
) -> None:
    """With a report every three seconds the page said 0, 0, 3,000 messages/s of a node that does 1,000."""

    def at(uptime: float) -> Any:
        messages = int(uptime // 3) * 3000
        facts = told(messages, row("billing", 0, lag=0, messages=messages))
        return answer(swarm(wanted=1, uptime_s=uptime, nodes=[node(0, statistics=facts, uptime_s=uptime)]))

    shown = drawn(*[at(float(second)) for second in range(10, 40)])[10:]
    rates = {int(cells(one, table)[1][column].replace(",", "")) for one in shown for table, column in RATES}
    assert min(rates) >= 700
    assert max(rates) <= 1300


def test_without_an_answer_nothing_stays_green(drawn: Any, swarm: Any) -> None:
    well, gone, back = drawn(answer(swarm()), None, answer(swarm()))
    assert (well["stale"], gone["stale"], back["stale"]) == (False, True, False)
    assert gone["state"] == "mark bad"
    assert "No answer from the supervisor" in gone["trouble"]
    assert gone["title"] == "no answer · flights"
    assert len(gone["nodes"]) == len(well["nodes"]), "what was heard last is still there"
