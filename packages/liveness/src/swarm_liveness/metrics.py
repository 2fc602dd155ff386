"""Prometheus metrics of a whole swarm out of one snapshot: a collector for prometheus-client and the /metrics endpoint.

Needs the extra: swarm-liveness[metrics].
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from swarm_health import NodeStatistics, PartitionStatistics
from swarm_liveness.memory import MB, ProcessMemory
from swarm_liveness.metrics_table import METRICS, Detail
from swarm_liveness.metrics_table import Metric as TableEntry
from swarm_liveness.probe import Answer, ProbeServer
from swarm_liveness.settings import LivenessSettingsError
from swarm_liveness.snapshots import NodeView, SnapshotView
from swarm_liveness.swarm_events import SwarmEvents
from swarm_liveness.views import ready

STATES = ("starting", "running", "degraded", "quieting", "quiet", "stopping", "stopped")
OTHER = "other"

# One sample: the values of the labels in the table's order, and the figure. None figures are left out.
Sample = tuple[tuple[str, ...], float | int | None]
Samples = dict[str, list[Sample]]
SAMPLES_A_PART = 100


class SwarmCollector:
    """A prometheus_client collector over a source of snapshots.

    Register it with any registry (`REGISTRY.register(collector)`), or serve `endpoint()` from a ProbeServer.
    """

    def __init__(
        self,
        snapshot: Callable[[], SnapshotView],
        *,
        events: SwarmEvents | None = None,
        probe: Callable[[], ProbeServer | None] = lambda: None,
        version: str = "",
        detail: Detail = "partition",
        max_partitions: int = 1000,
    ) -> None:
        """Collect from snapshots.

        Args:
            snapshot: gives the state at this moment.
            events: counts the supervisor's events; without it the counters made of events are left out.
            probe: gives the probe server that shall be told of too, if any.
            version: the application's own version, for swarm_info.
            detail: how far the figures of partitions go: each "partition", each "topic", or "node" for none.
            max_partitions: how many series a partition metric may have; the rest is summed up.

        Raises:
            LivenessSettingsError: detail is unknown or max_partitions is below 1.
        """
        if detail not in ("partition", "topic", "node"):
            raise LivenessSettingsError(f"metrics detail is {detail!r}: choose one of partition, topic, node")
        if isinstance(max_partitions, bool) or max_partitions < 1:
            raise LivenessSettingsError(f"max_partitions is {max_partitions!r}: give a number of at least 1")
        self._snapshot = snapshot
        self._events = events
        self._probe = probe
        self._version = version
        self._detail = detail
        self._max_partitions = max_partitions
        self._memory = ProcessMemory()

    def collect(self) -> Iterator[Metric]:
        """One family for each entry of the table that has something to tell."""
        samples: Samples = defaultdict(list)
        for _ in self._gather(samples):
            pass
        for metric in METRICS:
            if samples[metric.name]:
                yield _family(metric, samples[metric.name])

    def render(self) -> Iterator[bytes]:
        """The exposition in the text format, in parts of at most some hundred microseconds of work each."""
        samples: Samples = defaultdict(list)
        for _ in self._gather(samples):
            yield b""
        for metric in METRICS:
            of_metric = samples[metric.name]
            for start in range(0, len(of_metric), SAMPLES_A_PART):
                text = generate_latest(_OneFamily(_family(metric, of_metric[start : start + SAMPLES_A_PART])))
                # HELP and TYPE, the first two lines, may stand only once in an exposition.
                yield text if start == 0 else text.split(b"\n", 2)[2]

    def endpoint(self) -> Callable[[], Answer]:
        """What to serve at /metrics."""
        return lambda: Answer(200, CONTENT_TYPE_LATEST, self.render())

    def _gather(self, samples: Samples) -> Iterator[None]:
        """Fill in the samples; yields between nodes, so that a loop can do other things meanwhile."""
        snapshot = self._snapshot()
        self._swarm(snapshot, samples)
        self._probes(samples)
        shown = not_shown = 0
        for node in snapshot.nodes:
            yield
            self._node(node, samples)
            if self._detail != "node" and node.statistics is not None:
                added, left = self._partitions(node, self._max_partitions - shown, samples)
                shown += added
                not_shown += left
        if self._detail != "node":
            samples["swarm_partitions_not_shown"].append(((), not_shown))
        for name, of_metric in samples.items():
            samples[name] = [(labels, value) for labels, value in of_metric if value is not None]

    def _swarm(self, snapshot: SnapshotView, samples: Samples) -> None:
        single: dict[str, float | int] = {
            "swarm_ready": int(ready(snapshot).ok),
            "swarm_degraded": int(snapshot.state == "degraded"),
            "swarm_uptime_seconds": snapshot.uptime_s,
            "swarm_nodes_wanted": snapshot.wanted,
            "swarm_nodes_healthy": sum(_up(node) for node in snapshot.nodes),
            "swarm_restarts_total": snapshot.restarts,
            "swarm_supervisor_resident_memory_bytes": self._memory.rss_mb() * MB,
            "swarm_supervisor_cpu_seconds_total": time.process_time(),
        }
        for name, value in single.items():
            samples[name].append(((), value))
        samples["swarm_info"].append(((snapshot.name, self._version), 1))
        samples["swarm_state"] = [((state,), int(state == snapshot.state)) for state in STATES]
        events = self._events
        if events is None:
            return
        samples["swarm_supervisor_loop_lag_seconds"].append(((), events.loop_lag_s()))
        samples["swarm_supervisor_errors_total"] = [((where,), count) for where, count in events.errors.items()]
        samples["swarm_supervisor_signals_total"] = [((name,), count) for name, count in events.signals.items()]
        samples["swarm_node_starts_total"] = [((str(node),), count) for node, count in events.starts.items()]
        samples["swarm_node_kills_total"] = [((str(node),), count) for node, count in events.kills.items()]
        samples["swarm_node_crash_loops_total"] = [((str(node),), count) for node, count in events.crash_loops.items()]
        samples["swarm_node_restarts_total"] = [
            ((str(node), reason), count) for (node, reason), count in events.restarts.items()
        ]
        samples["swarm_node_stops_total"] = [
            ((str(node), reason), count) for (node, reason), count in events.stops.items()
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
        samples["swarm_node_state"].append(((*labels, node.state), 1))
        if node.statistics is not None:
            figures |= _node_figures(node.statistics)
            for kind in ("rss", "uss", "pss"):
                mb: float | None = getattr(node.statistics, f"{kind}_mb")
                samples["swarm_node_memory_bytes"].append(((*labels, kind), None if mb is None else mb * MB))
        for name, value in figures.items():
            samples[f"swarm_node_{name}"].append((labels, value))

    def _partitions(self, node: NodeView, room: int, samples: Samples) -> tuple[int, int]:
        """Samples of a node's partitions, `room` of them at most: how many were shown, and how many summed up."""
        assert node.statistics is not None
        groups: dict[tuple[str, str, str], list[PartitionStatistics]] = defaultdict(list)
        shown = summed = 0
        for one in sorted(node.statistics.partitions, key=lambda one: (one.topic, one.partition)):
            if self._detail == "topic":
                label = ""
            elif shown < room:
                label = str(one.partition)
                shown += 1
            else:
                label = OTHER
                summed += 1
            groups[str(node.id), one.topic, label].append(one)
        for labels, group in groups.items():
            for name, value in _partition_figures(group).items():
                samples[f"swarm_partition_{name}"].append((labels, value))
        return shown, summed

    def _probes(self, samples: Samples) -> None:
        probe = self._probe()
        if probe is None:
            return
        samples["swarm_probe_connections"].append(((), probe.connections))
        for name in ("accepted", "evicted", "timed_out", "answered", "refused", "failed"):
            samples[f"swarm_probe_{name}_total"].append(((), getattr(probe.counters, name)))


class _OneFamily:
    """A registry, as far as generate_latest needs one, with a single family in it."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _family(metric: TableEntry, samples: list[Sample]) -> Metric:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in samples:
        assert value is not None  # _gather has left those out
        family.add_metric(labels, value)
    return family


def _up(node: NodeView) -> bool:
    return node.state == "running" and node.status == 0


def _node_figures(statistics: NodeStatistics) -> dict[str, float | int | None]:
    return {
        "messages_total": statistics.messages,
        "batches_total": statistics.batches,
        "bytes_total": statistics.bytes,
        "errors_total": statistics.errors,
        "retries_total": statistics.retries,
        "dead_lettered_total": statistics.dead_lettered,
        "in_flight_age_seconds": statistics.in_flight_age_s or 0.0,
        "poll_age_seconds": statistics.poll_age_s,
        "cpu_seconds_total": statistics.cpu_s,
    }


def _partition_figures(group: list[PartitionStatistics]) -> dict[str, float | int | None]:
    """The figures of one partition, or of several summed up."""
    lags = [one.lag for one in group if one.lag is not None]
    alone = group[0] if len(group) == 1 else None
    return {
        "messages_total": sum(one.messages for one in group),
        "batches_total": sum(one.batches for one in group),
        "bytes_total": sum(one.bytes for one in group),
        "errors_total": sum(one.errors for one in group),
        "lag_messages": sum(lags) if lags else None,
        "position": alone.position if alone is not None else None,
        "committed": alone.committed if alone is not None else None,
        "in_flight_age_seconds": max(one.in_flight_age_s or 0.0 for one in group),
    }
