"""The table of all metrics: name, type, labels, meaning. /metrics, docs/metrics.md and the tests are made from it.

Metrics of what nodes report are made of the rows in `swarm_health.figures`.

`python -m swarm_liveness.metrics_table` prints docs/metrics.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from swarm_health import figures

Kind = Literal["gauge", "counter", "histogram"]
Level = Literal["swarm", "node", "topic", "partition", "probe"]
Detail = Literal["partition", "topic", "node"]
"""The level of the partition metrics: each partition, summed up by topic, or none (node)."""


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


def _of_reports(level: figures.Level) -> Iterator[Metric]:
    """The metrics of what the nodes report; figures that differ by a label are one metric."""
    seen = set()
    for one in figures.figures(level):
        if one.metric != "-" and one.ending not in seen:
            seen.add(one.ending)
            labels = (*figures.LABELS[level], *filter(None, one.label[:1]))
            yield Metric(f"swarm_{level}_{one.ending}", one.kind, level, labels, one.help)


def _probe(name: str, kind: Kind, meaning: str) -> Metric:
    return Metric(f"swarm_probe_{name}", kind, "probe", (), meaning)


METRICS: tuple[Metric, ...] = (
    _swarm(
        "info",
        "gauge",
        "always 1; labels: the swarm's name, the versions of the application (empty if it has none) and of Swarm",
        *("name", "version", "swarm_version"),
    ),
    _swarm("state", "gauge", "1 for the swarm's present state, 0 for every other state", "state"),
    _swarm("ready", "gauge", "1 if /readyz answers 200, else 0"),
    _swarm("degraded", "gauge", "1 if a node is in a crash loop, has failed permanently or cannot be forked, else 0"),
    _swarm("uptime_seconds", "gauge", "seconds since the supervisor started"),
    _swarm("report_timeout_seconds", "gauge", "silence after which a node is stopped (node_report_timeout)"),
    _swarm("nodes_wanted", "gauge", "number of nodes that should run"),
    _swarm("nodes_healthy", "gauge", "number of wanted nodes that run and report healthy"),
    _swarm("restarts_total", "counter", "processes started to replace others"),
    _swarm("messages_total", "counter", "messages handled by all nodes, including nodes that no longer exist"),
    _swarm(
        "supervisor_loop_lag_seconds", "gauge", "longest delay of the event loop after a deadline, in the last minute"
    ),
    _swarm(
        "supervisor_errors_total", "counter", "errors that the supervisor recovered from, by what it was doing", "where"
    ),
    _swarm("supervisor_signals_total", "counter", "signals received by the supervisor", "signal"),
    _swarm("supervisor_resident_memory_bytes", "gauge", "resident memory (RSS) of the supervisor"),
    _swarm("supervisor_cpu_seconds_total", "counter", "CPU time of the supervisor, user and system"),
    _swarm(
        "partitions_not_shown",
        "gauge",
        'partitions above the limit of series, which are summed up as partition="other"',
    ),
    _swarm("partitions_unowned", "gauge", "partitions that no node owns at the moment"),
    _swarm("partitions_lag_unknown", "gauge", "partitions of unknown lag, which sums of lag leave out"),
    _node("up", "gauge", "1 if the node runs and reports healthy, else 0"),
    _node(
        "status", "gauge", "last status: 0 healthy, -1 silent, 1 polling, 2 consuming, 3 memory, 4 stability, 5 stalled"
    ),
    _node(
        "state",
        "gauge",
        "always 1; the label is the state of its process (booting, …) or, while that runs, of its runtime (quiet, …)",
        "state",
    ),
    _node("generation", "gauge", "1 for the first process with this node id, 2 for the next, …"),
    _node("crash_loop", "gauge", "1 if the node keeps dying, else 0"),
    _node("uptime_seconds", "gauge", "seconds since the node was forked"),
    _node("report_age_seconds", "gauge", "seconds since the last health report"),
    _node("starts_total", "counter", "processes forked for the node"),
    _node(
        "restarts_total", "counter", "processes started to replace another, by the reason why that one ended", "reason"
    ),
    _node("stops_total", "counter", "times the node was told to stop, by the status that caused it", "reason"),
    _node("kills_total", "counter", "times the node had to be killed"),
    _node("exits_total", "counter", "exits of the node, by exit code or signal", "code", "signal"),
    _node("crash_loops_total", "counter", "crash loops detected"),
    *_of_reports("node"),
    *_of_reports("topic"),
    *_of_reports("partition"),
    _probe("connections", "gauge", "open connections of the probe server"),
    _probe("accepted_total", "counter", "connections accepted"),
    _probe("evicted_total", "counter", "connections closed to make room for new ones"),
    _probe("timed_out_total", "counter", "connections closed because the request did not arrive in time"),
    _probe("answered_total", "counter", "requests answered by an endpoint"),
    _probe("refused_total", "counter", "requests refused with a 4xx status, such as for a path that does not exist"),
    _probe("failed_total", "counter", "requests whose endpoint raised an error"),
)

BY_NAME = {metric.name: metric for metric in METRICS}

_RULES = """\
What you can rely on. `/status`, `swarm-cli status`, `top` and the page show the same figures:

- **Unknown is not 0.** An unknown lag has no series and is shown as "-"; `swarm_partitions_lag_unknown` counts these
  partitions. A sum with an unknown part is shown as "≥1,234". While a partition moves to another node, its last known
  lag is shown until the new owner knows it, for 30 s at most.
- **Every figure of a partition carries its group**, the name of its subscription group (`swarm-cli routes`). That is
  the name of the consumer group, unless its topics have different properties.
- **Positions begin at the assignment**: at the first record received; before that, at the committed offset; without
  one, where `initial_offset` begins. So a handler that fails from its first record on has a lag.
- **Lag ends at 0.** When all received records are handled and the client has fetched up to the end, the lag is 0, even
  if the last offsets of the partition hold no record (transaction markers, aborted or compacted records). Under
  `read_committed` the end is the last stable offset. The end is as old as the client's last statistics
  (`statistics.interval.ms`, 5 s); the position is current.
- **A partition without an owner stays visible**: `swarm_partition_owner` is -1, and the other figures keep their last
  known values until a node owns the partition again. It is dropped, because another swarm must own it, when no node has
  taken it within 30 s of a running node giving it back, within 60 s of the start of a dead node's replacement (30 s
  once that has work), or within 30 s of its node being scaled away.
- **Counters only grow**, across restarts, rebalances and removed nodes, until the supervisor itself is restarted. They
  lack what a killed process did after its last report (`statistics_interval`, 1 s).
- **Counters begin at 0**: kills, crash loops, restarts and stops have a series for every node and every reason from the
  start, so that `increase()` sees the first event.
- **One number of healthy nodes**: `swarm_nodes_healthy` is the number that every view calls running: the wanted nodes
  that run and report healthy.
"""

_HEADINGS: tuple[tuple[Level, str, str], ...] = (
    ("swarm", "The swarm and its supervisor", "One series each, or one for each value of a label with few values."),
    ("node", "Nodes", "One series for each node. Counters are sums over all processes of the node."),
    (
        "topic",
        "Topics",
        "One series for each topic of a group, over all nodes. Above 100 topics, the rest is summed up as "
        '`group="other"`, `topic="other"`.',
    ),
    (
        "partition",
        "Partitions",
        "One series for each partition that a node owns or has owned. With `--metrics-detail topic` the partitions of "
        'a topic are summed up as `partition=""`; with `--metrics-detail node` there are no partition series. A metric '
        'has at most 1000 series: from the 901st on, partitions are summed up by topic as `partition="other"`, and '
        'above 1000 series as `topic="other"`. A partition keeps its first series. '
        "A summed series adds up messages, bytes, errors and lag, shows the largest age, and has no offset or owner.",
    ),
    ("probe", "The probe server itself", "Only when the metrics are served by it."),
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
        "in one place: there is nothing else to scrape, and no Kafka connection is made. A dashboard and alerts are in",
        "[deploy/grafana](../deploy/grafana/swarm.json) and [deploy/prometheus](../deploy/prometheus/alerts.yaml).",
        "",
        *_RULES.splitlines(),
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
