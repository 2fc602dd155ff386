"""A test of the orders app on the embedded broker: no Docker, no Java, a second."""

import threading

from orders import app

from swarm_consumer import Runtime
from swarm_consumer.testing import EmbeddedBroker, await_committed, produce, read_all


def test_totals(embedded_broker: EmbeddedBroker) -> None:
    """Every order gets its total."""
    embedded_broker.create_topic("orders", partitions=2)
    embedded_broker.create_topic("order-totals", partitions=2)
    app.override({**embedded_broker.client_settings(), "auto.commit.interval.ms": 100}, "the test")
    produce(embedded_broker.bootstrap, "orders", [{"number": n, "prices": [n, 0.5]} for n in range(10)])
    runtime = Runtime(app)
    thread = threading.Thread(target=runtime.run)
    thread.start()
    try:
        await_committed(embedded_broker.bootstrap, "totals", "orders")
    finally:
        runtime.stop()
        thread.join(timeout=30)
    totals = [record.value for record in read_all(embedded_broker.bootstrap, "order-totals")]
    assert sorted(totals) == [b'{"number":%d,"total":%d.5}' % (n, n) for n in range(10)]
