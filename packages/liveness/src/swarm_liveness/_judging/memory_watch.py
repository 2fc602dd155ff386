"""When to sample memory, when an exact figure is worth its cost, and when samples lead to a verdict. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from swarm_liveness.settings import SOFT_SHARE, Limits

# A single sample may catch the peak of a batch, so it takes this many in a row.
SAMPLES = 3
SAMPLE_INTERVAL_S = 1.0
# The kernel walks the page tables for an exact figure (about 2 ms for 170 MB, 10 ms for 830 MB) and holds the process's
# mmap lock meanwhile. The time between two readings is at least this many times the cost of one: 1 % of the time.
EXACT_PRICE_FACTOR = 100.0


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Memory of one process in MB of 2^20 bytes; the exact figures are None where only RSS was read."""

    rss_mb: float
    uss_mb: float | None = None
    pss_mb: float | None = None

    def metric(self, name: str) -> float | None:
        """The figure called `name` ("uss", "pss" or "rss"); None if it was not read."""
        return {"rss": self.rss_mb, "uss": self.uss_mb, "pss": self.pss_mb}[name]


@dataclass(frozen=True, slots=True)
class MemoryState:
    """What is known from the samples so far. All times are monotonic seconds."""

    rss_mb: float | None = None
    uss_mb: float | None = None
    pss_mb: float | None = None
    """The latest figures; USS and PSS may be older than RSS."""
    over: int = 0
    """How many samples in a row were over the limit."""
    over_mb: float | None = None
    """The last figure over the limit."""
    sampled: float | None = None
    exact: float | None = None
    """When the last exact figure was read."""
    price_s: float = 0.0
    """CPU seconds that the last exact figure cost."""


def due(state: MemoryState, now: float) -> bool:
    """Whether it is time for a sample: at most one per second."""
    return state.sampled is None or now - state.sampled >= SAMPLE_INTERVAL_S


def wants_exact(
    state: MemoryState, rss_mb: float, limits: Limits, refresh_s: float | None, now: float, *, counts: bool = True
) -> bool:
    """Whether this sample needs USS and PSS. `counts`: as in `add`.

    USS <= PSS <= RSS always holds, so an RSS below the soft mark decides for all three. `refresh_s` is how old USS and
    PSS in the statistics may be when no limit needs them; None: they are never read for the statistics.
    """
    waited = None if state.exact is None else now - state.exact
    if limits.memory_limit is not None and limits.memory_metric != "rss" and rss_mb >= SOFT_SHARE * limits.memory_limit:
        # Once over the limit, each sample that counts is exact at any cost: a leak does not wait.
        return waited is None or (state.over > 0 and counts) or waited >= EXACT_PRICE_FACTOR * state.price_s
    if refresh_s is None:
        return False
    return waited is None or waited >= max(refresh_s, EXACT_PRICE_FACTOR * state.price_s)


def add(
    state: MemoryState, sample: MemorySample, limits: Limits, now: float, price_s: float = 0.0, *, counts: bool = True
) -> MemoryState:
    """The state after one sample; `price_s` is what its exact part cost.

    `counts`: whether it adds to the samples over the limit. Of those taken within one batch only the first does, so
    that a batch that needs much memory for as long as it lasts is not taken for a process that keeps it.
    """
    state = replace(state, rss_mb=sample.rss_mb, sampled=now)
    if sample.uss_mb is not None or sample.pss_mb is not None:
        state = replace(state, uss_mb=sample.uss_mb, pss_mb=sample.pss_mb, exact=now, price_s=price_s)
    if limits.memory_limit is None:
        return state
    figure = sample.metric(limits.memory_metric)
    if figure is None:
        if sample.rss_mb < SOFT_SHARE * limits.memory_limit:
            return replace(state, over=0, over_mb=None)
        return state  # above the soft mark without an exact figure: this proves nothing
    if figure > limits.memory_limit:
        return replace(state, over=state.over + 1 if counts else max(1, state.over), over_mb=figure)
    return replace(state, over=0, over_mb=None)


def finding(state: MemoryState, limits: Limits) -> str | None:
    """Why the memory is over its limit, as a sentence; None if it is not, or not for enough samples yet."""
    if limits.memory_limit is None or state.over < SAMPLES or state.over_mb is None:
        return None
    return (
        f"{limits.memory_metric} of {state.over_mb:.1f} MB is over the memory_limit of {limits.memory_limit:g} MB, "
        f"in {state.over} samples in a row"
    )


def next_sample(state: MemoryState) -> float | None:
    """When to take the next sample if no batch ends before (monotonic seconds); None unless over the limit."""
    if state.over == 0 or state.sampled is None:
        return None
    return state.sampled + SAMPLE_INTERVAL_S
