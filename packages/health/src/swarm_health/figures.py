"""The table of all figures that a report carries: kind, unit, meaning, how it is summed up, and its metric. Pure.

The fields of the statistics in `swarm_health.reports` have the figures' names; a test compares. What adds them up over
processes (`swarm_health.accounts`), what serves them (/metrics, docs/metrics.md) and what prints them
(`swarm-cli info --figures`) go through these rows. /status and the control socket show the statistics as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["node", "topic", "partition"]
LABELS: dict[Level, tuple[str, ...]] = {
    "node": ("node",), "topic": ("group", "topic"), "partition": ("group", "topic", "partition"),
}  # fmt: skip
"""The part of a key that distinguishes the figures of a level."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a node, of a topic, or of a partition."""

    name: str
    """The field of the statistics."""
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    levels: tuple[Level, ...]
    help: str
    summed: Literal["sum", "largest", "nearest its limit", "never"]
    """Of partitions that share a series, and of the processes of a node; a counter of dead ones is kept."""
    metric: str = ""
    """The end of the metric's name behind swarm_<level>_; "": the name with _total; "-": a part of another metric."""
    label: tuple[str, str] = ("", "")
    """A label that this figure has beside `LABELS`, and its value."""
    without: float | None = None
    """What is shown while there is none; None: nothing is."""

    @property
    def ending(self) -> str:
        """The end of the metric's name."""
        return self.metric or f"{self.name}_total"


_ALL: tuple[Level, ...] = ("node", "topic", "partition")
_NODE: tuple[Level, ...] = ("node",)
_TOPIC: tuple[Level, ...] = ("topic",)
_PARTITION: tuple[Level, ...] = ("partition",)
_MEMORY = "memory by kind: rss, uss (private pages only), pss (shared pages divided among their users)"

FIGURES: tuple[Figure, ...] = (
    Figure("messages", "counter", "messages", _ALL, "messages handled", "sum"),
    Figure("batches", "counter", "batches", _ALL, "batches handled", "sum"),
    Figure("bytes", "counter", "bytes", _ALL, "bytes of keys and values received", "sum"),
    Figure("errors", "counter", "batches", _ALL, "batches whose handler raised", "sum"),
    Figure("retries", "counter", "batches", ("node", "topic"), "batches that were retried", "sum"),
    Figure("dead_lettered", "counter", "messages", ("node", "topic"), "messages sent to a dead-letter topic", "sum"),
    Figure(
        "taken_over", "counter", "partitions", ("node", "topic"),
        "partitions that continued where a dead owner was, beyond the committed offset", "sum",
    ),
    Figure(
        "take_overs_refused", "counter", "partitions", ("node", "topic"),
        "partitions that went back to the committed offset, because the notes of their owner were not sure", "sum",
    ),
    Figure(
        "suspected", "counter", "partitions", ("node", "topic"),
        "partitions that came with messages that a process died with", "sum",
    ),
    Figure(
        "parked", "counter", "times", ("node", "topic"),
        "times that a partition was parked at a message that processes died with", "sum",
    ),
    Figure(
        "in_flight_age_s", "gauge", "seconds", _NODE,
        "how long the oldest handler or hook in progress has been running", "never", "in_flight_age_seconds",
        without=0.0,
    ),
    Figure(
        "poll_age_s", "gauge", "seconds", _NODE,
        "time since the last poll of the least recently polled group, or since it began to wait for its first poll",
        "never", "poll_age_seconds",
    ),
    Figure("rss_mb", "gauge", "MB", _NODE, _MEMORY, "never", "memory_bytes", ("kind", "rss")),
    Figure("uss_mb", "gauge", "MB", _NODE, _MEMORY, "never", "memory_bytes", ("kind", "uss")),
    Figure("pss_mb", "gauge", "MB", _NODE, _MEMORY, "never", "memory_bytes", ("kind", "pss")),
    Figure("cpu_s", "counter", "seconds", _NODE, "CPU time, user and system", "sum", "cpu_seconds_total"),
    Figure(
        "durations", "histogram", "seconds", _TOPIC,
        "how long the handler took for a batch, failed attempts included", "sum", "batch_seconds",
    ),
    Figure("duration_s", "counter", "seconds", _TOPIC, "how long all batches took together", "sum", "-"),
    Figure(
        "lag", "gauge", "messages", _PARTITION,
        "messages in the partition that are not handled yet; no series if unknown", "sum", "lag_messages",
    ),
    Figure(
        "lag_s", "gauge", "seconds", _PARTITION,
        "age of the oldest message that is not handled yet, or the least it can be", "largest", "lag_seconds",
    ),
    Figure("position", "gauge", "offset", _PARTITION, "offset of the next message to handle", "never", "position"),
    Figure(
        "committed", "gauge", "offset", _PARTITION, "committed offset; no series if there is none", "never",
        "committed",
    ),
    Figure(
        "node", "gauge", "node", _PARTITION,
        "id of the node that owns the partition; -1 if none does at the moment", "never", "owner", without=-1,
    ),
    Figure(
        "in_flight_age_s", "gauge", "seconds", _PARTITION, "how long the batch in progress has been running",
        "nearest its limit", "in_flight_age_seconds", without=0.0,
    ),
    Figure(
        "in_flight_limit_s", "gauge", "seconds", _PARTITION, "how long a batch may run before its node is stopped",
        "nearest its limit", "in_flight_limit_seconds",
    ),
)  # fmt: skip


def figures(level: Level, kind: str = "") -> Iterator[Figure]:
    """The figures of a level, in order; of one kind, if one is given."""
    return (one for one in FIGURES if level in one.levels and kind in ("", one.kind))


def counters(level: Level) -> tuple[str, ...]:
    """The names of what only grows at a level."""
    return tuple(one.name for one in figures(level, "counter"))
