"""Every way in which an offset may move, and what must not move it. Without a broker where none is needed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from swarm_consumer import Consumer, ConsumptionError, DeadLetters, DeliveryError, DeserializationError
from swarm_consumer._scheduling.ledger import Ledger
from swarm_consumer.events import BatchFailed, DeadLettered, ErrorOccurred
from swarm_consumer.testing import Record, produce, run_messages
from swarm_consumer.testing.outside_client import await_committed, committed_offsets, read_all

KEY = ("messages", 0)
FAST = {"auto.commit.interval.ms": 50}


# -- what a handler returns --------------------------------------------------------------------------------------


def generator(messages):
    yield from messages


async def async_generator(messages):
    for message in messages:
        yield message


def lazy(messages):
    return map(print, messages)


def list_of_coroutines(messages):
    async def one():
        pytest.fail("nobody runs it")

    coroutine = one()
    coroutine.close()
    return [coroutine]


def false(messages):
    return False


async def async_false(messages):
    return False


@pytest.mark.parametrize("handler", [generator, async_generator, lazy, list_of_coroutines, false, async_false])
def test_what_has_not_run_is_no_success(handler):
    class Handler(Consumer):
        def consume(self, messages):
            return handler(messages)

    with pytest.raises(ConsumptionError, match=r"consume\(\) returned"):
        run_messages(Handler, [b"1", b"2"])


def test_an_iterator_whose_work_is_done_is_a_success(tmp_path):
    """A cursor is what `return connection.execute(...)` returns: failed, the batch would be written again and again."""
    with contextlib.closing(sqlite3.connect(":memory:", check_same_thread=False)) as database:
        database.execute("CREATE TABLE orders (value)")

        def write(messages):
            return database.executemany("INSERT INTO orders VALUES (?)", [(each.raw_payload,) for each in messages])

        assert run_messages(write, [b"1", b"2"]).committed == {KEY: 2}
        assert database.execute("SELECT count(*) FROM orders").fetchone() == (2,)
    with open(tmp_path / "orders", "w") as file:
        assert run_messages(lambda messages: file, [b"1"]).committed == {KEY: 1}
    for lazy_one in (itertools.chain, zip, reversed):
        with pytest.raises(ConsumptionError, match="has not run"):
            run_messages(lambda messages, lazy_one=lazy_one: lazy_one([1]), [b"1"])


def test_an_error_of_ones_own_without_a_place_is_an_ordinary_failure():
    class Bad(DeserializationError):
        def __init__(self):
            pass

    def handle(messages):
        raise Bad

    with pytest.raises(Bad):
        run_messages(handle, [b"1"])


@pytest.mark.parametrize("duration", [-1, float("nan")])
def test_a_pause_that_cannot_be_is_refused(duration):
    with pytest.raises(ValueError, match="is not possible"):
        run_messages(lambda messages, consumer: consumer.pause(duration), [b"1"])


def test_any_awaitable_and_a_future_are_waited_for():
    done = []

    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            done.append("awaitable")

    assert run_messages(lambda messages: Awaitable(), [b"1"]).committed == {KEY: 1}
    with ThreadPoolExecutor(1) as pool:
        assert run_messages(lambda messages: pool.submit(done.append, "future"), [b"1"]).committed == {KEY: 1}
    assert done == ["awaitable", "future"]
    failed: Future[None] = Future()
    failed.set_exception(ValueError("in the pool"))
    with pytest.raises(ValueError, match="in the pool"):
        run_messages(lambda messages: failed, [b"1"])


def test_a_wrap_that_keeps_a_failure_to_itself_makes_no_success():
    class Handler(Consumer):
        @contextlib.contextmanager
        def wrap(self, action):
            with contextlib.suppress(ValueError):
                yield

        def consume(self, messages):
            raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        run_messages(Handler, [b"1"])


# -- dead letters ------------------------------------------------------------------------------------------------


def test_a_message_that_consume_never_saw_is_no_dead_letter():
    tries = []

    class Handler(Consumer):
        def initialized(self):
            tries.append("initialized")
            if len(tries) < 6:
                raise ConnectionError("the database is away")

        def consume(self, messages):
            tries.append(self.attempt)

    outcome = run_messages(Handler, [b"1", b"2"], dead_letters=DeadLetters(topic="dead", max_retries=1))
    assert outcome.dead_lettered == []
    assert outcome.produced == {}
    assert outcome.committed == {KEY: 2}
    assert tries == ["initialized"] * 6 + [1]


def test_a_constructor_that_fails_is_retried_and_drops_nothing():
    made = []

    class Handler(Consumer):
        def __init__(self):
            made.append(1)
            if len(made) < 4:
                raise RuntimeError("not yet")

        def consume(self, messages):
            pass

    outcome = run_messages(Handler, [b"1"], dead_letters=DeadLetters(max_retries=0))
    assert outcome.dead_lettered == []
    assert outcome.committed == {KEY: 1}


def test_with_manual_marking_a_letter_moves_no_offset_past_what_is_not_marked():
    class Bulk(Consumer):
        def consume(self, messages):
            for message in messages:
                if message.raw_payload == b"12":
                    raise ValueError("poison")

    values = [b"%d" % number for number in range(30)]
    letters = DeadLetters(topic="dead", max_retries=1)
    outcome = run_messages(Bulk, values, max_messages=5, manual_marking=True, dead_letters=letters)
    assert len(outcome.dead_lettered) == 1
    assert outcome.committed == {}


def test_with_manual_marking_a_letter_moves_the_offset_when_everything_before_is_marked():
    class Each(Consumer):
        def consume(self, messages):
            for message in messages:
                if message.raw_payload in (b"0", b"2"):
                    raise ValueError("poison")
                self.mark_as_consumed(message)

    letters = DeadLetters(topic="dead", max_retries=0)
    outcome = run_messages(Each, [b"0", b"1", b"2"], manual_marking=True, dead_letters=letters)
    assert len(outcome.dead_lettered) == 2
    assert outcome.committed == {KEY: 3}


def test_a_dead_letter_has_a_time_of_its_own_and_its_messages_time_in_a_header():
    def handle(messages):
        raise ValueError("poison")

    old = Record(b"1", timestamp_ms=1_500_000_000_000)
    outcome = run_messages(handle, [old], dead_letters=DeadLetters(topic="dead", max_retries=0))
    (letter,) = outcome.produced["dead"]
    assert letter.timestamp_ms is None, "the client stamps it: an old one would be past its topic's retention"
    assert dict(letter.headers)["swarm-source-timestamp"] == b"1500000000000"


# -- marks -------------------------------------------------------------------------------------------------------


def test_metadata_belongs_to_one_position():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 10)
    ledger.mark(KEY, epoch, 2, "after 1", 4)
    assert ledger.mark(KEY, epoch, 9, "after 8", 5)
    assert ledger.mark(KEY, epoch, 3, "after 2", 3)
    (committable,) = ledger.take_committable()
    assert (committable.offset, committable.metadata, committable.leader_epoch) == (9, "after 8", 5)
    ledger.mark(KEY, epoch, 9, "after 8, once more")
    assert [each.metadata for each in ledger.take_committable()] == ["after 8, once more"]
    ledger.mark(KEY, epoch, 9)
    assert ledger.take_committable() == []
    ledger.mark(KEY, epoch, 10)
    assert [each.metadata for each in ledger.take_committable()] == [None]


def test_metadata_of_a_mark_does_not_stay_on_what_the_return_marks():
    class Handler(Consumer):
        def consume(self, messages):
            self.mark_as_consumed(messages[1], metadata="state after 1")

    outcome = run_messages(Handler, [b"%d" % number for number in range(5)])
    assert (outcome.committed, outcome.metadata) == ({KEY: 5}, {})


@pytest.mark.parametrize("place", [-1, -5, 3.0, "1", 2**70, 10])
def test_a_mark_that_cannot_be_is_refused_where_it_is_made(place):
    class Handler(Consumer):
        def consume(self, messages):
            self.mark_as_consumed(place)

    with pytest.raises((ValueError, TypeError)):
        run_messages(Handler, [b"1", b"2"])


@pytest.mark.parametrize("metadata", [5, b"x", "\ud800"])
def test_metadata_that_cannot_be_committed_is_refused_where_it_is_given(metadata):
    class Handler(Consumer):
        def consume(self, messages):
            self.mark_as_consumed(messages[0], metadata=metadata)

    with pytest.raises((ValueError, TypeError)):
        run_messages(Handler, [b"1", b"2"])


def test_a_message_stamped_in_microseconds_has_no_date():
    seen = []

    def handle(messages):
        seen.extend((message.timestamp, message.timestamp_ms) for message in messages)

    run_messages(handle, [Record(b"1", timestamp_ms=1_700_000_000_000_000)])
    assert seen == [(None, 1_700_000_000_000_000)]


# -- output that fails -------------------------------------------------------------------------------------------


class Scene:
    """A topic with messages on the embedded broker, an output topic whose broker refuses records when told to."""

    def __init__(self, broker, name, make_app, start):
        self.broker, self.topic, self.out = broker, name("flights"), name("out")
        broker.create_topic(self.topic, 1)
        broker.create_topic(self.out, 1)
        self.start, self._make_app = start, make_app

    def app(self, **settings):
        settings = {"retry_backoff": 0.05, "retry_backoff_max": 0.1, **settings}
        return self._make_app(group=self.topic, kafka=FAST, **settings)

    def fill(self, count):
        produce(self.broker.bootstrap, self.topic, [b"%d" % number for number in range(count)])

    def refuse(self, count):
        """Refuse the next records, for good: as a compacted topic does one without a key."""
        self.broker.inject_errors("Produce", ["INVALID_RECORD"] * count)

    @property
    def committed(self):
        return committed_offsets(self.broker.bootstrap, self.topic, self.topic)

    def await_committed(self, expected):
        await_committed(self.broker.bootstrap, self.topic, self.topic, expected)

    @property
    def output(self):
        return [record.value for record in read_all(self.broker.bootstrap, self.out)]


@pytest.fixture
def scene(embedded_broker, topic_name, make_app, start):
    return Scene(embedded_broker, topic_name, make_app, start)


@pytest.mark.parametrize("hook", ["tick", "shutdown", "revoked"])
def test_a_mark_in_a_hook_counts_only_when_its_output_arrived(scene, hook):
    scene.fill(10)
    app = scene.app(manual_marking=True, tick_interval=0.1)
    flushed = []

    class Bulk(Consumer):
        def initialized(self):
            self.waiting = []

        def consume(self, messages):
            self.waiting += list(messages)

        def flush(self):
            if self.waiting:
                scene.refuse(1)
                self.produce(scene.out, b"sum of %d" % len(self.waiting))
                flushed.append(self.mark_as_consumed(self.waiting[-1]))
                self.waiting = []

    setattr(Bulk, hook, Bulk.flush)
    app.topic(scene.topic)(Bulk)
    running = scene.start(app)
    running.wait_for(lambda: sum(event.messages for event in running.events if hasattr(event, "messages")) >= 10)
    if hook == "tick":
        running.wait_for_event(ErrorOccurred, lambda event: event.where == "hook tick()")
    if hook == "revoked":
        # Another member comes: the partition is taken away, or this one stays at it and only stops at the end.
        other = scene.app(manual_marking=True)
        other.topic(scene.topic)(type("Other", (Consumer,), {"consume": lambda self, messages: None}))
        second = scene.start(other)
        running.wait_for(lambda: second.runtime.phase == "running")
    assert running.stop() == 0
    if flushed:
        assert [event.where for event in running.of(ErrorOccurred)] == [f"hook {hook}()"]
    assert scene.committed == {}
    assert scene.output == []


def test_a_wrong_mark_in_a_hook_stops_nothing(scene):
    scene.fill(3)
    app = scene.app(tick_interval=0.1, producer={"linger.ms": 100})
    ticks, handled = [], []

    @app.topic(scene.topic)
    class Handler(Consumer):
        def consume(self, messages):
            handled.extend(messages)

        def tick(self):
            ticks.append(1)
            self.produce(scene.out, b"x")
            self.mark_as_consumed(5000)

    running = scene.start(app)
    running.wait_for(lambda: len(ticks) >= 3, what="the third tick")
    scene.fill(2)
    running.wait_for(lambda: len(handled) == 5, what="what came after the wrong mark")
    assert isinstance(running.of(ErrorOccurred)[0].error, ValueError)
    assert running.stop() == 0
    assert scene.committed == {0: 5}


def test_a_delivery_error_that_was_dealt_with_fails_nothing(scene):
    scene.fill(1)
    scene.refuse(1)
    app = scene.app()

    @app.topic(scene.topic)
    class Handler(Consumer):
        def consume(self, messages):
            try:
                self.produce(scene.out, b"x").wait()
            except DeliveryError:
                self.produce(scene.out, b"instead").wait()

    running = scene.start(app)
    scene.await_committed({0: 1})
    assert running.of(BatchFailed) == []
    assert running.stop() == 0
    assert scene.output == [b"instead"]


def test_a_mark_before_an_error_that_was_not_dealt_with_does_not_count(scene):
    scene.fill(1)
    scene.refuse(1)
    app = scene.app(retry_backoff=30.0, retry_backoff_max=30.0)

    @app.topic(scene.topic)
    class Handler(Consumer):
        def consume(self, messages):
            delivery = self.produce(scene.out, b"x")
            self.mark_as_consumed(messages[0])
            delivery.wait()

    running = scene.start(app)
    running.wait_for_event(BatchFailed)
    assert running.stop() == 0
    assert scene.committed == {}


def test_a_mark_from_a_thread_waits_for_what_the_thread_has_produced(scene):
    app = scene.app(manual_marking=True, max_messages=5)
    pool = ThreadPoolExecutor(1)
    second_batch, marked = threading.Event(), []

    @app.topic(scene.topic)
    class Handler(Consumer):
        def consume(self, messages):
            if messages.first_offset == 0 and self.attempt == 1:
                pool.submit(self.work, list(messages))
            else:
                second_batch.set()

        def work(self, messages):
            scene.refuse(1)
            self.produce(scene.out, b"x")
            second_batch.wait(30)
            try:
                marked.append(self.mark_as_consumed(messages[-1]))
            except DeliveryError as error:
                marked.append(error)

    scene.fill(5)
    running = scene.start(app)
    running.wait_for_event(ErrorOccurred, lambda event: isinstance(event.error, DeliveryError))
    scene.fill(5)
    running.wait_for(lambda: marked, what="the mark of the thread")
    pool.shutdown()
    assert isinstance(marked[0], DeliveryError)
    assert running.stop() == 0
    assert scene.committed == {}


def test_output_of_a_thread_that_failed_is_made_again(scene):
    app = scene.app(manual_marking=True, max_messages=5)
    pool = ThreadPoolExecutor(1)
    marked = []

    @app.topic(scene.topic)
    class Handler(Consumer):
        def consume(self, messages):
            pool.submit(self.work, list(messages))

        def work(self, messages):
            if not marked:
                scene.refuse(1)
            self.produce(scene.out, messages[-1].raw_payload)
            try:
                marked.append(self.mark_as_consumed(messages[-1]))
            except DeliveryError as error:
                marked.append(error)

    scene.fill(5)
    running = scene.start(app)
    scene.await_committed({0: 5})
    pool.shutdown()
    assert isinstance(marked[0], DeliveryError)
    assert b"4" in scene.output
    assert running.stop() == 0


def test_a_message_of_an_earlier_life_of_its_partition_marks_nothing():
    kept, marks = [], []

    class Handler(Consumer):
        def consume(self, messages):
            if not kept:
                kept.extend(messages)
                self.seek(0)
                return
            marks.append(self.mark_as_consumed(kept[-1]))
            marks.append(self.mark_as_consumed(messages[0]))
            raise RuntimeError("the rest failed")

    with pytest.raises(RuntimeError):
        run_messages(Handler, [b"1", b"2"])
    assert marks == [False, True]


def test_a_thread_that_waits_for_its_delivery_may_mark_afterwards(scene):
    app = scene.app(manual_marking=True)
    pool = ThreadPoolExecutor(1)

    @app.topic(scene.topic)
    class Handler(Consumer):
        def consume(self, messages):
            if self.attempt == 1:
                pool.submit(self.work, messages[-1])

        def work(self, message):
            scene.refuse(1)
            with contextlib.suppress(DeliveryError):
                self.produce(scene.out, b"x").wait()
            self.produce(scene.out, b"instead").wait()
            self.mark_as_consumed(message)

    scene.fill(5)
    running = scene.start(app)
    running.wait_for(lambda: scene.committed == {0: 5}, what="the commit")
    pool.shutdown()
    assert running.stop() == 0


def test_a_failed_delivery_of_the_producer_itself_is_told(scene):
    scene.fill(1)
    scene.refuse(1)
    app = scene.app()

    @app.topic(scene.topic)
    class Handler(Consumer):
        def consume(self, messages):
            self.producer.produce(scene.out, b"x")

    running = scene.start(app)
    told = running.wait_for_event(ErrorOccurred)
    assert isinstance(told.error, DeliveryError)
    assert running.stop() == 0
    assert scene.committed == {0: 1}


def test_a_letter_that_is_not_acknowledged_moves_nothing(scene):
    scene.fill(1)
    scene.refuse(2)
    app = scene.app(dead_letters=DeadLetters(topic=scene.out, max_retries=0))

    @app.consume(scene.topic)
    def handle(messages):
        raise ValueError("poison")

    running = scene.start(app)
    told = running.wait_for_event(ErrorOccurred)
    assert told.where == "dead letter for offset 0"
    running.wait_for_event(DeadLettered)
    scene.await_committed({0: 1})
    assert running.stop() == 0
    assert scene.output == [b"0"]
