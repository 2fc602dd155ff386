"""How often garbage is looked for: raised while a runtime runs, an application's own choice respected, put back."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_consumer._running.collection import LEAST, spared, young_threshold
from swarm_consumer.testing import run_messages


@pytest.fixture(autouse=True)
def thresholds():
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_only_pythons_own_threshold_is_raised(present, in_flight):
    chosen = young_threshold(present, in_flight)
    if present in (700, 2000):
        assert chosen >= LEAST
        assert chosen >= 8 * in_flight
    else:
        assert chosen == present


def test_what_was_is_put_back():
    gc.set_threshold(700, 10, 10)
    with spared(5000):
        assert gc.get_threshold() == (40_000, 10, 10)
    assert gc.get_threshold() == (700, 10, 10)


def test_a_choice_of_the_application_stays():
    for chosen in ((0, 10, 10), (123, 4, 5), (50_000, 20, 50)):
        gc.set_threshold(*chosen)
        with spared(5000):
            assert gc.get_threshold() == chosen
        assert gc.get_threshold() == chosen
    gc.set_threshold(700, 10, 10)
    with spared(1):
        gc.set_threshold(999, 10, 10)
    assert gc.get_threshold() == (999, 10, 10)


def test_a_runtime_spares_its_messages_the_look_and_puts_back_what_was():
    gc.set_threshold(700, 10, 10)
    seen = []
    run_messages(lambda batch: seen.append(gc.get_threshold()[0]), range(10), max_messages=5000)
    assert seen == [max(LEAST, 8 * 3 * 5000)]
    assert gc.get_threshold() == (700, 10, 10)
