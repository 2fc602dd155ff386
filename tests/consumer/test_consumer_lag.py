"""The lag that is told of a partition: what the last statistics know, against how far the work has come by now."""

import json

from hypothesis import given
from hypothesis import strategies as st

from swarm_consumer.client_statistics import ClientStatistics

KEY = ("flights", 3)


def told(**partition):
    statistics = ClientStatistics()
    statistics.update(json.dumps({"topics": {KEY[0]: {"partitions": {str(KEY[1]): partition}}}}), 1.0)
    return statistics


def test_what_was_worked_off_since_the_statistics_is_no_lag():
    statistics = told(consumer_lag=2684, committed_offset=800, hi_offset=3484)
    assert statistics.lag(KEY, 800) == 2684
    assert statistics.lag(KEY, 3000) == 484
    assert statistics.lag(KEY, 3484) == 0
    assert statistics.lag(KEY, 3500) == 0, "handled what has come since: not a negative lag"


def test_an_open_transaction_is_no_lag():
    """Behind the last stable offset nothing can be read: the client tells its lag against that."""
    assert told(consumer_lag=5, committed_offset=10, hi_offset=40).lag(KEY, 15) == 0


def test_before_the_first_commit_the_end_of_the_log_counts():
    assert told(consumer_lag=-1, committed_offset=-1001, hi_offset=9).lag(KEY, 4) == 5


def test_before_the_first_message_the_clients_own_figure_stands():
    assert told(consumer_lag=7, committed_offset=2, hi_offset=9).lag(KEY, None) == 7


def test_what_nobody_knows_is_not_zero():
    assert ClientStatistics().lag(KEY, 5) is None
    assert told(consumer_lag=-1, committed_offset=-1001, hi_offset=-1001).lag(KEY, 5) is None


@given(
    committed=st.integers(0, 10**12), lag=st.integers(0, 10**9), positions=st.lists(st.integers(0, 10**12), min_size=2)
)
def test_work_never_raises_the_lag(committed, lag, positions):
    statistics = told(consumer_lag=lag, committed_offset=committed, hi_offset=committed + lag)
    lags = [statistics.lag(KEY, position) for position in sorted(positions)]
    assert lags == sorted(lags, reverse=True)
    assert min(lags) >= 0
