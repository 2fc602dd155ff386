"""Prometheus metrics of a whole swarm from one snapshot: a collector for prometheus-client, and the /metrics endpoint.

Needs the extra swarm-liveness[metrics].
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, zip_longest

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.utils import floatToGoString

from swarm_health import TopicStatistics
from swarm_health.figures import Figure, counters
from swarm_health.figures import figures as reported
from swarm_health.reports import DURATION_BOUNDS_S
from swarm_liveness._integrations.swarm_events import RESTART_REASONS, STOP_REASONS, SwarmEvents
from swarm_liveness._judging.memory import MB, ProcessMemory
from swarm_liveness._serving.answers import Answer, Endpoint
from swarm_liveness._serving.checks import ready, shown_state
from swarm_liveness._serving.partition_series import OTHER, PartitionSeries
from swarm_liveness._serving.server import ProbeServer
from swarm_liveness.metrics_table import METRICS, Detail
from swarm_liveness.metrics_table import Metric as TableEntry
from swarm_liveness.protocols import NodeView, SnapshotView
from swarm_liveness.settings import LivenessSettingsError

STATES = ("starting", "running", "degraded", "quieting", "quiet", "stopping", "stopped")

# One sample: the label values in the table's order, and the figure. A figure that is None is left out.
Sample = tuple[tuple[str, ...], float | int | TopicStatistics | None]
Samples = dict[str, list[Sample]]
SAMPLES_A_PART = 100
PARTITIONS_A_PART = 200
_CLASSES = len(DURATION_BOUNDS_S) + 1
MOST_TOPICS = 100
"""How many topics have their own series: a histogram counts as much as seventeen other metrics."""


class SwarmCollector:
    """A prometheus_client collector that reads snapshots.

    Register it with any registry (`REGISTRY.register(collector)`), or serve `endpoint()` from a ProbeServer.
    """

    def __init__(
        self,
        snapshot: Callable[[], SnapshotView],
        *,
        events: SwarmEvents | None = None,
        probe: Callable[[], ProbeServer | None] = lambda: None,
        version: str = "",
        swarm_version: str = "",
        detail: Detail = "partition",
        max_partitions: int = 1000,
    ) -> None:
        """Collect from snapshots.

        - `snapshot`: returns the current state.
        - `events`: the counts of the supervisor's events; without it the metrics that need them are left out.
        - `probe`: returns the probe server whose own metrics are included, or None.
        - `version`, `swarm_version`: the versions of the application and of Swarm, for swarm_info.
        - `detail`: one series per "partition", one sum per "topic", or "node" for no partition metrics.
        - `max_partitions`: the largest number of series of one partition metric; the rest is summed up.

        Raises LivenessSettingsError when `detail` is unknown or `max_partitions` is below 1.
        """
        if detail not in ("partition", "topic", "node"):
            raise LivenessSettingsError(f"metrics detail is {detail!r}: choose one of partition, topic, node")
        if isinstance(max_partitions, bool) or max_partitions < 1:
            raise LivenessSettingsError(f"max_partitions is {max_partitions!r}: give a number of at least 1")
        self._snapshot = snapshot
        self._events = events
        self._probe = probe
        self._versions = version, swarm_version
        self._detail = detail
        self._partition_series = PartitionSeries(max_partitions, detail)
        self._topics: dict[tuple[str, str], tuple[str, str]] = {}
        self._memory = ProcessMemory()

    def collect(self) -> Iterator[Metric]:
        """One family for each metric of the table that has samples."""
        samples: Samples = defaultdict(list)
        for _ in self._gather(samples):
            pass
        for metric in METRICS:
            if samples[metric.name]:
                yield _family(metric, samples[metric.name])

    def render(self) -> Iterator[bytes]:
        """The text format in parts, each of which takes a few hundred microseconds at most."""
        samples: Samples = defaultdict(list)
        for _ in self._gather(samples):
            yield b""
        for metric in METRICS:
            of_metric = samples[metric.name]
            at_once = SAMPLES_A_PART // (len(DURATION_BOUNDS_S) + 3) if metric.kind == "histogram" else SAMPLES_A_PART
            for start in range(0, len(of_metric), at_once):
                text = generate_latest(_OneFamily(_family(metric, of_metric[start : start + at_once])))
                # HELP and TYPE, the first two lines, may occur only once in an exposition.
                yield text if start == 0 else text.split(b"\n", 2)[2]

    def endpoint(self) -> Endpoint:
        """The endpoint for /metrics."""
        return Endpoint(lambda request: Answer(200, CONTENT_TYPE_LATEST, self.render()))

    def _gather(self, samples: Samples) -> Iterator[None]:
        """Fill in the samples. Yields between nodes, so that the loop can do other work in between."""
        snapshot = self._snapshot()
        self._swarm(snapshot, samples)
        self._probes(samples)
        for node in snapshot.nodes:
            yield
            self._node(node, samples)
        self._topic_sums(snapshot, samples)
        yield
        if self._detail != "node":
            yield from self._partitions(snapshot, samples)
        for name, of_metric in samples.items():
            samples[name] = [(labels, value) for labels, value in of_metric if value is not None]

    def _swarm(self, snapshot: SnapshotView, samples: Samples) -> None:
        single: dict[str, float | int | None] = {
            "swarm_ready": int(ready(snapshot).ok),
            "swarm_degraded": int(snapshot.state == "degraded"),
            "swarm_uptime_seconds": snapshot.uptime_s,
            "swarm_report_timeout_seconds": snapshot.report_timeout_s,
            "swarm_nodes_wanted": snapshot.wanted,
            "swarm_nodes_healthy": snapshot.running,
            "swarm_restarts_total": snapshot.restarts,
            "swarm_messages_total": snapshot.totals.messages,
            "swarm_partitions_unowned": sum(one.node is None for one in snapshot.partitions),
            "swarm_partitions_lag_unknown": sum(one.lag is None for one in snapshot.partitions),
            "swarm_supervisor_resident_memory_bytes": self._memory.rss_mb() * MB,
            "swarm_supervisor_cpu_seconds_total": time.process_time(),
        }
        for name, value in single.items():
            samples[name].append(((), value))
        samples["swarm_info"].append(((snapshot.name, *self._versions), 1))
        samples["swarm_state"] = [((state,), int(state == snapshot.state)) for state in STATES]
        events = self._events
        if events is None:
            return
        samples["swarm_supervisor_loop_lag_seconds"].append(((), events.loop_lag_s()))
        samples["swarm_supervisor_errors_total"] = [((where,), count) for where, count in events.errors.items()]
        samples["swarm_supervisor_signals_total"] = [((name,), count) for name, count in events.signals.items()]
        samples["swarm_node_starts_total"] = [((str(node),), count) for node, count in events.starts.items()]
        # Start every node and reason at 0: increase() misses the first event of a series that begins at 1.
        ids = [node.id for node in snapshot.nodes]
        begun = dict.fromkeys(ids, 0)
        for name, counts in (("kills", events.kills), ("crash_loops", events.crash_loops)):
            samples[f"swarm_node_{name}_total"] = [((str(node),), count) for node, count in (begun | counts).items()]
        for name, reasons, by_reason in (
            ("restarts", RESTART_REASONS, events.restarts),
            ("stops", STOP_REASONS, events.stops),
        ):
            zeros = {(node, reason): 0 for node in ids for reason in reasons}
            samples[f"swarm_node_{name}_total"] = [
                ((str(node), reason), count) for (node, reason), count in (zeros | by_reason).items()
            ]
        samples["swarm_node_exits_total"] = [
            ((str(node), code, name), count) for (node, code, name), count in events.exits.items()
        ]

    def _node(self, node: NodeView, samples: Samples) -> None:
        labels = (str(node.id),)
        figures: dict[str, float | int | None] = {
            "up": int(_up(node)),
            "status": node.status,
            "generation": node.generation,
            "crash_loop": int(node.crash_loop),
            "uptime_seconds": node.uptime_s,
            "report_age_seconds": node.last_report_age_s,
        }
        samples["swarm_node_state"].append(((*labels, shown_state(node)), 1))
        for name, value in figures.items():
            samples[f"swarm_node_{name}"].append((labels, value))
        for one in reported("node"):
            source = node.totals if one.kind == "counter" else node.statistics
            if source is not None:
                samples[f"swarm_node_{one.ending}"].append(
                    ((*labels, *filter(None, one.label[1:])), _value(one, source))
                )

    def _topic_sums(self, snapshot: SnapshotView, samples: Samples) -> None:
        sums: dict[tuple[str, str], TopicStatistics] = {}
        for topic in snapshot.topics:
            place = topic.group, topic.topic
            if place not in self._topics:
                self._topics[place] = place if len(self._topics) < MOST_TOPICS else (OTHER, OTHER)
            shown = self._topics[place]
            sums[shown] = topic if shown not in sums else _together(sums[shown], topic)
        for shown, topic in sums.items():
            for one in reported("topic"):
                if one.kind == "histogram" and len(topic.durations) == _CLASSES:
                    samples[f"swarm_topic_{one.ending}"].append((shown, topic))
                elif one.kind != "histogram" and one.metric != "-":
                    samples[f"swarm_topic_{one.ending}"].append((shown, _value(one, topic)))

    def _partitions(self, snapshot: SnapshotView, samples: Samples) -> Iterator[None]:
        for number, (labels, figures) in enumerate(self._partition_series.take(snapshot.partitions)):
            if number % PARTITIONS_A_PART == 0:
                yield
            for name, value in figures.items():
                samples[f"swarm_partition_{name}"].append((labels, value))
        not_shown = self._partition_series.summed_up(snapshot.partitions)
        samples["swarm_partitions_not_shown"].append(((), not_shown))

    def _probes(self, samples: Samples) -> None:
        probe = self._probe()
        if probe is None:
            return
        samples["swarm_probe_connections"].append(((), probe.connections))
        for name in ("accepted", "evicted", "timed_out", "answered", "refused", "failed"):
            samples[f"swarm_probe_{name}_total"].append(((), getattr(probe.counters, name)))


class _OneFamily:
    """The part of a registry that generate_latest needs, with a single family in it."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _family(metric: TableEntry, samples: list[Sample]) -> Metric:
    if metric.kind == "histogram":
        return _histogram(metric, samples)
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in samples:
        assert isinstance(value, int | float)  # _gather leaves out those that are None
        family.add_metric(labels, value)
    return family


def _histogram(metric: TableEntry, samples: list[Sample]) -> Metric:
    histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, topic in samples:
        assert isinstance(topic, TopicStatistics)
        bounds = [*map(floatToGoString, DURATION_BOUNDS_S), "+Inf"]
        buckets = list(zip(bounds, accumulate(topic.durations), strict=True))
        histogram.add_metric(labels, buckets, topic.duration_s)
    return histogram


def _together(one: TopicStatistics, other: TopicStatistics) -> TopicStatistics:
    sums = {name: getattr(one, name) + getattr(other, name) for name in counters("topic")}
    durations = [a + b for a, b in zip_longest(one.durations, other.durations, fillvalue=0)]
    return TopicStatistics(OTHER, OTHER, **sums, durations=durations)


def _up(node: NodeView) -> bool:
    return node.state == "running" and node.status == 0


def _value(figure: Figure, source: object) -> float | int | None:
    value: float | int | None = getattr(source, figure.name)
    if value is None:
        return figure.without
    return value * MB if figure.unit == "MB" else value
