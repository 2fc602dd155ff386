"""Where partitions begin: beyond the end of a shorter log, and without any committed offset. On both brokers."""

from __future__ import annotations

import threading

from confluent_kafka import Consumer as PlainConsumer
from confluent_kafka import TopicPartition

from swarm_consumer import Consumer
from swarm_consumer.events import Assigned, BatchFailed

NEVER = {"auto.commit.interval.ms": 3600_000}


def commit_from_outside(world, topic, offset):
    client = PlainConsumer({"bootstrap.servers": world.bootstrap, "group.id": world.group})
    client.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    client.close()


def test_a_committed_offset_beyond_the_end_is_taken_back(world):
    """A restored cluster, a topic made anew: what is handled from the reset on is committed."""
    topic = world.topic()
    world.produce(topic, [b"%d" % number for number in range(20)], partition=0)
    commit_from_outside(world, topic, 300)
    app = world.app(kafka={"auto.commit.interval.ms": 100}, max_messages=5)
    seen = []
    app.consume(topic)(lambda messages: seen.extend(message.offset for message in messages))
    running = world.start(app)
    running.wait_for(lambda: world.committed(topic) == {0: 20})
    assert seen == list(range(20))
    assert running.stop() == 0
    assert world.committed(topic) == {0: 20}


def test_the_commit_that_goes_back_is_made_before_the_first_automatic_one(world):
    """A node that is killed before any automatic commit must not leave the old offset to its successor."""
    topic = world.topic()
    world.produce(topic, [b"%d" % number for number in range(20)], partition=0)
    commit_from_outside(world, topic, 300)
    app = world.app(kafka=NEVER, max_messages=5)
    entered, leave = threading.Event(), threading.Event()

    @app.consume(topic)
    def handle(messages):
        entered.set()
        assert leave.wait(60)

    running = world.start(app)
    assert entered.wait(60)
    running.wait_for(lambda: world.committed(topic) == {0: 0})
    leave.set()
    assert running.stop() == 0
    assert world.committed(topic)[0] in range(5, 21)


def test_latest_skips_nothing_that_was_handed_out(world):
    """The end at which a group begins is committed at once: its successor begins there too."""
    topic = world.topic()
    world.produce(topic, [b"old"], partition=0)
    app = world.app(kafka=NEVER, initial_offset="latest", retry_backoff=60.0, retry_backoff_max=60.0)

    @app.consume(topic)
    def fail(messages):
        raise ConnectionError("the database is away")

    running = world.start(app)
    running.wait_for_event(Assigned, lambda event: event.partitions)
    world.await_committed(topic, {0: 1})
    world.produce(topic, [b"important"], partition=0)
    running.wait_for_event(BatchFailed)
    assert running.stop() == 0
    again = world.app(initial_offset="latest")
    seen = []
    again.consume(topic)(lambda messages: seen.extend(messages.raw_payloads()))
    running = world.start(again)
    running.wait_for(lambda: seen)
    assert seen == [b"important"]
    assert running.stop() == 0


def test_a_seek_beyond_the_end_skips_nothing_of_the_log_that_is_there(world):
    topic = world.topic()
    world.produce(topic, [b"%d" % number for number in range(20)], partition=0)
    app = world.app(kafka=NEVER, max_messages=5, retry_backoff=0.05, retry_backoff_max=0.05)
    sought, failed, seen = [], set(), []

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            if not sought:
                sought.append(self.seek(1000))
                return
            for message in messages:
                if message.offset in (7, 13) and message.offset not in failed:
                    failed.add(message.offset)
                    raise RuntimeError("once")
                seen.append(message.offset)

    running = world.start(app)
    running.wait_for(lambda: len(set(seen)) == 20)
    assert running.stop() == 0
    assert world.committed(topic) == {0: 20}


def test_without_an_answer_the_first_record_says_where_the_partition_begins(world, monkeypatch):
    """A coordinator that loads does not say in time what is committed; the same must hold then."""
    from swarm_consumer._connection import starts

    monkeypatch.setattr(starts, "committed", lambda client, keys: {})
    topic = world.topic()
    world.produce(topic, [b"%d" % number for number in range(20)], partition=0)
    commit_from_outside(world, topic, 300)
    app = world.app(kafka=NEVER, max_messages=5)
    entered, leave = threading.Event(), threading.Event()

    @app.consume(topic)
    def handle(messages):
        entered.set()
        assert leave.wait(60)

    running = world.start(app)
    assert entered.wait(60)
    running.wait_for(lambda: world.committed(topic) == {0: 0})
    leave.set()
    assert running.stop() == 0
