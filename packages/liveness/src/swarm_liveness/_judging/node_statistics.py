"""Turns a runtime's numbers into the statistics that a node reports. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from swarm_health import NodeStatistics, PartitionStatistics, TopicStatistics
from swarm_liveness._judging.memory_watch import MemoryState
from swarm_liveness.protocols import PollStamp, RunStamp
from swarm_liveness.settings import Limits

_NODE_FIELDS = frozenset(NodeStatistics.__struct_fields__)
_NO_LIMITS = Limits()
_Row = TypeVar("_Row", PartitionStatistics, TopicStatistics)


def combined_statistics(
    numbers: Mapping[str, object],
    polls: Sequence[PollStamp],
    runs: Sequence[RunStamp],
    memory: MemoryState,
    cpu_s: float,
    now: float,
    limits: Limits = _NO_LIMITS,
    first_seen: Mapping[str, float] = MappingProxyType({}),
) -> NodeStatistics:
    """Combine what the runtime counts with what liveness measures, which takes precedence.

    A key that NodeStatistics does not have goes to `extra` if its value is a number or a string. The age of a group
    that was never polled counts from when it was first seen (`first_seen`): otherwise a group that hangs from the start
    would be left out.

    Raises TypeError when `partitions` or `topics` is not iterable, or an entry of them lacks a field.
    """
    known = {key: value for key, value in numbers.items() if key in _NODE_FIELDS}
    extra: dict[str, int | float | str | bool] = {}
    given = known.pop("extra", None)
    for source in (given if isinstance(given, Mapping) else {}, {k: v for k, v in numbers.items() if k not in known}):
        extra |= {str(key): value for key, value in source.items() if isinstance(value, int | float | str)}
    extra.pop("extra", None)
    partitions, topics = known.pop("partitions", ()), known.pop("topics", ())
    polled = (first_seen.get(poll.subscription_group) if poll.last_poll is None else poll.last_poll for poll in polls)
    known |= {
        "in_flight_age_s": _oldest((run.started for run in runs), now),
        "poll_age_s": _oldest((since for since in polled if since is not None), now),
        "rss_mb": memory.rss_mb,
        "uss_mb": memory.uss_mb,
        "pss_mb": memory.pss_mb,
        "cpu_s": cpu_s,
    }
    arguments: dict[str, Any] = dict(known)
    for name, given in (("partitions", partitions), ("topics", topics)):
        if not isinstance(given, Iterable):
            raise TypeError(f"statistics()[{name!r}] is {given!r}: give a sequence with one entry for each")
    rows = [_made(PartitionStatistics, entry) for entry in partitions]  # type: ignore[attr-defined]
    sums = [_made(TopicStatistics, entry) for entry in topics]  # type: ignore[attr-defined]
    _set_limits(rows, polls, limits)
    return NodeStatistics(**arguments, partitions=rows, topics=sums, extra=extra)


def _set_limits(rows: Iterable[PartitionStatistics], polls: Sequence[PollStamp], limits: Limits) -> None:
    """Fill in how long a batch may take if the topic has no TTL of its own, as in `ages.run_age`."""
    longest = {poll.subscription_group: poll.max_poll_interval_s for poll in polls}
    for row in rows:
        if row.in_flight_limit_s is None:
            row.in_flight_limit_s = limits.consuming_ttl or longest.get(row.group)


def _made(kind: type[_Row], entry: object) -> _Row:
    if isinstance(entry, kind):
        return entry
    names = kind.__struct_fields__
    if isinstance(entry, Mapping):
        fields: dict[str, Any] = {key: entry[key] for key in names if key in entry}
    else:
        fields = {key: getattr(entry, key) for key in names if hasattr(entry, key)}
    return kind(**fields)


def _oldest(stamps: Iterable[float], now: float) -> float | None:
    first = min(stamps, default=None)
    return None if first is None else max(0.0, now - first)
