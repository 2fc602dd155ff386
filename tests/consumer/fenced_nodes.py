"""Program of test_broker_loss.py: four nodes behind a proxy; the cluster is fenced for a moment until one is lost.

The broker stands still, so that several Metadata requests wait, then its answers name no broker for half a second. That
is a race inside of librdkafka: four clients at once lose it within a few rounds.
"""

import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from swarm_consumer import App, Runtime
from swarm_consumer._connection import broker_loss
from swarm_consumer.testing import EmbeddedBroker
from tests.consumer.kafka_proxy import KafkaProxy

broker_loss.NOT_UP_S, broker_loss.SETTLED_S = 4.0, 1.5
DEADLINE = time.monotonic() + 90


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


with EmbeddedBroker() as broker:
    broker.create_topic("flights", 4)
    proxy = KafkaProxy(int(broker.bootstrap.rpartition(":")[2]))
    nodes, codes = [], {}
    for number in range(4):
        properties = {
            **broker.client_settings(sys.argv[1]),
            "bootstrap.servers": proxy.bootstrap,
            "statistics.interval.ms": 300,
            "topic.metadata.refresh.interval.ms": 100,
            "log_level": 0,
        }
        app = App("flights", properties)
        app.consume("flights")(lambda messages: None)
        runtime = Runtime(app, drain_timeout=3.0)
        nodes.append(runtime)
        run = lambda number=number, runtime=runtime: codes.update({number: runtime.run()})  # noqa: E731
        threading.Thread(target=run, daemon=True).start()
    assert until(
        lambda: all(node._connections and node._connections[0].statistics.group_state == "up" for node in nodes), 30
    )
    while not codes and time.monotonic() < DEADLINE:
        proxy.stalled = True
        time.sleep(1.0)
        proxy.fenced, proxy.stalled = True, False
        time.sleep(0.5)
        proxy.fenced = False
        until(lambda: codes, 7.0)  # a client that finds its way back does so within a second or two
    for number, code in codes.items():
        print(f"node {number}: run() returned {code}: {nodes[number].fatal_error()}", flush=True)
    print(f"{proxy.answers_without_brokers} answers named no broker", flush=True)
    broker.close()
    os._exit(0 if codes else 1)
