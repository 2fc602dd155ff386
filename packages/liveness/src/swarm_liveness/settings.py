"""The settings of the health checks, one row each. A bad value is refused with a sentence before any node runs.

A row is a field of `LivenessSettings`: name, type, default, and in its metadata `unit`, the bounds `above` and `most`,
and `otherwise`, the advice when it is wrong. Settings that the command line has too also have the help, its section,
`rare`, and `unset`, the value that applies without it. `hatch run settings` generates options and
docs/configuration.md from them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

MemoryMetric = Literal["uss", "pss", "rss"]
MEMORY_METRICS: tuple[str, ...] = get_args(MemoryMetric)

# Above this share of the limit RSS, which is cheap, no longer decides: the exact figure is read.
SOFT_SHARE = 0.8


class LivenessSettingsError(ValueError):
    """A limit that cannot work. The message is one sentence that says what to change."""


class ProbeError(OSError):
    """Probes cannot be served as requested. The message is one sentence that says what to do."""


def _row(default: object, text: str = "", section: str = "", **more: object) -> Any:
    return field(default=default, metadata={"help": text, "section": section, **more})


@dataclass(frozen=True, kw_only=True)
class LivenessSettings:
    """The keywords of `LivenessListener`, which explains them. Those of the supervisor too have their help there."""

    polling_ttl: float | None = _row(
        None, "Time limit between two polls (max.poll.interval.ms).", "Health", unit="seconds", above=0, rare=True,
        unset="max.poll.interval.ms", otherwise="leave it out to follow max.poll.interval.ms",
    )  # fmt: skip
    consuming_ttl: float | None = _row(
        None, "Time limit of a batch (max.poll.interval.ms).", "Health", unit="seconds", above=0,
        unset="max.poll.interval.ms", otherwise="leave it out to follow max.poll.interval.ms",
    )  # fmt: skip
    stability_ttl: float | None = _row(
        None, "Time limit for a group to stabilise (twice that).", "Health", unit="seconds", above=0, rare=True,
        unset="twice max.poll.interval.ms", otherwise="leave it out to follow max.poll.interval.ms",
    )  # fmt: skip
    memory_limit: float | None = _row(
        None, "Replace a node that exceeds this (off).", "Health", unit="MB", above=0,
        unset="off", otherwise="leave it out for no limit",
    )  # fmt: skip
    memory_share: float | None = _row(
        None, "Or: the nodes' share of the container's memory, like 0.8.", "Health", unit="share", above=0, most=1,
        rare=True, unset="off",
    )  # fmt: skip
    memory_metric: MemoryMetric = _row(  # noqa: RUF009  a field
        "uss", "The figure that the limit applies to ({default}).", "Health", rare=True
    )
    liveness_interval: float = _row(10.0, unit="seconds", above=0, otherwise="leave it out for 10 s")
    statistics_interval: float = _row(1.0, unit="seconds", above=0, otherwise="leave it out for 1 s")
    memory_refresh: float | None = _row(30.0, unit="seconds", above=0, otherwise="None to never read them")


_ROWS: Mapping[str, dataclasses.Field[Any]] = {row.name: row for row in dataclasses.fields(LivenessSettings)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits beyond which a process is unhealthy, in seconds and MB (2^20 bytes)."""

    polling_ttl: float | None = None
    """Seconds between two polls of a subscription group; None: the group's max.poll.interval.ms."""
    consuming_ttl: float | None = None
    """Seconds that one hook may run; None: max.poll.interval.ms. A topic's own TTL overrides both."""
    stability_ttl: float | None = None
    """Seconds in one unsettled join state; None: twice the group's max.poll.interval.ms."""
    memory_limit: float | None = None
    """MB; None: no limit."""
    memory_metric: MemoryMetric = "uss"
    """Which figure the limit applies to."""

    def __post_init__(self) -> None:
        """Raise LivenessSettingsError for a limit that is not a positive number and for an unknown metric."""
        for limit in dataclasses.fields(self):
            check(limit.name, getattr(self, limit.name))


def check(name: str, value: object) -> None:
    """Raise LivenessSettingsError for a value that the row of the setting does not allow."""
    if name == "memory_metric":
        if value not in MEMORY_METRICS:
            raise LivenessSettingsError(f"{name} is {value!r}: choose one of {', '.join(MEMORY_METRICS)}")
        return
    row = _ROWS[name]
    unit, otherwise = row.metadata["unit"], row.metadata["otherwise"]
    if value is None:
        if "None" not in str(row.type):
            raise LivenessSettingsError(f"{name} is None: give a number of {unit} above 0, or leave it out")
        return
    # A bool is an int in Python: memory_limit=True would be a limit of 1 MB.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise LivenessSettingsError(f"{name} is {value!r}: give a number of {unit} above 0, or {otherwise}")


def check_intervals(limits: Limits, liveness_interval: float, statistics_interval: float) -> None:
    """Raise LivenessSettingsError for an interval that is not positive and for a TTL below the liveness interval."""
    check("liveness_interval", liveness_interval)
    check("statistics_interval", statistics_interval)
    for name in ("polling_ttl", "consuming_ttl", "stability_ttl"):
        ttl: float | None = getattr(limits, name)
        if ttl is not None and ttl < liveness_interval:
            raise LivenessSettingsError(
                f"{name} ({ttl:g} s) is below liveness_interval ({liveness_interval:g} s), so a process would be "
                f"judged more often than it reports: raise {name} by {liveness_interval - ttl:g} s or lower "
                "liveness_interval"
            )


def check_against_supervisor(limits: Limits, rss_mb: float) -> None:
    """Raise LivenessSettingsError for an RSS limit that every node would exceed as soon as it is forked.

    `rss_mb` is the RSS of the process that forks. A forked process starts with all of those pages in its own RSS, so
    no node has less than that.
    """
    if limits.memory_limit is not None and limits.memory_metric == "rss" and limits.memory_limit <= rss_mb:
        raise LivenessSettingsError(
            f"memory_limit is {limits.memory_limit:g} MB by rss, but the supervisor itself has {rss_mb:.0f} MB, "
            "and every forked node starts with that much: use memory_metric='uss' or raise the limit well above it"
        )
