"""What must hold for whatever librdkafka's statistics say: names in them come from brokers."""

from swarm_consumer._connection.client_statistics import ClientStatistics

PACKAGES = ["swarm_consumer._connection.client_statistics"]
GOOD = (
    '{"cgrp":{"join_state":"steady","state":"up"},"brokers":{"b":{"source":"learned","state":"UP"}},'
    '"topics":{"t":{"partitions":{"3":{"hi_offset":9,"lo_offset":2,"next_offset":7,"rxbytes":5}}}}}'
)


def check(data):
    """Raise if statistics that cannot be read do any harm, or are taken over in part."""
    statistics = ClientStatistics()
    statistics.update(GOOD, 1.0)
    before = (dict(statistics._known), statistics.received(), statistics.brokers, statistics.join_state)
    statistics.update(data.decode("utf-8", "surrogateescape"), 2.0)
    for (topic, partition), known in statistics._known.items():
        assert isinstance(topic, str)
        assert isinstance(partition, int)
        assert partition >= 0
        for offset in (known.committed, known.start, known.end, known.fetched):
            assert offset is None or offset >= 0
    assert statistics.received_bytes(("t", 3)) >= 5, "a counter fell"
    assert statistics.join_state_since in (1.0, 2.0)
    if (dict(statistics._known), statistics.received(), statistics.brokers, statistics.join_state) != before:
        statistics.update(GOOD, 3.0)
        assert statistics.known(("t", 3)).end == 9
        assert statistics.join_state == "steady"
        assert statistics.brokers == (("learned", "UP"),)
