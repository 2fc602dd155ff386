"""Contract, lifecycle: stopping in every state, quiet, brokers that go and come. On both brokers unchanged."""

from __future__ import annotations

import re
import threading
import time

import pytest

from swarm_consumer import ConfigurationError, Consumer, Selection, check_cluster
from swarm_consumer.events import (
    DrainOverrun,
)

SOON = {"auto.commit.interval.ms": 50}
NEVER = {"auto.commit.interval.ms": 3600_000}


def numbers(count):
    return [{"number": number} for number in range(count)]


def test_a_handler_that_never_returns_costs_the_drain_timeout_and_no_other_progress(world):
    topic = world.topic(2)
    world.produce(topic, numbers(20), range(2))
    app = world.app(concurrency=2, kafka=NEVER)
    entered, release, other = threading.Event(), threading.Event(), threading.Event()

    @app.topic(topic)
    class Stuck(Consumer):
        def consume(self, messages):
            if self.partition == 1:
                other.set()
                return
            entered.set()
            release.wait(60)

    running = world.start(app, drain_timeout=2.0)
    assert entered.wait(30)
    assert other.wait(30)
    try:
        begun = time.monotonic()
        assert running.stop() == 4
        assert time.monotonic() - begun < 2.0 + 1.0 + 2.0  # the budget, the grace for close(), and a slow machine
        # How many of the ten a first poll brings is the client's affair.
        assert re.search(rf"{topic}\[0\] offsets 0 to \d: consume did not return", str(running.of(DrainOverrun)[0]))
        assert world.committed(topic) == {1: 10}
    finally:
        release.set()


def test_a_hook_that_never_returns_costs_the_drain_timeout_and_no_progress(world):
    topic = world.topic()
    world.produce(topic, numbers(5))
    app = world.app(kafka=NEVER)
    done, release = threading.Event(), threading.Event()

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            if messages.last_offset == 4:  # how many a first poll brings is the client's affair
                done.set()

        def shutdown(self):
            release.wait(60)

    running = world.start(app, drain_timeout=2.0)
    assert done.wait(30)
    try:
        assert running.stop() == 4
        assert world.committed(topic) == {0: 5}
    finally:
        release.set()


def test_orders_may_come_as_flags(world):
    topic = world.topic()
    world.produce(topic, numbers(5))
    app = world.app(kafka=SOON)
    app.consume(topic)(lambda messages: None)

    class Flag:
        def __init__(self):
            import os

            self.reader, self.writer = os.pipe()
            self._event = threading.Event()

        def set(self):
            import os

            self._event.set()
            os.write(self.writer, b"x")

        def is_set(self):
            return self._event.is_set()

        def wait(self, timeout=None):
            return self._event.wait(timeout)

        def fileno(self):
            return self.reader

    stopping, quieting = Flag(), Flag()
    running = world.start(app, stopping=stopping, quieting=quieting)
    world.await_committed(topic, {0: 5})
    quieting.set()
    running.wait_for(lambda: running.runtime.phase == "quiet")
    stopping.set()
    assert running.join() == 0
    assert world.committed(topic) == {0: 5}


def test_the_cluster_check_counts_partitions_and_takes_no_membership(world):
    topic = world.topic(3)
    app = world.app()
    app.consume(topic)(lambda messages: None)
    app.consume("^anything-.*", group=world.name("patterns"))(lambda messages: None)
    report = check_cluster(app, Selection(), 15.0)
    assert (report.reachable, report.error, report.property_errors) == (True, None, [])
    assert report.topics == {topic: 3}
    assert report.brokers
    assert world.committed(topic) == {}


def test_an_unknown_property_is_refused_in_the_clients_words_with_its_place(world):
    topic = world.topic()
    app = world.app(kafka={"fetch.wait.max.seconds": 3})
    app.consume(topic)(lambda messages: None)
    with pytest.raises(ConfigurationError, match=r'No such configuration property: "fetch.wait.max.seconds"') as caught:
        world.start(app).join()
    assert "fetch.wait.max.seconds is set in App(kafka=...)" in str(caught.value)
    assert "fetch.wait.max.seconds" in check_cluster(app, Selection(), 5.0).property_errors[0]
    assert world.committed(topic) == {}
