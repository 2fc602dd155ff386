"""A runtime's numbers, of whatever shape, made into the statistics that travel. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from swarm_health import NodeStatistics, PartitionStatistics
from swarm_liveness.memory_watch import MemoryState
from swarm_liveness.protocols import PollStamp, RunStamp

_NODE_FIELDS = frozenset(NodeStatistics.__struct_fields__)
_PARTITION_FIELDS = frozenset(PartitionStatistics.__struct_fields__)


def node_statistics(
    numbers: Mapping[str, object],
    polls: Sequence[PollStamp],
    runs: Sequence[RunStamp],
    memory: MemoryState,
    cpu_s: float,
    now: float,
) -> NodeStatistics:
    """Join what the runtime counts with what liveness measures; the latter wins.

    A key that NodeStatistics does not have goes to `extra` when its value is a number or a word.

    Raises:
        TypeError: `partitions` holds something that is no mapping and no object with topic and partition.
    """
    known = {key: value for key, value in numbers.items() if key in _NODE_FIELDS}
    extra: dict[str, int | float | str | bool] = {}
    given = known.pop("extra", None)
    for source in (given if isinstance(given, Mapping) else {}, {k: v for k, v in numbers.items() if k not in known}):
        extra |= {str(key): value for key, value in source.items() if isinstance(value, int | float | str)}
    extra.pop("extra", None)
    partitions = known.pop("partitions", ())
    known |= {
        "in_flight_age_s": _oldest((run.started for run in runs), now),
        "poll_age_s": _oldest((poll.last_poll for poll in polls if poll.last_poll is not None), now),
        "rss_mb": memory.rss_mb,
        "uss_mb": memory.uss_mb,
        "pss_mb": memory.pss_mb,
        "cpu_s": cpu_s,
    }
    arguments: dict[str, Any] = dict(known)
    if not isinstance(partitions, Iterable):
        raise TypeError(f"statistics()['partitions'] is {partitions!r}: give a sequence, one entry a partition")
    return NodeStatistics(**arguments, partitions=[_partition(entry) for entry in partitions], extra=extra)


def _partition(entry: object) -> PartitionStatistics:
    if isinstance(entry, PartitionStatistics):
        return entry
    if isinstance(entry, Mapping):
        fields: dict[str, Any] = {key: entry[key] for key in _PARTITION_FIELDS if key in entry}
    else:
        fields = {key: getattr(entry, key) for key in _PARTITION_FIELDS if hasattr(entry, key)}
    return PartitionStatistics(**fields)


def _oldest(stamps: Iterable[float], now: float) -> float | None:
    first = min(stamps, default=None)
    return None if first is None else max(0.0, now - first)
