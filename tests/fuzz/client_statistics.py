"""What must hold for whatever librdkafka's statistics say: names in them come from brokers."""

from swarm_consumer.client_statistics import ClientStatistics

PACKAGES = ["swarm_consumer.client_statistics"]
GOOD = '{"cgrp":{"join_state":"steady"},"topics":{"t":{"partitions":{"3":{"consumer_lag":5,"hi_offset":9}}}}}'


def check(data):
    """Raise if statistics that cannot be read do any harm, or are taken over in part."""
    statistics = ClientStatistics()
    statistics.update(GOOD, 1.0)
    before = dict(statistics.lags)
    statistics.update(data.decode("utf-8", "surrogateescape"), 2.0)
    for topic, partition in [*statistics.lags, *statistics.end_offsets, *statistics.received_bytes]:
        assert isinstance(topic, str)
        assert isinstance(partition, int)
    assert all(lag >= 0 for lag in statistics.lags.values())
    assert statistics.join_state_since in (1.0, 2.0)
    if statistics.lags is not before:
        statistics.update(GOOD, 3.0)
        assert statistics.lags == {("t", 3): 5}
        assert statistics.join_state == "steady"
