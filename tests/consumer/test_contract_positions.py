"""Contract, progress: what is handled, what is marked, and what the broker has of it. On both brokers unchanged."""

from __future__ import annotations

import threading

import msgspec
import pytest

from swarm_consumer import Consumer
from swarm_consumer.events import ClientError, Sought
from swarm_consumer.testing.outside_client import Record

NEVER = {"auto.commit.interval.ms": 3600_000}
SOON = {"auto.commit.interval.ms": 50}


class Flight(msgspec.Struct):
    number: int


def numbers(count):
    return [{"number": number} for number in range(count)]


def test_metadata_travels_with_the_offset(world):
    topic = world.topic()
    world.produce(topic, numbers(3))
    app = world.app(kafka=NEVER, manual_marking=True)
    read = []

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            self.mark_as_consumed(messages[-1], metadata="as far as the hangar", blocking=True)
            read.append(self.offset_metadata())

    running = world.start(app)
    running.wait_for(lambda: read)
    assert read == ["as far as the hangar"]
    assert running.stop() == 0
    assert world.committed(topic) == {0: 3}


def test_a_message_of_another_partition_cannot_be_marked(world):
    topic = world.topic(2)
    world.produce(topic, numbers(10), range(2))
    app = world.app(manual_marking=True)
    kept, refused = {}, []

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            kept[self.partition] = messages[0]
            other = kept.get(1 - self.partition)
            if other is not None:
                with pytest.raises(ValueError, match="does not belong to"):
                    self.mark_as_consumed(other)
                refused.append(self.partition)

    running = world.start(app)
    running.wait_for(lambda: refused)
    assert running.stop() == 0
    assert world.committed(topic) == {}


def test_a_group_without_offsets_says_so_when_told_to_take_that_as_an_error(world):
    topic = world.topic()
    world.produce(topic, numbers(5))
    app = world.app(initial_offset="error")
    seen = []
    app.consume(topic)(lambda messages: seen.extend(messages))
    running = world.start(app)
    error = running.wait_for_event(ClientError)
    assert error.code == "_AUTO_OFFSET_RESET"
    assert topic in error.reason
    assert seen == []
    assert running.stop() == 0
    assert world.committed(topic) == {}


def test_a_handler_that_has_seen_the_stop_marks_only_what_it_marks(world):
    topic = world.topic()
    world.produce(topic, numbers(10))
    app = world.app()
    entered = threading.Event()

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            for message in messages:
                if message.offset == 3:
                    entered.set()
                    while not self.is_stopping:
                        threading.Event().wait(0.01)
                if self.is_stopping:
                    return
                self.mark_as_consumed(message)

    running = world.start(app)
    assert entered.wait(30)
    assert running.stop() == 0
    assert world.committed(topic) == {0: 3}


def test_a_seek_back_repeats_and_moves_the_committed_offset_back(world):
    topic = world.topic()
    world.produce(topic, numbers(6))
    app = world.app(kafka=SOON, max_messages=3)
    seen = []
    release = threading.Event()

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            seen.append((messages.first_offset, messages.last_offset))
            if len(seen) == 2:
                self.seek(1)
            if len(seen) == 3:
                assert release.wait(30)

    running = world.start(app)
    running.wait_for(lambda: len(seen) == 3)
    running.wait_for(lambda: world.committed(topic) == {0: 1}, what="the commit of the position sought")
    release.set()
    world.await_committed(topic, {0: 6})
    assert seen == [(0, 2), (3, 5), (1, 3), (4, 5)]
    assert str(running.wait_for_event(Sought)) == f"{topic}[0]: goes on at 1"
    assert running.stop() == 0


def test_a_seek_forward_passes_over_what_lies_between(world):
    topic = world.topic()
    world.produce(topic, numbers(10))
    app = world.app(max_messages=2)
    seen = []

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            seen.extend(message.offset for message in messages)
            if messages.first_offset == 0:
                self.seek(8)

    running = world.start(app)
    running.wait_for(lambda: seen == [0, 1, 8, 9])
    assert running.stop() == 0
    assert world.committed(topic) == {0: 10}


def test_a_seek_to_the_beginning_starts_over(world):
    topic = world.topic()
    world.produce(topic, numbers(4))
    app = world.app()
    seen = []

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            seen.extend(message.offset for message in messages)
            if len(seen) == 4:
                self.seek("earliest")

    running = world.start(app)
    running.wait_for(lambda: seen == [0, 1, 2, 3] * 2)
    assert running.stop() == 0
    assert world.committed(topic) == {0: 4}


def test_a_seek_to_the_end_leaves_the_backlog_behind(world):
    topic = world.topic()
    world.produce(topic, numbers(50))
    app = world.app(max_messages=5, kafka=SOON)
    seen = []

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            seen.extend(message.offset for message in messages)
            if messages.first_offset == 0:
                self.seek("latest")

    running = world.start(app)
    running.wait_for_event(Sought)
    world.produce(topic, numbers(2))
    running.wait_for(lambda: 51 in seen)
    world.await_committed(topic, {0: 52})
    assert seen[:5] == [0, 1, 2, 3, 4]
    assert min(seen[5:]) >= 50
    assert running.stop() == 0


def test_a_seek_is_forgotten_when_the_handler_fails_after_all(world):
    topic = world.topic()
    world.produce(topic, numbers(4))
    app = world.app(retry_backoff=0.05)
    seen = []

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            seen.append((self.attempt, messages.first_offset))
            if self.attempt == 1:
                self.seek(3)
                raise RuntimeError("no")

    running = world.start(app)
    running.wait_for(lambda: len(seen) == 2)
    assert running.stop() == 0
    assert seen == [(1, 0), (2, 0)]
    assert running.of(Sought) == []
    assert world.committed(topic) == {0: 4}


def test_a_seek_to_a_time_goes_to_the_first_message_from_then_on(real_world):
    world = real_world
    import datetime

    topic = world.topic()
    start = 1_700_000_000_000
    world.produce(topic, [Record(b"x", partition=0, timestamp_ms=start + 1000 * number) for number in range(10)])
    app = world.app(max_messages=2)
    seen = []

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            seen.extend(message.offset for message in messages)
            if messages.first_offset == 0:
                self.seek(datetime.datetime.fromtimestamp((start + 6500) / 1000, datetime.UTC))

    running = world.start(app)
    running.wait_for(lambda: seen == [0, 1, 7, 8, 9])
    assert running.stop() == 0
    assert world.committed(topic) == {0: 10}


def test_a_selection_runs_only_its_part(world):
    from swarm_consumer import Selection

    wanted, other = world.topic(), world.topic()
    world.produce(wanted, numbers(2))
    world.produce(other, numbers(2))
    app = world.app(kafka=SOON)
    app.consume(wanted)(lambda messages: None)
    app.consume(other)(lambda messages: pytest.fail("this topic is not selected"))
    running = world.start(app, selection=Selection(exclude_topics=[other]))
    world.await_committed(wanted, {0: 2})
    assert running.stop() == 0
    assert world.committed(other) == {}
