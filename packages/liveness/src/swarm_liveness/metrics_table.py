"""Every metric there is: name, type, labels, meaning. The exposition, docs/metrics.md and the tests are made from it.

`python -m swarm_liveness.metrics_table` prints docs/metrics.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram"]
Level = Literal["swarm", "node", "topic", "partition", "probe"]
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
    return Metric(f"swarm_partition_{name}", kind, "partition", ("group", "topic", "partition"), meaning)


def _topic(name: str, kind: Kind, meaning: str) -> Metric:
    return Metric(f"swarm_topic_{name}", kind, "topic", ("group", "topic"), meaning)


def _probe(name: str, kind: Kind, meaning: str) -> Metric:
    return Metric(f"swarm_probe_{name}", kind, "probe", (), meaning)


METRICS: tuple[Metric, ...] = (
    _swarm(
        "info",
        "gauge",
        "1; the labels say who this is: the application with its version (empty: it has none), and Swarm's own",
        *("name", "version", "swarm_version"),
    ),
    _swarm("state", "gauge", "1 for the state the swarm is in, 0 for the others", "state"),
    _swarm("ready", "gauge", "1 if /readyz says 200"),
    _swarm("degraded", "gauge", "1 if a node is in a crash loop, has failed for good or cannot be forked"),
    _swarm("uptime_seconds", "gauge", "seconds since the supervisor started"),
    _swarm("nodes_wanted", "gauge", "nodes that there should be"),
    _swarm("nodes_healthy", "gauge", "wanted nodes that run and report healthy"),
    _swarm("restarts_total", "counter", "processes started in place of others"),
    _swarm("messages_total", "counter", "messages handled by all nodes, those that are no more included"),
    _swarm("supervisor_loop_lag_seconds", "gauge", "the most, in the last minute, that the loop came after a deadline"),
    _swarm("supervisor_errors_total", "counter", "errors that the supervisor survived, by what it did", "where"),
    _swarm("supervisor_signals_total", "counter", "signals that the supervisor received", "signal"),
    _swarm("supervisor_resident_memory_bytes", "gauge", "RSS of the supervisor"),
    _swarm("supervisor_cpu_seconds_total", "counter", "CPU time of the supervisor, user and system"),
    _swarm("partitions_not_shown", "gauge", 'partitions beyond the limit of series, summed up as partition="other"'),
    _swarm("partitions_unowned", "gauge", "partitions that no node has at the moment"),
    _swarm("partitions_lag_unknown", "gauge", "partitions whose lag is not known: sums of lag leave them out"),
    _node("up", "gauge", "1 if the node runs and reports healthy"),
    _node(
        "status", "gauge", "last status: 0 healthy, -1 silent, 1 polling, 2 consuming, 3 memory, 4 stability, 5 stalled"
    ),
    _node(
        "state",
        "gauge",
        "1; the label says what its process does (booting, …) or, while that runs, its runtime (running, quiet, …)",
        "state",
    ),
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
    _node("messages_total", "counter", "messages handled"),
    _node("batches_total", "counter", "batches handled"),
    _node("bytes_total", "counter", "bytes of keys and values received"),
    _node("errors_total", "counter", "batches whose handler raised"),
    _node("retries_total", "counter", "batches that were tried again"),
    _node("dead_lettered_total", "counter", "messages diverted to a dead-letter topic"),
    _node("in_flight_age_seconds", "gauge", "how long the oldest hook in progress has been running"),
    _node(
        "poll_age_seconds",
        "gauge",
        "how long ago the least recently polled subscription group was polled, or began to wait for its first poll",
    ),
    _node("memory_bytes", "gauge", "memory by kind: rss, uss (its own alone), pss (shared pages divided)", "kind"),
    _node("cpu_seconds_total", "counter", "CPU time, user and system"),
    _topic("messages_total", "counter", "messages handled"),
    _topic("batches_total", "counter", "batches handled"),
    _topic("bytes_total", "counter", "bytes of keys and values received"),
    _topic("errors_total", "counter", "batches whose handler raised"),
    _topic("retries_total", "counter", "batches that were tried again"),
    _topic("dead_lettered_total", "counter", "messages diverted to a dead-letter topic"),
    _topic("batch_seconds", "histogram", "how long the handler took for a batch, attempts that failed included"),
    _partition("messages_total", "counter", "messages handled"),
    _partition("batches_total", "counter", "batches handled"),
    _partition("bytes_total", "counter", "bytes of keys and values received"),
    _partition("errors_total", "counter", "batches whose handler raised"),
    _partition("lag_messages", "gauge", "messages that are there and not yet handled; missing: not known"),
    _partition(
        "lag_seconds", "gauge", "age of the oldest message that is there and not yet handled, or the least it is"
    ),
    _partition("position", "gauge", "offset of the next message to be handled"),
    _partition("committed", "gauge", "committed offset; missing: none is"),
    _partition("owner", "gauge", "id of the node that has it; -1: none has it at the moment"),
    _partition("in_flight_age_seconds", "gauge", "how long its batch in progress has been running"),
    _partition("in_flight_limit_seconds", "gauge", "how long a batch of it may run before its node is stopped"),
    _probe("connections", "gauge", "open connections of the probe server"),
    _probe("accepted_total", "counter", "connections accepted"),
    _probe("evicted_total", "counter", "silent connections closed to make room for newer ones"),
    _probe("timed_out_total", "counter", "connections closed because nothing, or too little, came in time"),
    _probe("answered_total", "counter", "requests answered by an endpoint"),
    _probe("refused_total", "counter", "requests that were refused, such as for a path that does not exist"),
    _probe("failed_total", "counter", "endpoints that raised"),
)

BY_NAME = {metric.name: metric for metric in METRICS}

_RULES = """\
What the figures promise, here, in `/status`, `swarm-cli status`, `top` and on the page, which all show the same ones:

- **Unknown is not 0.** A lag that is not known has no series and is shown as "-"; `swarm_partitions_lag_unknown` counts
  them. A sum of which a part is not known is shown as "≥1,234". While a partition moves, the lag that was told last is
  shown until its owner knows it, for 30 s at most.
- **Every figure of a partition carries its group**, the name of its subscription group (`swarm-cli routes`): the
  consumer group's own, unless its topics have properties that differ.
- **Positions begin at the assignment**: at the first record that comes, before that at the committed offset, else where
  `initial_offset` begins. So a handler that fails from its first record has a lag.
- **Lag ends at 0.** When all that came is handled and the client has fetched up to the end, the lag is 0, although the
  last offsets of a partition may hold no record: markers of transactions, aborted or compacted records. Under
  `read_committed` the end is the last stable offset. The end is as old as the client's statistics
  (`statistics.interval.ms`, 5 s), the position is today's.
- **A partition that nobody has is shown so**: `swarm_partition_owner` is -1 and the other figures are the last that
  were known, until a node has it. It belongs to another swarm, and is left out, when no node has taken it 30 s after a
  living owner gave it back, 60 s after the successor of a dead one came up (30 s after that has work), or 30 s after
  its node was scaled away.
- **Counters only grow**, over restarts, rebalances and nodes that are no more, until the supervisor itself starts anew.
  What a process that is killed did after its last report (`statistics_interval`, 1 s) is not in them.
- **Counters begin at 0**: kills, crash loops, restarts and stops of every node by every reason there is, so that
  `increase()` sees the first event.
- **One number of healthy nodes**: `swarm_nodes_healthy` is what every view calls running: wanted nodes that run and
  report healthy.
"""

_HEADINGS: tuple[tuple[Level, str, str], ...] = (
    ("swarm", "The swarm and its supervisor", "One series each, or one per value of a label that has few."),
    ("node", "Nodes", "One series a node. Counters are sums over all processes that the node has had."),
    (
        "topic",
        "Topics",
        "One series for each topic of a group, over all nodes. Beyond 100 topics the rest is summed up as "
        '`group="other"`, `topic="other"`.',
    ),
    (
        "partition",
        "Partitions",
        "One series for each partition that a node has or had. With `--metrics-detail topic` the partitions of a topic "
        'are summed up as `partition=""`, with `--metrics-detail node` there are none. There are 1000 series a metric '
        'at most: from the 901st on, partitions are summed up by topic as `partition="other"`, and beyond 1000 series '
        'as `topic="other"`. A partition keeps the series that it was given first. In a sum, messages, bytes, errors '
        "and lag are sums, ages are the largest, offsets and owners are left out.",
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
