"""Back-off between attempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_consumer._scheduling.backoff import Backoff


def test_the_default_series_doubles_from_one_second_to_thirty():
    assert [Backoff().delay_s(failures) for failures in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


def test_there_is_no_delay_before_the_first_failure():
    with pytest.raises(ValueError, match="nothing to wait for"):
        Backoff().delay_s(0)


@given(first=st.floats(0, 100), most=st.floats(100, 10000), failures=st.integers(1, 10**6))
def test_it_never_shrinks_and_never_passes_its_maximum(first, most, failures):
    backoff = Backoff(first, most)
    assert 0 <= backoff.delay_s(failures) <= backoff.delay_s(failures + 1) <= most
