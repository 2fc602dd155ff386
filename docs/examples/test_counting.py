"""A test of a whole app on the embedded broker."""

import threading

from swarm_consumer import App, Runtime
from swarm_consumer.testing import await_committed, produce


def test_orders_are_counted(embedded_broker, topic_name):
    topic, counted = topic_name("orders"), []
    embedded_broker.create_topic(topic, partitions=4)
    produce(embedded_broker.bootstrap, topic, [{"id": 1}, {"id": 2}])
    app = App("counter", kafka={**embedded_broker.client_settings(), "auto.commit.interval.ms": 100})
    app.consume(topic, group="counting")(lambda messages: counted.extend(messages.raw_payloads()))
    runtime = Runtime(app)
    thread = threading.Thread(target=runtime.run)
    thread.start()
    await_committed(embedded_broker.bootstrap, "counting", topic, timeout_s=10)
    runtime.stop()
    thread.join()
    assert sorted(counted) == [b'{"id":1}', b'{"id":2}']
