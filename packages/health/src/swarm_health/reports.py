"""The reports that travel from a node to its watcher, and the statistics that one of them carries."""

from typing import Annotated

import msgspec


class PartitionStatistics(msgspec.Struct):
    """What a node knows about one partition (or one queue, one shard: any named and numbered source of work)."""

    topic: str
    partition: int
    messages: int = 0
    bytes: int = 0
    batches: int = 0
    errors: int = 0
    lag: int | None = None
    """Records that are there and not yet handled; None if unknown."""
    position: int | None = None
    """Offset of the next record to be handled, from the assignment on; None if unknown."""
    committed: int | None = None
    """Committed offset; None if unknown."""
    in_flight_age_s: float | None = None
    """Seconds since the batch being handled was started; None if none is."""
    group: str = ""
    """For whom it is worked: the subscription group. Several groups may have the same partition."""
    lag_s: float | None = None
    """Age in seconds of the oldest record not yet handled, or the least that it can be; 0 without lag."""
    in_flight_limit_s: float | None = None
    """How long its batches may take; None if there is no limit or it is not known."""


DURATION_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the classes of `TopicStatistics.durations`; a last class has no bound."""


class TopicStatistics(msgspec.Struct):
    """What a process has done of one topic for one group, since its start: partitions that have left are included."""

    group: str
    topic: str
    messages: int = 0
    batches: int = 0
    bytes: int = 0
    errors: int = 0
    retries: int = 0
    dead_lettered: int = 0
    durations: list[int] = []
    """Batches by how long they took, one count for each class of `DURATION_BOUNDS_S`; empty: not counted."""
    duration_s: float = 0.0
    """Seconds that all batches took together."""


class NodeStatistics(msgspec.Struct, kw_only=True):
    """What a node knows about itself. Counters only grow, from the start of this generation of the node."""

    state: str = ""
    batches: int = 0
    messages: int = 0
    bytes: int = 0
    errors: int = 0
    retries: int = 0
    dead_lettered: int = 0
    in_flight_age_s: float | None = None
    """Seconds since the oldest unfinished batch was started; None if none is in flight."""
    poll_age_s: float | None = None
    """Seconds since the least recently polled source was polled; None if unknown."""
    rss_mb: float | None = None
    """Resident memory in MB of 2**20 bytes, shared pages included."""
    uss_mb: float | None = None
    """Memory of this process alone, in MB of 2**20 bytes."""
    pss_mb: float | None = None
    """Proportional share of resident memory, in MB of 2**20 bytes."""
    cpu_s: float | None = None
    """Processor time used so far, user and system, in seconds."""
    partitions: list[PartitionStatistics] = []
    extra: dict[str, int | float | str | bool] = {}
    """The user's own numbers and words. One that is NaN or infinite is left out: it cannot be told from unknown."""
    topics: list[TopicStatistics] = []
    """What was done of each topic since the start of this process; partitions come and go, these sums stay."""


class Healthy(msgspec.Struct, frozen=True, array_like=True, tag="healthy"):
    """The heartbeat: this node turns and finds nothing wrong with itself."""


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """This node has finished its preparations and waits to be used."""


class Recycle(msgspec.Struct, frozen=True, array_like=True, tag="recycle"):
    """Nothing is wrong with this node, and it wants a fresh process in its place."""

    reason: str = ""


class Unhealthy(msgspec.Struct, frozen=True, array_like=True, tag="unhealthy"):
    """This node turns, and something is wrong with it."""

    code: Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
    """A positive `Status`, or a positive int of the user's own, below 2**31."""
    reason: str = ""


class Stopping(msgspec.Struct, frozen=True, array_like=True, tag="stopping"):
    """This node has begun to stop."""

    reason: str = ""


class Statistics(msgspec.Struct, frozen=True, array_like=True, tag="statistics"):
    """This node's numbers. Not a heartbeat: statistics say nothing about health."""

    statistics: NodeStatistics


Report = Healthy | Ready | Recycle | Unhealthy | Stopping | Statistics
"""Any report, as a `Reader` returns it."""
