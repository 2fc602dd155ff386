from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm_liveness._judging import memory_sampler, memory_watch
from swarm_liveness._judging.memory_sampler import MemorySampler
from swarm_liveness._judging.memory_watch import MemorySample, MemoryState
from swarm_liveness.settings import Limits

USS = Limits(memory_limit=100.0)
RSS = Limits(memory_limit=100.0, memory_metric="rss")


def exact(mb: float) -> MemorySample:
    return MemorySample(rss_mb=mb + 50.0, uss_mb=mb, pss_mb=mb + 10.0)


def after(limits: Limits, *samples: MemorySample) -> MemoryState:
    state = MemoryState()
    for second, sample in enumerate(samples):
        state = memory_watch.add(state, sample, limits, float(second))
    return state


def test_three_samples_in_a_row_decide() -> None:
    assert memory_watch.finding(after(USS, exact(101), exact(102)), USS) is None
    found = memory_watch.finding(after(USS, exact(101), exact(102), exact(103)), USS)
    assert found == "uss of 103.0 MB is over the memory_limit of 100 MB, in 3 samples in a row"
    assert memory_watch.finding(after(USS, exact(101), exact(102), exact(100), exact(103)), USS) is None


def test_exactly_the_limit_is_not_over_it() -> None:
    assert memory_watch.finding(after(USS, *[exact(100)] * 5), USS) is None


@pytest.mark.parametrize(("metric", "over"), [("uss", False), ("pss", True), ("rss", True)])
def test_each_metric_judges_its_own_figure(metric: str, over: bool) -> None:
    limits = Limits(memory_limit=95.0, memory_metric=metric)  # type: ignore[arg-type]
    found = memory_watch.finding(after(limits, *[exact(90.0)] * 3), limits)
    assert (found is not None) == over
    if found is not None:
        assert found.startswith(metric)


def test_an_rss_below_the_soft_mark_settles_the_question_without_the_exact_figure() -> None:
    state = after(USS, exact(101), exact(102))
    assert not memory_watch.wants_exact(MemoryState(), 79.0, USS, None, 0.0)
    assert memory_watch.wants_exact(MemoryState(), 80.0, USS, None, 0.0)
    assert memory_watch.add(state, MemorySample(79.0), USS, 3.0).over == 0
    assert memory_watch.add(state, MemorySample(170.0), USS, 3.0).over == 2  # nothing learnt


def test_a_limit_by_rss_never_needs_the_exact_figure() -> None:
    assert not memory_watch.wants_exact(MemoryState(), 1000.0, RSS, None, 0.0)
    assert memory_watch.finding(after(RSS, *[MemorySample(101.0)] * 3), RSS) is not None


def test_the_exact_figure_costs_one_percent_of_the_time_until_the_limit_is_passed() -> None:
    state = memory_watch.add(MemoryState(), exact(90), USS, 0.0, price_s=0.05)
    assert not memory_watch.wants_exact(state, 140.0, USS, None, 4.9)
    assert memory_watch.wants_exact(state, 140.0, USS, None, 5.0)
    state = memory_watch.add(state, exact(101), USS, 5.0, price_s=0.05)
    assert memory_watch.wants_exact(state, 151.0, USS, None, 6.0)


def test_figures_for_the_eye_are_refreshed_seldom_and_can_be_off() -> None:
    state = memory_watch.add(MemoryState(), exact(10), Limits(), 0.0, price_s=0.01)
    assert not memory_watch.wants_exact(state, 60.0, Limits(), 30.0, 29.9)
    assert memory_watch.wants_exact(state, 60.0, Limits(), 30.0, 30.0)
    assert not memory_watch.wants_exact(state, 60.0, Limits(), None, 1e9)
    state = memory_watch.add(state, exact(10), Limits(), 30.0, price_s=1.0)
    assert not memory_watch.wants_exact(state, 60.0, Limits(), 30.0, 129.9)


def test_at_most_one_sample_a_second_and_one_every_second_while_over() -> None:
    state = memory_watch.add(MemoryState(), exact(90), USS, 10.0)
    assert not memory_watch.due(state, 10.9)
    assert memory_watch.due(state, 11.0)
    assert memory_watch.next_sample(state) is None
    assert memory_watch.next_sample(memory_watch.add(state, exact(101), USS, 11.0)) == 12.0


@settings(max_examples=500, deadline=None)
@given(st.lists(st.floats(min_value=0.0, max_value=200.0), max_size=40))
def test_the_verdict_is_the_last_three_samples(figures: list[float]) -> None:
    state = after(USS, *map(exact, figures))
    last = figures[-3:]
    assert (memory_watch.finding(state, USS) is not None) == (len(last) == 3 and all(mb > 100.0 for mb in last))


@settings(max_examples=300, deadline=None)
@given(
    growth=st.floats(min_value=0.5, max_value=20.0),
    preload=st.floats(min_value=0.0, max_value=500.0),
    price=st.floats(min_value=0.0, max_value=0.01),
)
def test_a_leak_is_found_within_four_seconds_of_growth(growth: float, preload: float, price: float) -> None:
    """A process that grows by `growth` MB a second, sampled once a second; `preload` is shared with its parent."""
    state, now = MemoryState(), 0.0
    while memory_watch.finding(state, USS) is None:
        uss = growth * now
        if memory_watch.wants_exact(state, uss + preload, USS, None, now):
            state = memory_watch.add(state, MemorySample(uss + preload, uss, uss + preload / 3), USS, now, price)
        else:
            state = memory_watch.add(state, MemorySample(uss + preload), USS, now)
        now += 1.0
    assert 100.0 < growth * (now - 1.0) <= 100.0 + 4.0 * growth


def test_samples_within_one_batch_count_as_one() -> None:
    """docs/memory.md: a peak within one batch kills nobody, however long the batch lasts."""
    state = memory_watch.add(MemoryState(), exact(150), USS, 0.0)
    for now in range(1, 60):
        state = memory_watch.add(state, exact(160), USS, float(now), counts=False)
        assert state.over == 1
        assert memory_watch.finding(state, USS) is None
    assert memory_watch.add(state, exact(50), USS, 60.0, counts=False).over == 0
    for now in (61.0, 62.0):
        state = memory_watch.add(state, exact(160), USS, now)
    assert "in 3 samples in a row" in str(memory_watch.finding(state, USS))


def test_a_long_batch_above_the_limit_costs_one_percent_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its first sample counts, yet each one walked the page tables: a tenth of the time of a large process."""
    spent = [0.0]

    class Memory:
        readings = 0

        def rss_mb(self) -> float:
            return 200.0

        def exact(self) -> MemorySample:
            self.readings += 1
            spent[0] += 0.125  # 12.5 s have to pass before the next
            return exact(150.0)

    monkeypatch.setattr(memory_sampler.time, "thread_time", lambda: spent[0])
    memory = Memory()
    sampler = MemorySampler(memory, None, lambda: None)  # type: ignore[arg-type]
    for second in range(101):
        sampler.sample(USS, float(second), working=True)
    assert sampler.state.over == 1
    assert memory.readings == 8
    for second in (101, 102):  # batches that end count, and are exact
        sampler.batch_ended(USS, float(second))
    assert memory.readings == 10
    assert memory_watch.finding(sampler.state, USS) is not None
