"""Two groups of one topic, one of which fails from its first record: every view tells its lag under its own name."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer.testing import produce
from tests.end_to_end.pseudo_terminal import Terminal
from tests.end_to_end.test_probes import free_port, get

ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yaml"
PROMTOOL = shutil.which("promtool")
SEEN_WITHIN_S = 10.0
RECORDS = 50


class Watched:
    """The swarm, and what each view says of one group."""

    def __init__(self, swarm: Any, port: int, topic: str) -> None:
        self.swarm, self.port, self.topic = swarm, port, topic

    def metrics(self) -> dict[str, float]:
        """Series of this moment by their text."""
        lines = [line.rpartition(" ") for line in self.answer("/metrics").splitlines() if line[:1] not in ("#", "")]
        return {series: float(value) for series, _, value in lines}

    def answer(self, path: str) -> str:
        """What the probe says; "" while it says nothing."""
        code, body = get(self.port, path)
        return body if code == 200 else ""

    def in_metrics(self, group: str) -> float | None:
        figures = [
            value for series, value in self.metrics().items()
            if series.startswith("swarm_partition_lag_messages{") and f'group="{group}"' in series
        ]  # fmt: skip
        return sum(figures) if figures else None

    def of_partitions(self, status: Any, group: str) -> float | None:
        known = [one["lag"] for one in status["partitions"] if one["group"] == group and one["lag"] is not None]
        return sum(known) if known else None

    def in_status_json(self, group: str) -> float | None:
        return self.of_partitions(json.loads(self.answer("/status")), group)

    def in_status(self, group: str) -> float | None:
        done = subprocess.run(
            [sys.executable, "-m", "swarm_cli", "status", "--control", str(self.swarm.control)],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        found = re.search(rf"^{group} +{self.topic} +\d+ +(\d+) ", done.stdout, re.MULTILINE)
        return None if found is None else float(found[1])

    def page(self, tmp_path: Path, group: str) -> float | None:
        """What the page draws, by its own script."""
        from swarm_liveness._serving.page import page
        from swarm_liveness._serving.request import Request

        body = page()(Request("/")).body
        assert isinstance(body, bytes)
        html, answers = tmp_path / "page.html", tmp_path / "answers.json"
        html.write_bytes(body)
        answers.write_text(f"[{self.answer('/status')}]")
        script = Path(__file__).parents[1] / "liveness" / "page_dom.js"
        done = subprocess.run(
            ["node", str(script), str(html), str(answers)], capture_output=True, text=True, timeout=60, check=True
        )
        (shown,) = json.loads(done.stdout)
        (lag,) = [row["cells"][2] for row in shown["topics"] if row["cells"][0] == group]
        return float(lag) if lag.isdigit() else None


@pytest.fixture
def watched(embedded_broker: Any, start_swarm: Any, point_at: Any, topic_name: Callable[..., str]) -> Iterator[Watched]:
    topic, port = topic_name("poisoned"), free_port()
    embedded_broker.create_topic(topic, 2)
    produce(embedded_broker.bootstrap, topic, [{"number": number} for number in range(RECORDS)])
    swarm = start_swarm(
        "swarm", "tests.end_to_end.apps.two_groups:app", "--nodes", "1", "--probe", str(port),
        *point_at(embedded_broker), TOPIC=topic,
    )  # fmt: skip
    yield Watched(swarm, port, topic)
    assert swarm.stop() == 0


@pytest.mark.timeout(180)
def test_every_view_tells_the_lag_of_each_group(
    watched: Watched, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    views: dict[str, Callable[[str], float | None]] = {
        "/metrics": watched.in_metrics,
        "/status": watched.in_status_json,
        "status": watched.in_status,
    }
    if shutil.which("node") is not None:
        views["page"] = lambda group: watched.page(tmp_path, group)
    # From when both groups have their partitions: how soon that is, is a matter of the broker.
    eventually(lambda: {"audit", "billing"} <= _groups(watched), 60, f"both groups\n{watched.swarm.output()}")
    begun = time.monotonic()
    for name, lag in views.items():
        told = f"{name}: the lag of both groups"
        eventually(lambda lag=lag: (lag("audit"), lag("billing")) == (RECORDS, 0), 60, told)
    # Generous for a busy machine: alone it takes the client's statistics (5 s) and a report (1 s).
    assert time.monotonic() - begun < SEEN_WITHIN_S * 3
    terminal = Terminal(100, 30, "top", "--interval", "0.3", "--control", str(watched.swarm.control))
    try:
        terminal.shows(rf"^audit +{watched.topic} +{RECORDS} ")
        terminal.shows(rf"^billing +{watched.topic} +0 ")
    finally:
        terminal.close()
    text = get(watched.port, "/metrics")[1]
    assert 'swarm_topic_errors_total{group="audit"' in text
    assert re.search(
        rf'^swarm_topic_messages_total{{group="billing",topic="{watched.topic}"}} {RECORDS}\.0$', text, re.M
    )


def _groups(watched: Watched) -> set[str]:
    return {one["group"] for one in json.loads(watched.answer("/status") or "{}").get("partitions", ())}


# Decided before the swarm is started, which a skip inside the test would end before it has begun.
@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: whether the alerts fire is not known")
@pytest.mark.timeout(180)
def test_the_alerts_fire_for_the_group_that_stands_still(
    watched: Watched, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    """Series taken from the running swarm, stretched to the minutes that the rules look at, judged by promtool."""
    assert PROMTOOL is not None
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    eventually(lambda: watched.in_metrics("audit") == RECORDS, 60, f"the lag\n{watched.swarm.output()}")
    first = watched.metrics()
    errors = next(series for series in first if series.startswith('swarm_topic_errors_total{group="audit"'))
    eventually(lambda: watched.metrics()[errors] > first[errors] + 3, 60, "more errors")
    last = watched.metrics()
    # What grew between the two looks goes on growing, a step a minute; all else stays.
    series = [
        {"series": name, "values": f"{first[name]}+{max(0.0, last.get(name, 0.0) - first[name])}x40"}
        if "_total" in name
        else {"series": name, "values": f"{last.get(name, first[name])}x40"}
        for name in first
        if name.startswith(("swarm_partition_", "swarm_topic_", "swarm_partitions_", "swarm_node_", "swarm_ready"))
    ]
    (tmp_path / "alerts.yaml").write_bytes(ALERTS.read_bytes())
    test = {
        "rule_files": ["alerts.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname, group) (ALERTS{alertstate="firing"})',
                        "eval_time": "35m",
                        "exp_samples": [
                            {"labels": f'{{alertname="{alert}", group="audit"}}', "value": count}
                            for alert, count in (("SwarmPartitionStalled", _behind(last)), ("SwarmHandlerErrors", 1))
                        ],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [PROMTOOL, "test", "rules", path.name], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(180)
def test_a_killed_node_takes_no_figure_with_it(watched: Watched, eventually: Callable[..., Any]) -> None:
    """Its partitions are shown without an owner, with the lag last known, and no counter falls, before or after."""
    eventually(lambda: (watched.in_metrics("audit"), watched.in_metrics("billing")) == (RECORDS, 0), 60, "the lag")
    (victim,) = watched.swarm.running(1)
    looks = [watched.metrics()]
    os.kill(victim.pid, signal.SIGKILL)

    def unowned() -> bool:
        looks.append(watched.metrics())
        return looks[-1]["swarm_partitions_unowned"] == 4

    eventually(unowned, 60, "four partitions without an owner")
    assert (watched.in_metrics("audit"), looks[-1]["swarm_nodes_healthy"]) == (RECORDS, 0)
    told = [one for one in json.loads(watched.answer("/status"))["partitions"] if one["node"] is None]
    assert len(told) == 4
    assert all(one["unowned_s"] >= 0 for one in told)

    def owned() -> bool:
        looks.append(watched.metrics())
        owners = [value for name, value in looks[-1].items() if name.startswith("swarm_partition_owner")]
        return len(owners) == 4 and set(owners) == {0.0} and watched.in_metrics("audit") == RECORDS

    eventually(owned, 90, f"a successor with all partitions\n{watched.swarm.output()[-3000:]}")
    for before, after in itertools.pairwise(looks):
        counters = [name for name in before if re.match(r"\w+(_total|_count|_bucket)\b", name)]
        fallen = {name: (before[name], after.get(name)) for name in counters if after.get(name, -1.0) < before[name]}
        assert not fallen
    assert looks[-1]["swarm_messages_total"] >= RECORDS


def _behind(metrics: dict[str, float]) -> int:
    return sum(name.startswith("swarm_partition_lag_messages{") and value > 0 for name, value in metrics.items())
