"""Contract, output: what handlers produce, acknowledged before progress. On both brokers unchanged."""

from __future__ import annotations

import msgspec
import pytest

from swarm_consumer import Consumer, DeliveryError
from swarm_consumer.events import BatchFailed, BatchFinished

SOON = {"auto.commit.interval.ms": 20}


class Flight(msgspec.Struct):
    number: int


def numbers(count):
    return [{"number": number} for number in range(count)]


def test_an_unknown_output_topic_fails_the_batch_and_a_later_one_makes_it_good(world):
    topic, out = world.topic(), world.name("later")
    world.produce(topic, numbers(2))
    app = world.app(
        kafka={**SOON, "topic.metadata.propagation.max.ms": 100, "topic.metadata.refresh.interval.ms": 200},
        producer={"message.timeout.ms": 1500, "allow.auto.create.topics": False},
        retry_backoff=0.1,
    )

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            self.produce(out, b"x", partition=0)

    running = world.start(app)
    failure = running.wait_for_event(BatchFailed)
    assert isinstance(failure.error, DeliveryError)
    assert world.committed(topic) == {}
    world.topic(1, out)
    world.await_committed(topic, {0: 2})
    assert len(world.read(out)) >= 1
    assert running.stop() == 0


def test_the_marked_part_counts_when_its_output_arrived_and_the_rest_failed(world):
    topic, out = world.topic(), world.topic()
    world.produce(topic, numbers(10))
    app = world.app(kafka=SOON, producer={"linger.ms": 100}, retry_backoff=0.05)
    starts = []

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            starts.append(messages.first_offset)
            for message in messages:
                if message.offset == 6 and self.attempt == 1:
                    raise RuntimeError("half-way")
                self.produce(out, b"%d" % message.offset)
                self.mark_as_consumed(message)

    running = world.start(app)
    world.await_committed(topic, {0: 10})
    assert starts == [0, 6], [str(event) for event in running.of(BatchFailed)]
    assert [record.value for record in world.read(out)] == [b"%d" % number for number in range(10)]
    assert running.stop() == 0


def test_output_of_shutdown_and_of_ticks_is_sent_before_the_end(world):
    topic, out = world.topic(), world.topic()
    world.produce(topic, numbers(3))
    app = world.app(producer={"linger.ms": 500}, tick_interval=0.05)

    @app.topic(topic)
    class Handler(Consumer):
        ticked = False

        def consume(self, messages):
            self.total = len(messages)

        def tick(self):
            if not self.ticked:
                self.ticked = True
                self.produce(out, b"tick")

        def shutdown(self):
            self.produce(out, b"total %d" % self.total)

    running = world.start(app)
    running.wait_for(lambda: world.end(out) == {0: 1}, what="the tick's record")
    running.wait_for_event(BatchFinished)
    assert running.stop() == 0
    assert [record.value for record in world.read(out)] == [b"tick", b"total 3"]
    assert world.committed(topic) == {0: 3}


def test_a_transaction_ties_output_and_progress_and_an_aborted_one_leaves_neither(real_world):
    world = real_world
    topic, out = world.topic(), world.topic()
    world.produce(topic, numbers(10))
    app = world.app(
        kafka={"auto.commit.interval.ms": 3600_000},
        producer={"transactional.id": world.name("transactions")},
        retry_backoff=0.05,
    )
    looked = []

    @app.topic(topic, payload=Flight)
    class Handler(Consumer):
        def consume(self, messages):
            with self.transaction():
                for message in messages:
                    self.produce(out, b"%d.%d" % (self.attempt, message.payload.number))
                    if message.offset == 7 and self.attempt == 1:
                        raise RuntimeError("half-way")
            looked.append((world.committed(topic), world.read(out)))

    running = world.start(app, node_id=3)
    world.await_committed(topic, {0: 10})
    assert looked == [({}, [])], "without a mark it is committed when the batch is done"
    assert [record.value for record in world.read(out)] == [b"2.%d" % number for number in range(10)]
    assert running.stop() == 0


def test_marks_inside_a_transaction_say_how_far_it_goes(real_world):
    world = real_world
    topic, out = world.topic(), world.topic()
    world.produce(topic, numbers(10))
    app = world.app(
        kafka={"auto.commit.interval.ms": 3600_000},
        producer={"transactional.id": world.name("transactions")},
        manual_marking=True,
    )
    looked = []

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            for message in messages:
                if message.offset < 4:
                    with self.transaction():
                        self.produce(out, message.raw_payload)
                        self.mark_as_consumed(message, metadata=f"m{message.offset}")
                    looked.append((world.committed(topic), self.offset_metadata()))

    running = world.start(app)
    running.wait_for(lambda: len(looked) == 4)
    assert looked == [({0: offset + 1}, f"m{offset}") for offset in range(4)]
    assert running.stop() == 0
    assert world.committed(topic) == {0: 4}


def test_a_poison_message_is_dead_lettered_in_a_transaction_when_the_producer_has_them(real_world):
    from swarm_consumer import DeadLetters

    world = real_world
    topic, dead = world.topic(), world.topic()
    world.produce(topic, numbers(3))
    app = world.app(kafka=SOON, producer={"transactional.id": world.name("transactions")}, retry_backoff=0.02)

    @app.consume(topic, dead_letters=DeadLetters(topic=dead, max_retries=0))
    def handle(messages):
        if any(message.offset == 1 for message in messages):
            raise ValueError("one")

    running = world.start(app)
    world.await_committed(topic, {0: 3})
    assert [record.value for record in world.read(dead)] == [b'{"number":1}']
    assert running.stop() == 0


def test_the_producer_ends_with_its_node_and_says_so_to_whoever_still_uses_it(world):
    source, target = world.topic(), world.topic()
    world.produce(source, [{"number": 1}])
    app = world.app(kafka=SOON)
    producers = []

    @app.topic(source)
    class Handler(Consumer):
        def consume(self, messages):
            producers.append(self.producer)
            self.produce(target, b"in time")

    running = world.start(app)
    world.await_committed(source, {0: 1})
    assert running.stop() == 0
    with pytest.raises(DeliveryError, match="the node has stopped"):
        producers[0].produce(target, b"too late")
    assert not producers[0].used  # and its threads are gone: every test here looks at that
    assert [record.value for record in world.read(target)] == [b"in time"]
