"""Contract, errors: handlers and hooks that raise, retries, and dead letters. On both brokers unchanged."""

from __future__ import annotations

import itertools
import logging
import threading
import time

import msgspec

from swarm_consumer import Consumer, DeadLetters
from swarm_consumer.events import BatchFailed, DeadLettered, DeadLetterLimitReached, ErrorOccurred, RetryStarted
from swarm_consumer.testing.outside_client import Record

SOON = {"auto.commit.interval.ms": 50}


def numbers(count):
    return [{"number": number} for number in range(count)]


def test_a_failing_handler_is_retried_with_a_growing_delay_and_named(world, caplog):
    topic = world.topic()
    world.produce(topic, numbers(10))
    app = world.app(kafka=SOON)
    times = []

    @app.topic(topic, retry_backoff=0.1, retry_backoff_max=0.3)
    class Delays(Consumer):
        def consume(self, messages):
            times.append(time.monotonic())
            if self.attempt < 5:
                raise RuntimeError("the weather is missing")

    with caplog.at_level(logging.ERROR, "swarm_consumer"):
        running = world.start(app)
        world.await_committed(topic, {0: 10})
    failures = running.of(BatchFailed)
    assert [(event.attempt, event.retry_in_s) for event in failures] == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.3)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(gap >= event.retry_in_s for gap, event in zip(gaps, failures, strict=True))
    assert [event.attempt for event in running.of(RetryStarted)] == [2, 3, 4, 5]
    assert f"{topic}[0] offset 0: attempt 1 failed: RuntimeError: the weather is missing; again in 0.1 s" in caplog.text
    assert running.stop() == 0


def test_a_constructor_that_raises_is_retried_like_a_batch(world):
    topic = world.topic()
    world.produce(topic, numbers(3))
    app = world.app(kafka=SOON, retry_backoff=0.05)
    made = []

    @app.topic(topic)
    class Handler(Consumer):
        def __init__(self):
            made.append(1)
            if len(made) < 3:
                raise OSError("the model file is missing")

        def consume(self, messages):
            pass

    running = world.start(app)
    world.await_committed(topic, {0: 3})
    assert len(running.of(BatchFailed)) == 2
    assert running.stop() == 0


def test_shutdown_and_revoked_hooks_that_raise_are_reported_and_progress_is_committed(world):
    topic = world.topic()
    world.produce(topic, numbers(3))
    app = world.app(kafka={"auto.commit.interval.ms": 3600_000})
    done = threading.Event()

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            if messages.last_offset == 2:  # how many a first poll brings is the client's affair
                done.set()

        def shutdown(self):
            raise RuntimeError("the hangar door is shut")

    running = world.start(app)
    assert done.wait(30)
    assert running.stop() == 0
    (error,) = running.of(ErrorOccurred)
    assert str(error) == f"{topic}[0] hook shutdown(): RuntimeError: the hangar door is shut"
    assert world.committed(topic) == {0: 3}


def test_a_poison_message_as_large_as_a_client_may_send_becomes_a_letter(world):
    """Its letter is larger, by the headers that tell its story."""
    topic, dead = world.topic(), world.topic()
    world.produce(topic, [Record(b"x" * 999_800, partition=0), Record(b"next", partition=0)])
    app = world.app(kafka=SOON, retry_backoff=0.01)

    @app.topic(topic, dead_letters=DeadLetters(topic=dead, max_retries=1))
    class Handler(Consumer):
        def consume(self, messages):
            if any(len(message.raw_payload) > 100 for message in messages):
                raise ValueError("too large for me")

    world.start(app)
    world.await_committed(topic, {0: 2})
    (letter,) = world.read(dead)
    assert letter.value == b"x" * 999_800
    assert dict(letter.headers)["swarm-source-offset"] == b"0"


def test_a_poison_message_goes_to_the_dead_letters_with_its_story_and_order_is_kept(world):
    topic, dead = world.topic(), world.topic()
    world.produce(
        topic,
        [
            Record(
                b"%d" % n,
                key=b"k%d" % n,
                headers=(("trace", b"t%d" % n),),
                timestamp_ms=1_700_000_000_000 + n,
                partition=0,
            )
            for n in range(10)
        ],
    )
    app = world.app(kafka=SOON, retry_backoff=0.01)
    handled = []

    @app.topic(topic, dead_letters=DeadLetters(topic=dead, max_retries=2))
    class Handler(Consumer):
        def consume(self, messages):
            for message in messages:
                if message.raw_payload == b"4":
                    raise ValueError("four is poison")
                if not self.retrying or message.offset not in handled:
                    handled.append(message.offset)

    running = world.start(app)
    world.await_committed(topic, {0: 10})
    assert handled == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    (letter,) = world.read(dead)
    assert (letter.value, letter.key) == (b"4", b"k4")
    assert letter.timestamp_ms > 1_700_000_000_004, "a time of its own, so that it is kept as long as the topic says"
    headers = dict(letter.headers)
    assert headers["trace"] == b"t4"
    assert headers["swarm-source-topic"] == topic.encode()
    assert headers["swarm-source-partition"] == b"0"
    assert headers["swarm-source-offset"] == b"4"
    assert headers["swarm-source-timestamp"] == b"1700000000004"
    assert headers["swarm-source-group"] == world.group.encode()
    assert int(headers["swarm-attempts"]) >= 3
    assert headers["swarm-error"] == b"ValueError: four is poison"
    assert [event.offset for event in running.of(DeadLettered)] == [4]
    assert running.runtime.statistics()["dead_lettered"] == 1
    assert running.stop() == 0


def test_an_undecodable_message_is_diverted_and_the_partition_goes_on(world):
    topic, dead = world.topic(), world.topic()
    world.produce(topic, [b"1", b"2", b"not json", b"4"])
    app = world.app(kafka=SOON, retry_backoff=0.01)
    handled = []

    @app.topic(topic, payload=int, dead_letters=DeadLetters(topic=dead, max_retries=1))
    class Handler(Consumer):
        def consume(self, messages):
            handled.extend(messages.payloads())

    running = world.start(app)
    world.await_committed(topic, {0: 4})
    assert handled == [1, 2, 4]
    (letter,) = world.read(dead)
    assert letter.value == b"not json"
    assert b"offset 2: the payload cannot be decoded" in dict(letter.headers)["swarm-error"]
    assert running.stop() == 0


def test_a_tombstone_that_fails_is_diverted_as_a_tombstone(world):
    topic, dead = world.topic(), world.topic()
    world.produce(topic, [Record(None, key=b"gone", partition=0)])
    app = world.app(kafka=SOON, retry_backoff=0.01)

    @app.consume(topic, dead_letters=DeadLetters(topic=dead, max_retries=0))
    def handle(messages):
        raise ValueError("no value")

    running = world.start(app)
    world.await_committed(topic, {0: 1})
    (letter,) = world.read(dead)
    assert (letter.value, letter.key) == (None, b"gone")
    assert running.stop() == 0


def test_independent_messages_have_attempts_of_their_own(world):
    topic, dead = world.topic(), world.topic()
    world.produce(topic, numbers(6))
    app = world.app(kafka=SOON, retry_backoff=0.01)
    tries: dict[int, int] = {}

    @app.topic(topic, dead_letters=DeadLetters(topic=dead, max_retries=2, independent=True))
    class Handler(Consumer):
        def consume(self, messages):
            for message in messages:
                if message.offset in (1, 3):
                    tries[message.offset] = tries.get(message.offset, 0) + 1
                    if message.offset == 1 or tries[3] < 3:
                        raise ValueError("again")
                self.mark_as_consumed(message)

    running = world.start(app)
    world.await_committed(topic, {0: 6})
    assert [dict(letter.headers)["swarm-source-offset"] for letter in world.read(dead)] == [b"1"]
    assert tries[3] == 3, "message 3 had three attempts of its own and made it"
    assert running.stop() == 0


def test_skip_only_passes_over_the_message_and_says_so(world):
    topic = world.topic()
    world.produce(topic, numbers(3))
    app = world.app(kafka=SOON, retry_backoff=0.01)
    handled = []

    @app.topic(topic, dead_letters=DeadLetters(topic=None, max_retries=0))
    class Handler(Consumer):
        def consume(self, messages):
            for message in messages:
                if message.offset == 1:
                    raise ValueError("skip me")
                handled.append(message.offset)
                self.mark_as_consumed(message)

    running = world.start(app)
    world.await_committed(topic, {0: 3})
    assert handled == [0, 2]
    assert "skipped after" in str(running.of(DeadLettered)[0])
    assert running.stop() == 0


def test_beyond_the_limit_in_a_row_the_partition_stops_instead(world):
    topic, dead = world.topic(), world.topic()
    world.produce(topic, numbers(10))
    app = world.app(kafka=SOON, retry_backoff=0.01, retry_backoff_max=0.02)

    @app.consume(topic, dead_letters=DeadLetters(topic=dead, max_retries=0, max_consecutive=3))
    def handle(messages):
        raise ValueError("everything is broken")

    running = world.start(app)
    event = running.wait_for_event(DeadLetterLimitReached)
    assert event.offset == 3
    running.wait_for(lambda: len(running.of(DeadLetterLimitReached)) >= 3)
    assert world.await_committed(topic, {0: 3}) == {0: 3}
    assert len(world.read(dead)) == 3
    assert running.stop() == 0


def test_beyond_the_ratio_the_partition_stops_instead(world):
    topic, dead = world.topic(), world.topic()
    world.produce(topic, numbers(300))
    app = world.app(kafka=SOON, retry_backoff=0.01, retry_backoff_max=0.02, max_messages=10)

    @app.topic(topic, dead_letters=DeadLetters(topic=dead, max_retries=0, max_ratio=0.1))
    class Handler(Consumer):
        def consume(self, messages):
            for message in messages:
                if message.offset >= 150:
                    raise ValueError("from here on all are bad")
                self.mark_as_consumed(message)

    running = world.start(app)
    event = running.wait_for_event(DeadLetterLimitReached)
    letters = len(world.read(dead))
    assert 10 <= letters <= 20
    assert event.offset == 150 + letters
    assert world.await_committed(topic, {0: event.offset}) == {0: event.offset}
    assert running.stop() == 0


def test_no_progress_when_the_dead_letter_cannot_be_sent(world):
    topic = world.topic()
    world.produce(topic, [b"x" * 2000])
    app = world.app(kafka=SOON, retry_backoff=0.01, producer={"message.max.bytes": 1000})

    @app.consume(topic, dead_letters=DeadLetters(topic=world.topic(), max_retries=0))
    def handle(messages):
        raise ValueError("poison")

    running = world.start(app)
    error = running.wait_for_event(ErrorOccurred)
    assert "dead letter for offset 0" in str(error)
    assert running.stop() == 0
    assert world.committed(topic) == {}
    assert running.of(DeadLettered) == []


def test_a_message_without_a_decoder_for_its_key_is_named(world):
    topic = world.topic()
    world.produce(topic, [Record(b"1", key=b"seven", partition=0)])
    app = world.app(kafka=SOON, retry_backoff=3600, retry_backoff_max=3600)

    @app.consume(topic, key=int)
    def handle(messages):
        return [message.key for message in messages]

    running = world.start(app)
    failure = running.wait_for_event(BatchFailed)
    assert f"{topic}[0] offset 0: the key cannot be decoded" in str(failure)
    assert running.stop() == 0
    assert world.committed(topic) == {}


def test_message_pack_and_callables_decode_too(world):
    packed, shouted = world.topic(), world.topic()
    world.produce(packed, [msgspec.msgpack.encode({"number": 7})])
    world.produce(shouted, [b"hello"])
    from swarm_consumer import MessagePack

    app = world.app(kafka=SOON)
    seen = {}

    app.consume(packed, payload=MessagePack(dict[str, int]))(lambda messages: seen.update(packed=messages.payloads()))
    app.consume(shouted, payload=lambda data: data.decode().upper())(
        lambda messages: seen.update(shouted=[message.payload for message in messages])
    )
    running = world.start(app)
    world.await_committed(packed, {0: 1})
    world.await_committed(shouted, {0: 1})
    assert seen == {"packed": [{"number": 7}], "shouted": ["HELLO"]}
    assert running.stop() == 0
