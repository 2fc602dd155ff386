"""The reports that a node sends to its watcher, and the statistics that one of them carries."""

from __future__ import annotations

from typing import Annotated

import msgspec


class PartitionStatistics(msgspec.Struct):
    """A node's figures for one partition (or queue, or shard: any named and numbered source of work)."""

    topic: str
    partition: int
    messages: int = 0
    bytes: int = 0
    batches: int = 0
    errors: int = 0
    lag: int | None = None
    """Available records that are not handled yet; None if unknown."""
    position: int | None = None
    """Offset of the next record to handle, known from the assignment on; None if unknown."""
    committed: int | None = None
    """Committed offset; None if unknown."""
    in_flight_age_s: float | None = None
    """Seconds since the current batch started; None if there is none."""
    group: str = ""
    """The subscription group. Several groups may consume the same partition."""
    lag_s: float | None = None
    """Age in seconds of the oldest record not yet handled, or a lower bound; 0 without lag."""
    in_flight_limit_s: float | None = None
    """Time limit of its batches; None if there is none or it is not known."""


DURATION_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the buckets of `TopicStatistics.durations`; the last bucket has no bound."""


class TopicStatistics(msgspec.Struct):
    """The work of a process for one topic and group since its start, including partitions that have left."""

    group: str
    topic: str
    messages: int = 0
    batches: int = 0
    bytes: int = 0
    errors: int = 0
    retries: int = 0
    dead_lettered: int = 0
    taken_over: int = 0
    take_overs_refused: int = 0
    suspected: int = 0
    parked: int = 0
    durations: list[int] = []
    """Number of batches per duration bucket of `DURATION_BOUNDS_S`; empty if not counted."""
    duration_s: float = 0.0
    """Total duration of all batches in seconds."""


class NodeStatistics(msgspec.Struct, kw_only=True):
    """A node's figures about itself. Counters start with this generation of the node and only grow."""

    state: str = ""
    batches: int = 0
    messages: int = 0
    bytes: int = 0
    errors: int = 0
    retries: int = 0
    dead_lettered: int = 0
    taken_over: int = 0
    take_overs_refused: int = 0
    suspected: int = 0
    parked: int = 0
    in_flight_age_s: float | None = None
    """Seconds since the oldest unfinished batch started; None if no batch is in flight."""
    poll_age_s: float | None = None
    """Seconds since the least recently polled source was polled; None if unknown."""
    rss_mb: float | None = None
    """Resident memory in MB of 2**20 bytes, including shared pages."""
    uss_mb: float | None = None
    """Memory that belongs only to this process, in MB of 2**20 bytes."""
    pss_mb: float | None = None
    """Proportional share of resident memory, in MB of 2**20 bytes."""
    cpu_s: float | None = None
    """CPU time used so far, user and system, in seconds."""
    partitions: list[PartitionStatistics] = []
    extra: dict[str, int | float | str | bool] = {}
    """The user's own numbers and texts. NaN and infinities are left out: they count as unknown."""
    topics: list[TopicStatistics] = []
    """The work per topic since the start of this process; these sums stay when partitions leave."""


class Healthy(msgspec.Struct, frozen=True, array_like=True, tag="healthy"):
    """The heartbeat: this node is running and healthy."""


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """This node is prepared and waiting to be used."""


class Recycle(msgspec.Struct, frozen=True, array_like=True, tag="recycle"):
    """This node is healthy, and it asks for a fresh process in its place."""

    reason: str = ""


class Unhealthy(msgspec.Struct, frozen=True, array_like=True, tag="unhealthy"):
    """This node is running but unhealthy."""

    code: Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
    """A positive `Status`, or a positive int of the user's own, below 2**31."""
    reason: str = ""


class Stopping(msgspec.Struct, frozen=True, array_like=True, tag="stopping"):
    """This node has begun to stop."""

    reason: str = ""


class Statistics(msgspec.Struct, frozen=True, array_like=True, tag="statistics"):
    """This node's figures. Not a heartbeat: statistics do not imply health."""

    statistics: NodeStatistics


Report = Healthy | Ready | Recycle | Unhealthy | Stopping | Statistics
"""Any report, as a `Reader` returns it."""
