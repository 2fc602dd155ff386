"""How long a node waits before it is restarted, and which deaths are a crash loop."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_supervisor import SettingsError
from swarm_supervisor._core.restart_policy import (
    RestartHistory,
    after_excused_exit,
    after_unplanned_exit,
    expected,
)
from swarm_supervisor.settings import Settings


def test_the_delay_doubles_up_to_its_maximum_and_falls_back_when_stable():
    settings, history = Settings(max_restarts=100), RestartHistory()
    delays = [
        after_unplanned_exit(history, settings, stable=False, now=1000.0 * number, random=0.0) for number in range(6)
    ]
    assert [each.delay_s for each in delays] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert [each.attempt for each in delays] == [1, 2, 3, 4, 5, 6]
    again = after_unplanned_exit(history, settings, stable=True, now=9000.0, random=0.0)
    assert (again.delay_s, again.attempt, again.crash_loop) == (5.0, 1, False)


def test_a_crash_loop_is_told_once_and_again_after_a_stable_life():
    settings, history = Settings(max_restarts=3), RestartHistory()

    def told(stable, now):
        return after_unplanned_exit(history, settings, stable=stable, now=now, random=0.5).crash_loop

    assert [told(False, float(now)) for now in range(5)] == [False, False, True, False, False]
    assert told(True, 5.0) is True  # still within the window
    assert told(True, 5000.0) is False
    assert history.looping is False


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.0, 1e5), st.floats(0.0, 1.0, exclude_max=True)), max_size=60),
    st.floats(0.0, 50.0),
    st.integers(1, 7),
)
def test_a_delay_is_never_below_its_least_nor_above_its_most(exits, delay, most):
    settings = Settings(node_restart_delay=delay, restart_delay_max=60.0, max_restarts=most)
    history, now = RestartHistory(), 0.0
    for stable, gap, random in exits:
        now += gap
        verdict = after_unplanned_exit(history, settings, stable=stable, now=now, random=random)
        assert delay <= verdict.delay_s <= 60.0
        assert len(history.exits) <= most


def delays(settings, number=7, random=0.0):
    history = RestartHistory()
    return [
        after_unplanned_exit(history, settings, stable=False, now=1000.0 * each, random=random).delay_s
        for each in range(number)
    ]


def test_a_shorter_first_delay_comes_before_the_growing_ones():
    settings = Settings(max_restarts=100, first_restart_delay=0.0)
    assert delays(settings) == [0.0, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert delays(settings, 1, random=0.999) == [0.0]  # no jitter lifts a delay of nothing
    assert delays(Settings(max_restarts=100, first_restart_delay=0.5), 3) == [0.5, 5.0, 10.0]


def test_by_default_the_first_delay_is_that_of_every_restart():
    for settings in (Settings(max_restarts=100), Settings(max_restarts=100, first_restart_delay=5.0)):
        assert delays(settings, 4) == [5.0, 10.0, 20.0, 40.0]
    assert delays(Settings(max_restarts=100, node_restart_delay=1.0), 3) == [1.0, 2.0, 4.0]


def test_a_stable_node_is_restarted_after_the_first_delay_again():
    settings, history = Settings(max_restarts=100, first_restart_delay=0.0), RestartHistory()
    for _ in range(4):
        after_unplanned_exit(history, settings, stable=False, now=0.0, random=0.5)
    assert after_unplanned_exit(history, settings, stable=True, now=1.0, random=0.5).delay_s == 0.0


def test_a_first_delay_that_is_longer_than_the_next_ones_is_refused():
    with pytest.raises(SettingsError, match=r"first_restart_delay \(6 s\) must not be above"):
        Settings(first_restart_delay=6.0)


exits = st.lists(
    st.tuples(st.sampled_from(["stable", "young", "explained", "stable, explained"]), st.floats(0.0, 1e3),
              st.floats(0.0, 1.0, exclude_max=True)), max_size=60,
)  # fmt: skip


@given(exits, st.floats(0.0, 50.0), st.none() | st.floats(0.0, 1.0), st.integers(1, 7))
def test_every_delay_follows_from_the_deaths_that_count(exits, delay, share, most):
    """Explained deaths change nothing for the others, and a delay is known in advance, but for the random part."""
    first = None if share is None else delay * share
    settings = Settings(node_restart_delay=delay, first_restart_delay=first, restart_delay_max=60.0, max_restarts=most)
    least = delay if first is None else first
    history, without, now = RestartHistory(), RestartHistory(), 0.0
    for what, gap, random in exits:
        now += gap
        stable = what.startswith("stable")
        if what.endswith("explained"):
            before = history.looping
            verdict = after_excused_exit(history, settings, stable=stable, now=now, random=random)
            assert before or not history.looping
            assert (verdict.attempt, verdict.crash_loop) == (0, False)
            assert least <= verdict.delay_s <= (60.0 if history.looping else least * 1.1 + 1e-9)
            without.row, without.looping = history.row, history.looping  # its end by time, or by a stable life
        else:
            told = expected(history, settings, stable=stable, now=now)
            verdict = after_unplanned_exit(history, settings, stable=stable, now=now, random=random)
            same = after_unplanned_exit(without, settings, stable=stable, now=now, random=random)
            assert verdict == same
            assert (told.attempt, told.crash_loop) == (verdict.attempt, verdict.crash_loop)
            assert told.delay_s * 0.9 - 1e-9 <= verdict.delay_s <= told.delay_s * 1.1 + 1e-9
            assert (least if history.row == 1 and not history.looping else delay) <= verdict.delay_s <= 60.0
        assert len(history.exits) <= most


def test_a_crash_loop_ends_with_its_window_also_for_a_death_that_is_explained():
    settings, history = Settings(max_restarts=2, first_restart_delay=0.0), RestartHistory()
    assert after_unplanned_exit(history, settings, stable=True, now=0.0, random=0.0).delay_s == 0.0
    assert after_unplanned_exit(history, settings, stable=True, now=1.0, random=0.0).crash_loop
    assert after_excused_exit(history, settings, stable=False, now=599.0, random=0.0).delay_s == 60.0
    assert after_excused_exit(history, settings, stable=False, now=600.0, random=0.0).delay_s == 0.0
    assert not history.looping


def test_what_is_expected_is_not_recorded():
    history = RestartHistory(2, deque([1.0, 2.0]), False)
    expected(history, Settings(), stable=True, now=3.0)
    assert history == RestartHistory(2, deque([1.0, 2.0]), False)
