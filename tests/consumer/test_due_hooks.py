"""Hooks that are due: ticks under load, and hooks of partitions that have had no message."""

from __future__ import annotations

import threading
import time

from swarm_consumer import Consumer
from swarm_consumer.testing import Record, produce


def test_ticks_come_between_batches(embedded_broker, make_app, start, topic_name):
    """A partition with a backlog is at work nearly always: its ticks were left out."""
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 1)
    produce(embedded_broker.bootstrap, topic, [b"x"] * 2000)
    app = make_app(tick_interval=0.1, max_messages=10)
    ticks, begun, at_once = [], [], threading.Lock()

    @app.topic(topic, group=topic)
    class Handler(Consumer):
        def consume(self, messages):
            assert at_once.acquire(blocking=False)
            begun.append(time.monotonic())
            time.sleep(0.02)
            at_once.release()

        def tick(self):
            assert at_once.acquire(blocking=False), "tick() beside consume()"
            ticks.append(time.monotonic())
            at_once.release()

    running = start(app)
    running.wait_for(lambda: len(begun) >= 150, timeout=60)
    busy = begun[149] - begun[0]
    during = [at for at in ticks if begun[0] <= at <= begun[149]]
    assert len(during) >= min(busy / 0.1, 30) / 3, f"{len(during)} ticks in {busy:.1f} s"
    assert running.stop() == 0


def test_hooks_of_a_partition_without_a_message(embedded_broker, make_app, start, topic_name):
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 2)
    produce(embedded_broker.bootstrap, topic, [Record(b"1", partition=0)])
    app = make_app(tick_interval=0.2)
    calls = []

    @app.topic(topic, group=topic)
    class Handler(Consumer):
        def initialized(self):
            calls.append(("initialized", self.partition))

        def consume(self, messages):
            calls.append(("consume", self.partition))

        def eofed(self):
            calls.append(("eofed", self.partition))

        def tick(self):
            calls.append(("tick", self.partition))

        def shutdown(self):
            calls.append(("shutdown", self.partition))

    running = start(app)
    running.wait_for(lambda: {("eofed", 0), ("eofed", 1), ("tick", 0), ("tick", 1)} <= set(calls))
    assert running.stop() == 0
    assert next(name for name, partition in calls if partition == 1) == "initialized"
    assert calls.count(("initialized", 1)) == 1
    assert calls.count(("shutdown", 1)) == 1
