"""One row per figure: reports, accounts, metrics and `info --figures` have the figures of the table, and no other."""

import json
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer._scheduling.counters import COUNTED, TopicCounters
from swarm_health import NodeStatistics, PartitionAccount, PartitionStatistics, TopicStatistics, Totals
from swarm_health.accounts import Accounts
from swarm_health.figures import FIGURES, LABELS, counters, figures
from swarm_liveness.metrics_table import BY_NAME
from tests.cli.source_copy import ROOT, copy_of_sources, insert, run

NAMES = {
    "node": {"state", "partitions", "topics", "extra"},
    "topic": {"group", "topic"},
    "partition": {"group", "topic", "partition"},
}
"""Fields that say what the figures are of."""
REPORTS: dict[str, Any] = {"node": NodeStatistics, "topic": TopicStatistics, "partition": PartitionStatistics}


@pytest.mark.parametrize("level", LABELS)
def test_a_report_has_the_figures_of_the_table(level: Any) -> None:
    owner = {"node"} if level == "partition" else set()  # who reports it is no field of the report
    assert {one.name for one in figures(level)} - owner == set(REPORTS[level].__struct_fields__) - NAMES[level]


def test_what_only_grows_is_kept_over_processes() -> None:
    assert Totals.__struct_fields__ == counters("node")
    gauges = [one.name for one in figures("partition", "gauge") if one.name != "node"]
    first = ("group", "topic", "partition", "node", "unowned_s")
    assert PartitionAccount.__struct_fields__ == (*first, *counters("partition"), *gauges)
    books = Accounts()
    for generation in (1, 2):
        told: dict[str, Any] = dict.fromkeys(counters("node"), 5)
        topic = TopicStatistics("billing", "orders", **dict.fromkeys(counters("topic"), 3))
        partition = PartitionStatistics("orders", 0, group="billing", **dict.fromkeys(counters("partition"), 2))
        books.take(0, generation, NodeStatistics(**told, topics=[topic], partitions=[partition]), 1.0)
        books.ended(0, generation, 2.0)
    assert [getattr(books.total(), name) for name in counters("node")] == [10] * len(counters("node"))
    (summed,) = books.topics()
    assert [getattr(summed, name) for name in counters("topic")] == [6] * len(counters("topic"))
    (account,) = books.partitions(3.0)
    assert [getattr(account, name) for name in counters("partition")] == [4] * len(counters("partition"))


def test_the_consumer_counts_what_the_table_has() -> None:
    assert {*COUNTED, "bytes", "cpu_s"} == set(counters("node"))  # bytes are the client's, CPU time is the process's
    counted = {*TopicCounters.__dataclass_fields__, "bytes"}
    assert counted == {one.name for one in figures("topic")}


def test_every_figure_has_its_metric() -> None:
    for one in FIGURES:
        for level in one.levels:
            if one.metric != "-":
                metric = BY_NAME[f"swarm_{level}_{one.ending}"]
                assert (metric.kind, metric.level, metric.meaning) == (one.kind, level, one.help)


def test_the_table_of_figures_can_be_printed() -> None:
    def info(*words: str) -> str:
        return run(ROOT, "-m", "swarm_cli", "info", *words).stdout

    rows = json.loads(info("--figures", "--json"))
    assert {(row["figure"], row["level"]) for row in rows} == {(one.name, at) for one in FIGURES for at in one.levels}
    (lag,) = (row for row in rows if row["figure"] == "lag")
    assert lag == {
        "figure": "lag", "level": "partition", "kind": "gauge", "unit": "messages", "summed": "sum",
        "metric": "swarm_partition_lag_messages", "labels": ["group", "topic", "partition"],
        "help": "messages in the partition that are not handled yet; no series if unknown",
    }  # fmt: skip
    header, *lines = info("--figures").splitlines()
    assert header.split() == ["FIGURE", "LEVEL", "KIND", "UNIT", "SUMMED", "METRIC", "LABELS", "HELP"]
    assert [line.split()[0] for line in lines] == [row["figure"] for row in rows]
    assert info("--settings", "--figures").count("\n\n") == 1


ROW = '    Figure("skipped", "counter", "batches", ("node", "topic"), "batches that were skipped", "sum"),\n'
COUNTERS = "consumer/src/swarm_consumer/_scheduling/counters.py"
EDITS = [
    ("health/src/swarm_health/figures.py", ")  # fmt: skip\n\n\ndef figures", ROW),
    (
        "consumer/src/swarm_consumer/_scheduling/counters.py",
        "        topic.batches += 1\n",
        "        topic.skipped += 1\n",
    ),
]
"""The row, and the line that counts."""
TYPED = [
    ("health/src/swarm_health/reports.py", "\n\nclass NodeStatistics(", "    skipped: int = 0\n"),
    ("health/src/swarm_health/reports.py", "\n\nclass Healthy(", "    skipped: int = 0\n"),
    ("health/src/swarm_health/accounts.py", "\n\nclass PartitionAccount(", "    skipped: int = 0\n"),
    (
        "consumer/src/swarm_consumer/_scheduling/counters.py",
        "    durations: list[int] = field",
        "    skipped: int = 0\n",
    ),
]
"""Its field in the structs that carry it, each at the end: the order of a report's fields is its form on the wire."""
PROGRAM = """
from types import SimpleNamespace
from swarm_consumer._scheduling.counters import Counters
from swarm_health import pipe
from swarm_health.accounts import Accounts
from swarm_liveness._judging.node_statistics import combined_statistics
from swarm_liveness._serving.metrics import SwarmCollector
from swarm_liveness._serving.snapshots import ProcessNode, ProcessSnapshot

counters = Counters()
run = SimpleNamespace(lane=SimpleNamespace(key=("orders", 0)), attempt=1, records=[1, 2])
counters.count(run, False, False, 0.1)
topic = {"group": "billing", "topic": "orders", "skipped": counters.topics()["orders"].skipped}
memory = SimpleNamespace(rss_mb=None, uss_mb=None, pss_mb=None)
reader, writer = pipe()
writer.statistics(combined_statistics({**counters.totals(), "topics": [topic]}, [], [], memory, 0.5, 1.0))
statistics = reader.read().statistics
books = Accounts()
books.take(0, 1, statistics, 1.0)
books.ended(0, 1, 2.0)
books.take(0, 2, statistics, 3.0)
node = ProcessNode(statistics=statistics, totals=books.node(0))
snapshot = ProcessSnapshot(pid=1, name="shop", state="running", reason="", nodes=[node], topics=books.topics())
print(b"".join(SwarmCollector(lambda: snapshot).render()).decode())
"""


def test_a_new_counter_is_a_row_its_fields_and_the_line_that_counts_it(tmp_path: Path) -> None:
    """In a copy of the sources, with its fields in the typed structs; all that goes through the rows has it then."""
    copy = copy_of_sources(tmp_path)
    for path, before, line in [*EDITS, *TYPED]:
        insert(copy / "packages" / path, before, line)
    done = run(copy, "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    assert "# HELP swarm_node_skipped_total batches that were skipped\n" in done.stdout
    assert 'swarm_node_skipped_total{node="0"} 2.0\n' in done.stdout
    assert 'swarm_topic_skipped_total{group="billing",topic="orders"} 2.0\n' in done.stdout
    page = run(copy, "-m", "swarm_liveness.metrics_table").stdout
    assert "| `swarm_topic_skipped_total` | counter | `group`, `topic` | batches that were skipped |\n" in page
    rows = json.loads(run(copy, "-m", "swarm_cli", "info", "--figures", "--json").stdout)
    assert [row["level"] for row in rows if row["figure"] == "skipped"] == ["node", "topic"]
