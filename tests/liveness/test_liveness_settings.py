import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm_liveness import LivenessListener, LivenessSettingsError
from swarm_liveness.settings import Limits, check_against_supervisor, check_intervals

NAMES = ("memory_limit", "consuming_ttl", "polling_ttl", "stability_ttl")
BAD = st.one_of(
    st.floats(max_value=0.0), st.just(math.nan), st.just(math.inf), st.integers(max_value=0), st.booleans(), st.text()
)


@settings(deadline=None)
@given(st.sampled_from(NAMES), BAD)
def test_a_limit_that_is_no_positive_number_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(LivenessSettingsError) as caught:
        LivenessListener(**{name: value})
    assert str(caught.value).startswith(f"{name} is {value!r}: give a number")


@pytest.mark.parametrize("name", ["liveness_interval", "statistics_interval"])
@pytest.mark.parametrize("value", [0, -1, math.nan, True])
def test_an_interval_that_is_no_positive_number_is_refused(name: str, value: float) -> None:
    with pytest.raises(LivenessSettingsError, match=f"{name} is"):
        LivenessListener(**{name: value})


def test_an_unknown_metric_is_refused_with_the_choices() -> None:
    with pytest.raises(LivenessSettingsError, match="choose one of uss, pss, rss"):
        LivenessListener(100, memory_metric="vms")  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.sampled_from(NAMES[1:]), st.floats(min_value=0.01, max_value=1e6), st.floats(min_value=0.01, max_value=1e6))
def test_a_ttl_below_the_report_interval_is_refused_with_the_difference(name: str, ttl: float, interval: float) -> None:
    limits = Limits(**{name: ttl})
    if ttl >= interval:
        check_intervals(limits, interval, 1.0)
        return
    with pytest.raises(LivenessSettingsError) as caught:
        check_intervals(limits, interval, 1.0)
    assert name in str(caught.value)
    assert f"by {interval - ttl:g} s" in str(caught.value)


def test_an_rss_limit_below_the_supervisor_itself_is_refused() -> None:
    limits = Limits(memory_limit=100, memory_metric="rss")
    check_against_supervisor(limits, 99.0)
    with pytest.raises(LivenessSettingsError, match=r"supervisor itself has 129 MB.*memory_metric='uss'"):
        check_against_supervisor(limits, 129.0)
    check_against_supervisor(Limits(memory_limit=100, memory_metric="uss"), 129.0)


def test_the_check_before_the_fork_reads_this_process() -> None:
    with pytest.raises(LivenessSettingsError, match="the supervisor itself has"):
        LivenessListener(1, memory_metric="rss").before_fork()
    LivenessListener(1, memory_metric="uss").before_fork()
    LivenessListener(1_000_000, memory_metric="rss").before_fork()
