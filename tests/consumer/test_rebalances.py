"""What becomes of partitions that go and come: pauses, hooks, budgets, and a stop in the middle."""

from __future__ import annotations

import threading
import time

import pytest

from swarm_consumer import Consumer
from swarm_consumer.events import (
    Assigned,
    BatchFinished,
    ErrorOccurred,
    Lost,
    PartitionPaused,
    RevocationOverrun,
    Revoked,
)
from swarm_consumer.testing import Record, committed_offsets, produce
from tests.consumer.notebook import Notebook


def spread(bootstrap, topic, count, partitions=2):
    produce(bootstrap, topic, [Record(b"%d" % number, partition=number % partitions) for number in range(count)])


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_partition_that_left_paused_is_fetched_when_it_is_back(
    protocol, embedded_broker, make_app, start, topic_name
):
    """librdkafka keeps an application's pause over unassign and assign; the lane that is new knows nothing of it."""
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 2)
    spread(embedded_broker.bootstrap, topic, 400)
    gate, handled = threading.Event(), set()
    app = make_app(protocol, max_messages=5, max_held_messages=10, concurrency=2)

    @app.consume(topic, group=topic)
    def handle(messages):
        assert gate.wait(60)
        handled.update((message.partition, message.offset) for message in messages)

    running = start(app)
    running.wait_for(lambda: len(running.of(PartitionPaused)) >= 2)
    other = make_app(protocol, max_messages=5)
    other.consume(topic, group=topic)(
        lambda messages: handled.update((message.partition, message.offset) for message in messages)
    )
    second = start(other)
    (connection,) = running.runtime._connections
    running.wait_for(lambda: any(one.revoking for one in list(connection.partitions.by_key.values())))
    gate.set()
    second.wait_for_event(Assigned, lambda event: event.partitions)
    assert second.stop() == 0
    running.wait_for(lambda: len(handled) == 400, what="every record, also of the partition that came back")
    assert running.stop() == 0


def test_a_partition_that_was_lost_paused_is_fetched_when_it_is_back(embedded_broker, make_app, start, topic_name):
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 2)
    spread(embedded_broker.bootstrap, topic, 400)
    gate, handled = threading.Event(), set()
    app = make_app("classic", max_messages=5, max_held_messages=10, concurrency=2)

    @app.consume(topic, group=topic)
    def handle(messages):
        assert gate.wait(60)
        handled.update((message.partition, message.offset) for message in messages)

    running = start(app)
    running.wait_for(lambda: len(running.of(PartitionPaused)) >= 2)
    embedded_broker.inject_errors("Heartbeat", ["UNKNOWN_MEMBER_ID"])
    running.wait_for_event(Lost)
    gate.set()
    running.wait_for(lambda: len(handled) == 400, what="every record")
    assert running.stop() == 0


def test_revoked_is_called_when_the_handler_of_a_lost_partition_returns(embedded_broker, make_app, start, topic_name):
    """And before the partition's next assignment is worked on: what the hook frees must be free by then."""
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 1)
    produce(embedded_broker.bootstrap, topic, [b"1", b"2"])
    calls, gate = [], threading.Event()
    app = make_app("classic")

    @app.topic(topic, group=topic)
    class Handler(Consumer):
        def initialized(self):
            calls.append("initialized")

        def consume(self, messages):
            calls.append("consume")
            assert gate.wait(60)

        def revoked(self):
            time.sleep(0.3)
            calls.append("revoked")

    running = start(app)
    running.wait_for(lambda: "consume" in calls)
    embedded_broker.inject_errors("Heartbeat", ["UNKNOWN_MEMBER_ID"])
    running.wait_for_event(Lost)
    running.wait_for(lambda: len(running.of(Assigned)) == 2)
    gate.set()
    running.wait_for(lambda: calls.count("consume") == 2)
    assert calls == ["initialized", "consume", "revoked", "initialized", "consume"]
    assert running.stop() == 0


def two_members(embedded_broker, make_app, start, topic, budget, *, memory=None, **settings):
    """Have a second member join while the first one's handler of one partition is at work, and return the first."""
    embedded_broker.create_topic(topic, 2)
    spread(embedded_broker.bootstrap, topic, 20)
    gate, busy = threading.Event(), threading.Event()
    app = make_app(kafka={"auto.commit.interval.ms": 3600_000}, concurrency=2, **settings)

    @app.consume(topic, group=topic)
    def handle(messages):
        if messages.partition == 1:
            busy.set()
            gate.wait(60)

    running = start(app, drain_timeout=budget, memory=memory)
    assert busy.wait(60)
    running.wait_for_event(BatchFinished)
    other = make_app()
    other.consume(topic, group=topic)(lambda messages: None)
    start(other)
    return running, gate


def test_a_stop_during_a_revocation_keeps_its_own_time(embedded_broker, make_app, start, topic_name):
    """It waited for the revocation's 30 s: the connection was given up, and what other partitions had done with it."""
    topic, memory = topic_name("flights"), Notebook()
    running, gate = two_members(embedded_broker, make_app, start, topic, 5.0, memory=memory)
    (connection,) = running.runtime._connections
    running.wait_for(lambda: any(one.revoking for one in list(connection.partitions.by_key.values())))
    begun = time.monotonic()
    code = running.stop(timeout=25)
    took = time.monotonic() - begun
    gate.set()
    assert code == 4  # the handler did not return
    assert took < 20
    assert not running.of(ErrorOccurred)
    assert committed_offsets(embedded_broker.bootstrap, topic, topic).get(0) == 10
    assert (topic, 1) in memory.notes
    assert not any(note.runs_on for _, note in memory.written)  # the next owner waits to hear how it ended


@pytest.mark.parametrize(
    "settings", [{"revocation_timeout": 0.5}, {"long_running": True, "consuming_ttl": 600.0}], ids=["set", "long"]
)
def test_a_long_job_does_not_hold_its_group_up(settings, embedded_broker, make_app, start, topic_name):
    """A revocation waited its 30 s for handlers that take minutes by design."""
    topic, memory = topic_name("flights"), Notebook()
    app_wide = settings.pop("revocation_timeout", None)
    running, gate = two_members(
        embedded_broker, make_app, start, topic, 3.0, memory=memory, revocation_timeout=app_wide, **settings
    )
    overrun = running.wait_for_event(RevocationOverrun, timeout=60)
    note = memory.notes[topic, 1]
    assert (note.in_hand is not None, note.runs_on) == (True, True)  # the next owner waits for no word of its end
    gate.set()
    assert overrun.waited_s < 20
    running.wait_for_event(Revoked)
    running.stop()


def test_an_assigned_topic_that_no_route_has_is_told(embedded_broker, make_app, start, topic_name):
    """librdkafka's and Python's regular expressions differ: such a partition was assigned and dropped."""
    name = topic_name("flights")
    embedded_broker.create_topic(f"{name}-7", 1)
    app = make_app("classic")
    # In GNU's expressions this begins a text, for Python it is a backtick.
    app.consume(f"^\\`{name}-7", group=name)(lambda messages: None)
    app.consume(f"^{name}-other", group=name)(lambda messages: None)
    running = start(app)
    told = running.wait_for_event(ErrorOccurred)
    assert told.where == "assignment"
    assert f"{name}-7" in str(told.error)
    assert "Declare the topic" in str(told.error)
    assert running.stop() == 0
