"""Contract, progress: what is handled, what is marked, and what the broker has of it. On both brokers unchanged."""

from __future__ import annotations

import msgspec
import pytest

from swarm_consumer import Consumer
from swarm_consumer.events import ClientError, Sought

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
    error = running.wait_for_event(ClientError, lambda event: event.fatal)
    assert error.code == "_AUTO_OFFSET_RESET"
    assert topic in error.reason
    assert "commit an existing offset" in error.reason
    assert seen == []
    assert running.join() == 1
    assert world.committed(topic) == {}


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


def test_a_seek_beyond_the_end_is_an_error_where_that_is_wanted(world):
    topic = world.topic()
    world.produce(topic, numbers(5))
    first = world.app()
    first.consume(topic)(lambda messages: None)
    running = world.start(first)
    running.wait_for(lambda: (world.committed(topic) or running.runtime.statistics()["messages"]) == 5)
    assert running.stop() == 0
    world.produce(topic, numbers(1))
    app = world.app(initial_offset="error")

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            self.seek(1000)

    running = world.start(app)
    error = running.wait_for_event(ClientError, lambda event: event.fatal)
    assert "seeks to offset 1000" in error.reason
    assert running.join() == 1
    assert world.committed(topic) == {0: 5}, "no place where no record has ever been"
