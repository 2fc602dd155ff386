"""When to sample memory, when the exact figure is worth its price, and when samples make a verdict. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from swarm_liveness.settings import SOFT_SHARE, Limits

# A single sample may catch the peak of a batch; this many in a row are a size.
SAMPLES = 3
SAMPLE_INTERVAL_S = 1.0
# The kernel walks the page tables for an exact figure (about 2 ms for 170 MB, 10 ms for 830 MB) and holds the process's
# mmap lock meanwhile: between two readings pass at least this many times the price of one, 1 % of the time.
EXACT_PRICE_FACTOR = 100.0


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Memory of one process in MB of 2^20 bytes; the exact figures are None where only RSS was read."""

    rss_mb: float
    uss_mb: float | None = None
    pss_mb: float | None = None

    def metric(self, name: str) -> float | None:
        """The figure that a limit by `name` ("uss", "pss" or "rss") is about; None when it was not read."""
        return {"rss": self.rss_mb, "uss": self.uss_mb, "pss": self.pss_mb}[name]


@dataclass(frozen=True, slots=True)
class MemoryState:
    """What the samples so far have left behind. All times are monotonic seconds."""

    rss_mb: float | None = None
    uss_mb: float | None = None
    pss_mb: float | None = None
    """Latest figures; USS and PSS may be older than RSS."""
    over: int = 0
    """Samples over the limit in a row."""
    over_mb: float | None = None
    """The last figure over the limit."""
    sampled: float | None = None
    exact: float | None = None
    """When the last exact figure was read."""
    price_s: float = 0.0
    """What the last exact figure cost, in seconds."""


def due(state: MemoryState, now: float) -> bool:
    """Whether a sample may be taken: at most one a second."""
    return state.sampled is None or now - state.sampled >= SAMPLE_INTERVAL_S


def wants_exact(
    state: MemoryState, rss_mb: float, limits: Limits, refresh_s: float | None, now: float, *, counts: bool = True
) -> bool:
    """Whether this sample needs USS and PSS. `counts`: as in `add`.

    USS <= PSS <= RSS always, so an RSS under the soft mark settles the question for all three. `refresh_s` is how old
    the figures may be that statistics show when no limit needs them; None: they are never read for that.
    """
    waited = None if state.exact is None else now - state.exact
    if limits.memory_limit is not None and limits.memory_metric != "rss" and rss_mb >= SOFT_SHARE * limits.memory_limit:
        # Once over the limit a sample that counts is exact, whatever it costs: a leak does not wait.
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
        return state  # above the soft mark without the exact figure: nothing learnt
    if figure > limits.memory_limit:
        return replace(state, over=state.over + 1 if counts else max(1, state.over), over_mb=figure)
    return replace(state, over=0, over_mb=None)


def finding(state: MemoryState, limits: Limits) -> str | None:
    """Why the memory is over its limit, as a sentence; None when it is not, or not yet for long enough."""
    if limits.memory_limit is None or state.over < SAMPLES or state.over_mb is None:
        return None
    return (
        f"{limits.memory_metric} {state.over_mb:.1f} MB is over memory_limit {limits.memory_limit:g} MB "
        f"in {state.over} samples in a row"
    )


def next_sample(state: MemoryState) -> float | None:
    """When the next sample is due without a batch that brings one (monotonic seconds): only while over the limit."""
    if state.over == 0 or state.sampled is None:
        return None
    return state.sampled + SAMPLE_INTERVAL_S
