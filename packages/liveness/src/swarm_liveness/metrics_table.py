"""Every metric there is: name, type, labels, meaning. The exposition, docs/metrics.md and the tests are made from it.

`python -m swarm_liveness.metrics_table` prints docs/metrics.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter"]
Level = Literal["swarm", "node", "partition", "probe"]
Detail = Literal["partition", "topic", "node"]
"""How fine the figures of partitions are told: each, summed by topic, or summed by node."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, as Prometheus knows it. A counter's name ends in _total."""

    name: str
    kind: Kind
    level: Level
    labels: tuple[str, ...]
    meaning: str


def _swarm(name: str, kind: Kind, meaning: str, *labels: str) -> Metric:
    return Metric(f"swarm_{name}", kind, "swarm", labels, meaning)


def _node(name: str, kind: Kind, meaning: str, *labels: str) -> Metric:
    return Metric(f"swarm_node_{name}", kind, "node", ("node", *labels), meaning)


def _partition(name: str, kind: Kind, meaning: str) -> Metric:
    return Metric(f"swarm_partition_{name}", kind, "partition", ("node", "topic", "partition"), meaning)


def _probe(name: str, kind: Kind, meaning: str) -> Metric:
    return Metric(f"swarm_probe_{name}", kind, "probe", (), meaning)


METRICS: tuple[Metric, ...] = (
    _swarm("info", "gauge", "1; the labels say who this is", "name", "version"),
    _swarm("state", "gauge", "1 for the state the swarm is in, 0 for the others", "state"),
    _swarm("ready", "gauge", "1 if /readyz says 200"),
    _swarm("degraded", "gauge", "1 if a node is in a crash loop, has failed for good or cannot be forked"),
    _swarm("uptime_seconds", "gauge", "seconds since the supervisor started"),
    _swarm("nodes_wanted", "gauge", "nodes that there should be"),
    _swarm("nodes_healthy", "gauge", "nodes that run and report healthy"),
    _swarm("restarts_total", "counter", "processes started in place of others"),
    _swarm("supervisor_loop_lag_seconds", "gauge", "the most, in the last minute, that the loop came after a deadline"),
    _swarm("supervisor_errors_total", "counter", "errors that the supervisor survived, by what it did", "where"),
    _swarm("supervisor_signals_total", "counter", "signals that the supervisor received", "signal"),
    _swarm("supervisor_resident_memory_bytes", "gauge", "RSS of the supervisor"),
    _swarm("supervisor_cpu_seconds_total", "counter", "CPU time of the supervisor, user and system"),
    _swarm("partitions_not_shown", "gauge", 'partitions beyond the limit of series, summed up as partition="other"'),
    _node("up", "gauge", "1 if the node runs and reports healthy"),
    _node("status", "gauge", "last status: 0 healthy, -1 silent, 1 polling, 2 consuming, 3 memory, 4 stability"),
    _node("state", "gauge", "1; the label says what its process does (running, booting, stopping, …)", "state"),
    _node("generation", "gauge", "1 for the first process of this node id, then 2, …"),
    _node("crash_loop", "gauge", "1 if the node keeps dying"),
    _node("uptime_seconds", "gauge", "seconds since its fork"),
    _node("report_age_seconds", "gauge", "seconds since its last health report"),
    _node("starts_total", "counter", "processes forked for this node"),
    _node("restarts_total", "counter", "starts in place of another process, by why that one ended", "reason"),
    _node("stops_total", "counter", "times it was told to stop, by the status that caused it", "reason"),
    _node("kills_total", "counter", "times it had to be killed"),
    _node("exits_total", "counter", "exits by exit code or signal", "code", "signal"),
    _node("crash_loops_total", "counter", "crash loops that were recognised"),
    _node("messages_total", "counter", "messages handled by this process"),
    _node("batches_total", "counter", "batches handled by this process"),
    _node("bytes_total", "counter", "bytes of the messages handled"),
    _node("errors_total", "counter", "batches whose handler raised"),
    _node("retries_total", "counter", "batches that were tried again"),
    _node("dead_lettered_total", "counter", "messages diverted to a dead-letter topic"),
    _node("in_flight_age_seconds", "gauge", "how long the oldest hook in progress has been running"),
    _node("poll_age_seconds", "gauge", "how long ago the least recently polled subscription group was polled"),
    _node("memory_bytes", "gauge", "memory by kind: rss, uss (its own alone), pss (shared pages divided)", "kind"),
    _node("cpu_seconds_total", "counter", "CPU time of this process, user and system"),
    _partition("messages_total", "counter", "messages handled"),
    _partition("batches_total", "counter", "batches handled"),
    _partition("bytes_total", "counter", "bytes of the messages handled"),
    _partition("errors_total", "counter", "batches whose handler raised"),
    _partition("lag_messages", "gauge", "messages that are there and not yet handled"),
    _partition("position", "gauge", "offset of the next message to be handled"),
    _partition("committed", "gauge", "committed offset"),
    _partition("in_flight_age_seconds", "gauge", "how long its batch in progress has been running"),
    _probe("connections", "gauge", "open connections of the probe server"),
    _probe("accepted_total", "counter", "connections accepted"),
    _probe("evicted_total", "counter", "silent connections closed to make room for newer ones"),
    _probe("timed_out_total", "counter", "connections closed because nothing, or too little, came in time"),
    _probe("answered_total", "counter", "requests answered by an endpoint"),
    _probe("refused_total", "counter", "requests for what there is not"),
    _probe("failed_total", "counter", "endpoints that raised"),
)

BY_NAME = {metric.name: metric for metric in METRICS}

_HEADINGS: tuple[tuple[Level, str, str], ...] = (
    ("swarm", "The swarm and its supervisor", "One series each, or one per value of a label that has few."),
    ("node", "Nodes", "One series a node; counters begin anew with each process, which `rate()` knows how to treat."),
    (
        "partition",
        "Partitions",
        "One series for each partition that a node has. With `--metrics-detail topic` the partitions of a topic are "
        "summed up, with `--metrics-detail node` there are none. Beyond 1000 partitions the rest of each node and "
        'topic is summed up as `partition="other"`: there messages, bytes, errors and lag are sums, ages are the '
        "largest, and offsets are left out.",
    ),
    ("probe", "The probe server itself", "Only where it serves them."),
)


def markdown() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "<!-- Generated by `python -m swarm_liveness.metrics_table`; a test compares. Do not edit. -->",
        "",
        "Served at `/metrics` by the supervisor's own loop (or by the process itself under `server`), in Prometheus's",
        "text format: `swarm-cli swarm my_app:app --probe 8080`, then `curl localhost:8080/metrics`. All nodes appear",
        "in one place: nothing else is to be scraped, and no Kafka connection is made. A dashboard and alerts are in",
        "[deploy/grafana](../deploy/grafana/swarm.json) and [deploy/prometheus](../deploy/prometheus/alerts.yaml).",
        "",
    ]
    for level, title, text in _HEADINGS:
        lines += [f"## {title}", "", text, "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        for metric in METRICS:
            if metric.level == level:
                labels = ", ".join(f"`{label}`" for label in metric.labels)
                lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(markdown())
