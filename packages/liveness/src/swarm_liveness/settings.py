"""The limits of a process. A bad one is refused with a sentence as soon as it is given, before any node runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

MemoryMetric = Literal["uss", "pss", "rss"]
MEMORY_METRICS: tuple[str, ...] = get_args(MemoryMetric)

# Above this share of the limit RSS, which is cheap, no longer decides: the exact figure is read.
SOFT_SHARE = 0.8


class LivenessSettingsError(ValueError):
    """A limit that cannot work. The message is one sentence that says what to change."""


class ProbeError(OSError):
    """Probes cannot be served as requested. The message is one sentence that says what to do."""


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
        for name in ("polling_ttl", "consuming_ttl", "stability_ttl"):
            positive(name, getattr(self, name), "seconds", "leave it out to follow max.poll.interval.ms")
        positive("memory_limit", self.memory_limit, "MB", "leave it out for no limit")
        if self.memory_metric not in MEMORY_METRICS:
            raise LivenessSettingsError(
                f"memory_metric is {self.memory_metric!r}: choose one of {', '.join(MEMORY_METRICS)}"
            )


def positive(name: str, value: object, unit: str, otherwise: str) -> None:
    """Raise LivenessSettingsError for a value that is neither None nor a positive, finite number.

    `otherwise` is the advice at the end of the error's sentence.
    """
    if value is None:
        return
    # A bool is an int in Python: memory_limit=True would be a limit of 1 MB.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise LivenessSettingsError(f"{name} is {value!r}: give a number of {unit} above 0, or {otherwise}")


def check_intervals(limits: Limits, liveness_interval: float, statistics_interval: float) -> None:
    """Raise LivenessSettingsError for an interval that is not positive and for a TTL below the liveness interval."""
    for name, interval, default in (
        ("liveness_interval", liveness_interval, "10 s"),
        ("statistics_interval", statistics_interval, "1 s"),
    ):
        given: object = interval
        if given is None:
            raise LivenessSettingsError(f"{name} is None: give a number of seconds above 0, or leave it out")
        positive(name, interval, "seconds", f"leave it out for {default}")
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
