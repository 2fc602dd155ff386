"""/metrics: every name is in the table, every entry of the table is emitted, and strict parsers accept it."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("prometheus_client", reason="the extra swarm-liveness[metrics] is not installed")
pytest.importorskip("h11", reason="the extra swarm-liveness[probes] is not installed")

from prometheus_client import CollectorRegistry, openmetrics
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from swarm_health import Accounts, NodeStatistics, PartitionStatistics, Status, TopicStatistics
from swarm_health.reports import DURATION_BOUNDS_S
from swarm_liveness import LivenessSettingsError
from swarm_liveness._integrations.swarm_events import RESTART_REASONS, STOP_REASONS, SwarmEvents, status_name
from swarm_liveness._serving.metrics import SwarmCollector
from swarm_liveness._serving.server import ProbeServer
from swarm_liveness._serving.snapshots import ProcessNode, ProcessSnapshot
from swarm_liveness.metrics_table import BY_NAME, METRICS, markdown

assert openmetrics  # imported for its submodules


class AfterFork(SimpleNamespace):
    pass


class NodeStopping(SimpleNamespace):
    pass


class NodeTerminating(SimpleNamespace):
    pass


class NodeExited(SimpleNamespace):
    pass


class CrashLoop(SimpleNamespace):
    pass


class SignalReceived(SimpleNamespace):
    pass


class ErrorOccurred(SimpleNamespace):
    pass


class Controlled(SimpleNamespace):
    pass


class ReplacementFinished(SimpleNamespace):
    pass


class SomethingNew(SimpleNamespace):
    pass


def full_events() -> SwarmEvents:
    """One of each event that is counted: node 1 reported memory, was killed and came again."""
    events = SwarmEvents()
    for event in (
        AfterFork(node_id=0, generation=1, spare=False),
        AfterFork(node_id=1, generation=1, spare=False),
        NodeStopping(node_id=1, status=3, reason="reported status 3"),
        NodeTerminating(node_id=1),
        NodeExited(node_id=1, generation=1, code=None, signal=int(signal.SIGKILL)),
        AfterFork(node_id=1, generation=2, spare=False),
        CrashLoop(node_id=1),
        SignalReceived(signal=int(signal.SIGTERM)),
        ErrorOccurred(where="listener Foo for NodeExited"),
        Controlled(at=1.0, next_deadline=2.0),
        Controlled(at=2.25, next_deadline=9.0),
        SomethingNew(),
    ):
        events(event)
    return events


def statistics(partitions: int = 2, topic: str = "flights", first: int = 0) -> NodeStatistics:
    return NodeStatistics(
        state="running",
        batches=3,
        messages=300,
        bytes=30_000,
        errors=1,
        retries=1,
        dead_lettered=2,
        in_flight_age_s=0.25,
        poll_age_s=0.5,
        rss_mb=120.0,
        uss_mb=14.0,
        pss_mb=40.0,
        cpu_s=1.5,
        partitions=[
            PartitionStatistics(
                topic=topic,
                partition=number,
                messages=10,
                bytes=100,
                batches=1,
                errors=1,
                lag=7,
                position=11,
                committed=10,
                group="delays",
                lag_s=2.5,
                in_flight_limit_s=300.0,
            )
            for number in range(first, first + partitions)
        ],
        topics=[TopicStatistics("delays", topic, messages=10 * partitions, durations=[1] * 15, duration_s=4.5)],
    )


@pytest.fixture
def probe() -> Any:
    server = ProbeServer({})
    yield server
    server.close()


def text_of(collector: SwarmCollector) -> str:
    return b"".join(collector.render()).decode()


def samples_of(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_name_is_in_the_table_and_every_entry_is_emitted(swarm: Any, node: Any, probe: Any) -> None:
    snapshot = swarm(nodes=[node(0, statistics=statistics()), node(1, statistics=statistics(first=2), generation=2)])
    collector = SwarmCollector(lambda: snapshot, events=full_events(), probe=lambda: probe, version="1.2.3")
    found: dict[str, Any] = {}
    for family in text_string_to_metric_families(text_of(collector)):
        for sample in family.samples:
            name = family.name if family.type == "histogram" else sample.name
            found.setdefault(name, (family, set()))[1].update(set(sample.labels) - {"le"})
    assert set(found) == set(BY_NAME)
    for name, (family, labels) in found.items():
        metric = BY_NAME[name]
        assert family.type == metric.kind
        assert family.documentation == metric.meaning
        # A label without a value is dropped by the parser; the table names all.
        assert labels <= set(metric.labels)


def test_the_strict_openmetrics_parser_accepts_it(swarm: Any, node: Any, probe: Any) -> None:
    snapshot = swarm(nodes=[node(0, statistics=statistics()), node(1)])
    registry = CollectorRegistry()
    registry.register(SwarmCollector(lambda: snapshot, events=full_events(), probe=lambda: probe))  # type: ignore[arg-type]
    families = list(parse_openmetrics(generate_openmetrics(registry).decode()))
    assert len(families) == len(METRICS)
    promtool = shutil.which("promtool")
    if promtool is not None:  # Prometheus' own parser and linter, where they are installed
        text = text_of(SwarmCollector(lambda: snapshot, events=full_events(), probe=lambda: probe))
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_figures_are_those_of_the_snapshot(swarm: Any, node: Any, probe: Any) -> None:
    snapshot = swarm(restarts=1, nodes=[node(0, statistics=statistics()), node(1, status=3, reason="too big")])
    values = samples_of(text_of(SwarmCollector(lambda: snapshot, events=full_events(), probe=lambda: probe)))

    def value(name: str, **labels: str) -> float:
        return values[name, tuple(sorted(labels.items()))]

    assert value("swarm_nodes_wanted") == 2
    assert value("swarm_nodes_healthy") == 1
    assert value("swarm_ready") == 0
    assert value("swarm_restarts_total") == 1
    assert value("swarm_state", state="running") == 1
    assert value("swarm_state", state="degraded") == 0
    assert value("swarm_node_up", node="0") == 1
    assert value("swarm_node_up", node="1") == 0
    assert value("swarm_node_status", node="1") == 3
    assert value("swarm_node_memory_bytes", node="0", kind="uss") == 14 * 2**20
    assert value("swarm_node_messages_total", node="0") == 300
    assert value("swarm_partition_lag_messages", group="delays", topic="flights", partition="1") == 7
    assert value("swarm_partition_owner", group="delays", topic="flights", partition="1") == 0
    assert value("swarm_messages_total") == 300
    assert value("swarm_topic_messages_total", group="delays", topic="flights") == 20
    assert value("swarm_node_starts_total", node="1") == 2
    assert value("swarm_node_restarts_total", node="1", reason="memory") == 1
    assert value("swarm_node_stops_total", node="1", reason="memory") == 1
    assert value("swarm_node_exits_total", node="1", code="", signal="SIGKILL") == 1
    assert value("swarm_node_kills_total", node="1") == 1
    assert value("swarm_supervisor_signals_total", signal="SIGTERM") == 1
    assert value("swarm_supervisor_errors_total", where="listener") == 1


@pytest.mark.parametrize(
    ("exit_of", "reason"), [({"code": 1, "signal": None}, "exit"), ({"code": None, "signal": 9}, "signal")]
)
def test_a_node_that_ends_by_itself_is_counted_by_how(exit_of: dict[str, Any], reason: str) -> None:
    events = SwarmEvents()
    events(NodeExited(node_id=0, generation=1, **exit_of))
    events(AfterFork(node_id=0, generation=2, spare=False))
    assert events.restarts == {(0, reason): 1}


@pytest.mark.parametrize(("status", "reason"), [(Status.HEALTHY, "planned"), (Status.MEMORY, "memory")])
def test_a_spare_counts_when_it_takes_over(status: Status, reason: str) -> None:
    events = SwarmEvents()
    events(AfterFork(node_id=0, generation=1, spare=False))
    events(AfterFork(node_id=0, generation=2, spare=True))
    events(NodeExited(node_id=0, generation=2, code=1, signal=None))  # the first spare dies while it warms up
    events(AfterFork(node_id=0, generation=3, spare=True))
    assert not events.restarts
    events(NodeStopping(node_id=0, status=status, reason="why"))
    events(NodeExited(node_id=0, generation=1, code=0, signal=None))
    events(ReplacementFinished(node_id=0))
    assert events.restarts == {(0, reason): 1}
    assert events.stops == {(0, reason): 1}
    assert events.starts == {0: 3}


def test_custom_codes_share_one_label() -> None:
    assert [status_name(code) for code in (-1, 0, 1, 2, 3, 4, 76, 77)] == [
        "silent",
        "planned",
        "polling",
        "consuming",
        "memory",
        "stability",
        "custom",
        "custom",
    ]


class TestLoopLag:
    def test_it_is_how_late_the_loop_came_at_worst_within_a_minute(self) -> None:
        events = SwarmEvents()
        for at, deadline in ((0.0, 10.0), (10.5, 20.0), (20.1, 30.0), (25.0, None), (90.0, 100.0)):
            events(Controlled(at=at, next_deadline=deadline))
        assert SwarmEvents().loop_lag_s(0.0) == 0.0
        assert events.loop_lag_s(60.0) == pytest.approx(0.5)
        assert events.loop_lag_s(75.0) == pytest.approx(0.1)
        assert events.loop_lag_s(90.0) == 0.0

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 5)), max_size=60))
    def test_it_equals_the_plain_maximum(self, turns: list[tuple[float, float]]) -> None:
        events = SwarmEvents()
        now, lags = 0.0, []
        for pause, lag in turns:
            events(Controlled(at=now, next_deadline=now + pause))
            now = now + pause + lag
            events(Controlled(at=now, next_deadline=None))
            lags.append((now, now - (now - lag)))
        expected = max((lag for at, lag in lags if at >= now - 60.0), default=0.0)
        assert events.loop_lag_s(now) == pytest.approx(expected, abs=1e-6)


class TestCardinality:
    def test_beyond_the_limit_partitions_are_summed_up(self, swarm: Any, node: Any) -> None:
        snapshot = swarm(nodes=[node(0, statistics=statistics(30)), node(1, statistics=statistics(30, first=30))])
        values = samples_of(text_of(SwarmCollector(lambda: snapshot, max_partitions=40)))
        lags = {key: value for key, value in values.items() if key[0] == "swarm_partition_lag_messages"}
        assert len(lags) == 37
        other = (("group", "delays"), ("partition", "other"), ("topic", "flights"))
        assert lags["swarm_partition_lag_messages", other] == 24 * 7
        assert values["swarm_partitions_not_shown", ()] == 24
        assert sum(lags.values()) == 60 * 7
        assert ("swarm_partition_position", other) not in values

    def test_by_topic_or_not_at_all(self, swarm: Any, node: Any) -> None:
        snapshot = swarm(nodes=[node(0, statistics=statistics(30))])
        by_topic = samples_of(text_of(SwarmCollector(lambda: snapshot, detail="topic")))
        assert [value for key, value in by_topic.items() if key[0] == "swarm_partition_lag_messages"] == [210]
        none = samples_of(text_of(SwarmCollector(lambda: snapshot, detail="node")))
        assert not [key for key in none if key[0].startswith("swarm_partition_")]

    @pytest.mark.parametrize("detail", ["partition", "topic"])
    @pytest.mark.parametrize("most", [1, 2, 10, 1000])
    def test_a_metric_has_no_more_series_than_the_limit_however_many_topics_there_are(
        self, swarm: Any, node: Any, detail: Any, most: int
    ) -> None:
        """5000 topics of one partition each, as a pattern may find them."""
        rows = [PartitionStatistics(f"t{number}", 0, messages=1, lag=1, group="all") for number in range(5000)]
        sums = [TopicStatistics("all", f"t{number}", messages=1, durations=[1] * 15) for number in range(5000)]
        snapshot = swarm(nodes=[node(0, statistics=NodeStatistics(partitions=rows, topics=sums))])
        text = text_of(SwarmCollector(lambda: snapshot, detail=detail, max_partitions=most))
        values = samples_of(text)
        for name in ("swarm_partition_messages_total", "swarm_partition_lag_messages"):
            of_metric = [value for key, value in values.items() if key[0] == name]
            assert len(of_metric) <= most
            assert sum(of_metric) == 5000
        of_topics = [value for key, value in values.items() if key[0] == "swarm_topic_messages_total"]
        assert (len(of_topics), sum(of_topics)) == (101, 5000)

    @pytest.mark.parametrize("given_to", [{"detail": "message"}, {"max_partitions": 0}])
    def test_bad_settings_are_refused(self, swarm: Any, given_to: dict[str, Any]) -> None:
        with pytest.raises(LivenessSettingsError):
            SwarmCollector(swarm, **given_to)

    def test_a_topic_with_quotes_and_line_ends_cannot_break_the_format(self, swarm: Any, node: Any) -> None:
        hostile = 'a"b\\c\nd'
        snapshot = swarm(nodes=[node(0, statistics=statistics(1, hostile))])
        values = samples_of(text_of(SwarmCollector(lambda: snapshot)))
        labels = (("group", "delays"), ("partition", "0"), ("topic", hostile))
        assert values["swarm_partition_lag_messages", labels] == 7


def test_parts_are_small_and_a_family_begins_only_once(swarm: Any, node: Any) -> None:
    snapshot = swarm(nodes=[node(number, statistics=statistics(100, first=100 * number)) for number in range(10)])
    parts = list(SwarmCollector(lambda: snapshot).render())
    assert max(part.count(b"\n") for part in parts) <= 102
    text = b"".join(parts).decode()
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    assert len([key for key in samples_of(text) if key[0] == "swarm_partition_lag_messages"]) == 901


def test_the_page_is_made_from_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert page.read_text() == markdown(), "run: python -m swarm_liveness.metrics_table > docs/metrics.md"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: Any) -> None:
    assert metric.name.startswith("swarm_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.meaning
    assert not metric.meaning.endswith(".")
    assert "|" not in metric.meaning


class TestTruth:
    """The promises of docs/metrics.md, each over what /metrics gives."""

    def lags(self, collector: SwarmCollector) -> dict[tuple[str, str], float]:
        return {
            (dict(labels)["group"], dict(labels)["partition"]): value
            for (name, labels), value in samples_of(text_of(collector)).items()
            if name == "swarm_partition_lag_messages"
        }

    def test_a_group_that_stands_still_is_not_hidden_by_one_that_does_not(self, swarm: Any, node: Any) -> None:
        rows = [
            PartitionStatistics("orders", 0, messages=50, lag=0, group="billing"),
            PartitionStatistics("orders", 0, errors=4, lag=50, group="audit"),
            PartitionStatistics("orders", 1, lag=None, group="audit"),
        ]
        snapshot = swarm(nodes=[node(0, statistics=NodeStatistics(partitions=rows))])
        collector = SwarmCollector(lambda: snapshot)
        assert self.lags(collector) == {("billing", "0"): 0, ("audit", "0"): 50}, "unknown is not 0"
        assert samples_of(text_of(collector))["swarm_partitions_lag_unknown", ()] == 1

    def test_kills_and_crash_loops_restarts_and_stops_begin_at_0(self, swarm: Any) -> None:
        values = samples_of(text_of(SwarmCollector(swarm, events=SwarmEvents())))
        for number in ("0", "1"):
            assert values["swarm_node_kills_total", (("node", number),)] == 0
            assert values["swarm_node_crash_loops_total", (("node", number),)] == 0
            for reason in ("silent", "planned", "polling", "consuming", "memory", "stability", "custom"):
                assert values["swarm_node_stops_total", (("node", number), ("reason", reason))] == 0
                assert values["swarm_node_restarts_total", (("node", number), ("reason", reason))] == 0
            for reason in ("exit", "signal"):
                assert values["swarm_node_restarts_total", (("node", number), ("reason", reason))] == 0

    def test_a_node_shows_one_state(self, swarm: Any, node: Any) -> None:
        quiet = NodeStatistics(state="quiet")
        snapshot = swarm(nodes=[node(0, statistics=quiet), node(1, state="stopping", statistics=quiet)])
        values = samples_of(text_of(SwarmCollector(lambda: snapshot)))
        assert values["swarm_node_state", (("node", "0"), ("state", "quiet"))] == 1
        assert values["swarm_node_state", (("node", "1"), ("state", "stopping"))] == 1

    def test_every_reason_that_is_counted_begins_at_0(self) -> None:
        assert {status_name(code) for code in range(-1, 20)} <= set(STOP_REASONS) < set(RESTART_REASONS)

    def test_the_number_of_healthy_nodes_is_that_of_the_snapshot(self, swarm: Any, node: Any) -> None:
        snapshot = swarm(wanted=2, running=2, nodes=[node(0), node(1), node(2)])  # a third one is on its way out
        assert samples_of(text_of(SwarmCollector(lambda: snapshot)))["swarm_nodes_healthy", ()] == 2

    def test_an_orphan_has_no_owner_and_the_figures_last_known(self, swarm: Any, node: Any) -> None:
        accounts = Accounts()
        accounts.take(0, 1, statistics(1), 0.0)
        accounts.ended(0, 1, 1.0)
        snapshot = swarm(nodes=[node(0, state="backing off", pid=None)], partitions=accounts.partitions(3.0))
        values = samples_of(text_of(SwarmCollector(lambda: snapshot)))
        labels = (("group", "delays"), ("partition", "0"), ("topic", "flights"))
        assert values["swarm_partition_owner", labels] == -1
        assert values["swarm_partition_lag_messages", labels] == 7
        assert values["swarm_partitions_unowned", ()] == 1

    def test_the_histogram_is_cumulative(self, swarm: Any, node: Any) -> None:
        snapshot = swarm(nodes=[node(0, statistics=statistics())])
        values = samples_of(text_of(SwarmCollector(lambda: snapshot)))
        buckets = {
            dict(labels)["le"]: value for (name, labels), value in values.items() if name.endswith("seconds_bucket")
        }
        assert list(map(float, buckets)) == [*DURATION_BOUNDS_S, float("inf")]
        assert list(buckets.values()) == list(range(1, 16))
        labels = (("group", "delays"), ("topic", "flights"))
        assert values["swarm_topic_batch_seconds_count", labels] == 15
        assert values["swarm_topic_batch_seconds_sum", labels] == 4.5

    def test_a_histogram_of_other_classes_takes_no_other_figure_with_it(self, swarm: Any, node: Any) -> None:
        """All of /metrics was a 500 because of one row that a target had made by hand."""
        accounts = Accounts()
        rows = [TopicStatistics("g", "odd", messages=3, durations=[1, 2]), TopicStatistics("g", "good", messages=4)]
        accounts.take(0, 1, NodeStatistics(topics=rows), 0.0)
        snapshot = swarm(nodes=[node(0)])
        snapshot.topics = accounts.topics()
        text = text_of(SwarmCollector(lambda: snapshot))
        assert samples_of(text)["swarm_topic_messages_total", (("group", "g"), ("topic", "odd"))] == 3
        assert 'swarm_topic_batch_seconds_count{group="g",topic="odd"}' not in text

    def test_no_counter_is_below_0_whatever_a_node_reports(self, swarm: Any, node: Any) -> None:
        accounts = Accounts()
        accounts.take(0, 1, NodeStatistics(partitions=[PartitionStatistics("t", 0, group="g", messages=-3)]), 0.0)
        snapshot = swarm(nodes=[node(0)], partitions=accounts.partitions(0.0))
        values = samples_of(text_of(SwarmCollector(lambda: snapshot)))
        labels = (("group", "g"), ("partition", "0"), ("topic", "t"))
        assert values["swarm_partition_messages_total", labels] == 0

    @settings(max_examples=150, deadline=None)
    @given(
        st.sampled_from(["partition", "topic"]),
        st.integers(1, 6),
        st.lists(
            st.tuples(
                st.sampled_from(["work", "work", "move", "die", "scrape"]),
                st.integers(0, 2),  # node
                st.integers(0, 5),  # partition: three topics with two each
                st.integers(0, 9),
                st.floats(0.0, 200.0),
            ),
            max_size=40,
        ),
    )
    def test_no_counter_falls_whatever_happens(self, detail: Any, most: int, turns: list[Any]) -> None:
        """Over random histories of work, rebalances, deaths and forgotten partitions, for every counter there is."""
        accounts, now = Accounts(), 0.0
        lives: dict[int, tuple[int, set[int], dict[int, int]]] = {node: (1, set(), {}) for node in range(3)}
        swarm_now: list[Any] = []
        collector = SwarmCollector(lambda: swarm_now[0], events=SwarmEvents(), detail=detail, max_partitions=most)
        before: dict[Any, float] = {}
        for what, node, partition, amount, pause in [*turns, ("scrape", 0, 0, 0, 0.0)]:
            now += pause
            generation, mine, done = lives[node]
            if what == "die":
                accounts.ended(node, generation, now)
                lives[node] = (generation + 1, set(), {})
            elif what == "move":
                mine ^= {partition}
            elif what == "work" and partition in mine:
                done[partition] = done.get(partition, 0) + amount
            if what in ("work", "move"):
                accounts.take(node, generation, self.report(mine, done), now)
            swarm_now[:] = [self.snapshot(accounts, now)]
            after = {
                (sample.name, tuple(sorted(sample.labels.items()))): sample.value
                for family in collector.collect()
                if family.type in ("counter", "histogram") and not family.name.startswith("swarm_supervisor")
                for sample in family.samples
            }
            assert all(after[key] >= value for key, value in before.items())
            before = after

    def report(self, mine: set[int], done: dict[int, int]) -> NodeStatistics:
        rows = [
            PartitionStatistics(f"t{one // 2}", one % 2, group="g", messages=done.get(one, 0), batches=done.get(one, 0))
            for one in sorted(mine)
        ]
        messages = {topic: sum(done.get(one, 0) for one in (2 * topic, 2 * topic + 1)) for topic in range(3)}
        topics = [TopicStatistics("g", f"t{one}", count, durations=[count] * 15) for one, count in messages.items()]
        return NodeStatistics(messages=sum(done.values()), cpu_s=1.0, partitions=rows, topics=topics)

    def snapshot(self, accounts: Accounts, now: float) -> ProcessSnapshot:
        return ProcessSnapshot(
            pid=1,
            name="s",
            state="running",
            reason="",
            nodes=[ProcessNode(id=node, totals=accounts.node(node)) for node in range(3)],
            totals=accounts.total(),
            topics=accounts.topics(),
            partitions=accounts.partitions(now),
        )
