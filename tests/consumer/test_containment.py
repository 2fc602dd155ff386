"""What others raise inside our threads: listeners, log filters, errors without a text, tasks; and threads that end."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import KafkaError, KafkaException

from swarm_consumer import ConfigurationError, Consumer, DeadLetters, DeliveryError
from swarm_consumer._connection.workers import Workers
from swarm_consumer._producing.producer import Producer
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._running.event_loop import EventLoop
from swarm_consumer.events import BatchFailed, BatchStarted, ClientError, ErrorOccurred, StateChanged, describe
from swarm_consumer.kafka.clients import KafkaClients
from swarm_consumer.testing import produce
from swarm_consumer.testing.outside_client import Record, await_committed

FAST = {"auto.commit.interval.ms": 50}


class WithoutText(Exception):
    def __str__(self):
        raise RuntimeError("my __str__ is broken")


def fill(broker, topic, count, partitions=1):
    broker.create_topic(topic, partitions)
    produce(broker.bootstrap, topic, [Record(b"%d" % n, partition=n % partitions) for n in range(count)])


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), WithoutText(), ValueError("x")], ids=repr)
def test_a_listener_that_raises_anything_stops_nothing(embedded_broker, make_app, start, topic_name, error):
    topic = topic_name("flights")
    fill(embedded_broker, topic, 10)
    app = make_app(group=topic, kafka=FAST, max_messages=1, retry_backoff=0.01)
    failed = []

    @app.on(BatchFailed)
    def die(event):
        raise error

    @app.consume(topic)
    def handle(messages):
        if messages.first_offset == 3 and not failed:
            failed.append(1)
            raise ValueError("once")

    running = start(app)
    await_committed(embedded_broker.bootstrap, topic, topic, {0: 10})
    report = running.wait_for_event(ErrorOccurred)
    assert "listener" in report.where
    assert report.error is error
    assert running.stop() == 0


def test_a_log_filter_that_raises_stops_nothing(embedded_broker, make_app, start, topic_name, caplog):
    topic = topic_name("flights")
    fill(embedded_broker, topic, 5)
    app = make_app(group=topic, kafka=FAST, max_messages=1)
    log = logging.getLogger("swarm_consumer")
    handler = logging.NullHandler()
    handler.addFilter(lambda record: record.nothing_of_this_name)
    log.addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG, "swarm_consumer"):

            @app.consume(topic)
            def handle(messages):
                pass

            running = start(app)
            await_committed(embedded_broker.bootstrap, topic, topic, {0: 5})
            assert running.stop() == 0
    finally:
        log.removeHandler(handler)


def test_an_error_whose_text_cannot_be_read_is_retried_and_dead_lettered(embedded_broker, make_app, start, topic_name):
    topic, dead = topic_name("flights"), topic_name("dead")
    fill(embedded_broker, topic, 5)
    embedded_broker.create_topic(dead, 1)
    app = make_app(group=topic, kafka=FAST, max_messages=1, retry_backoff=0.01)

    @app.consume(topic, dead_letters=DeadLetters(topic=dead, max_retries=1))
    def handle(messages):
        if messages.first_offset == 2:
            raise WithoutText

    running = start(app)
    await_committed(embedded_broker.bootstrap, topic, topic, {0: 5})
    assert running.stop() == 0


def test_an_error_is_described_whatever_its_text_does():
    class Exits(Exception):
        def __str__(self):
            raise SystemExit

    assert describe(WithoutText()) == "WithoutText: (its text cannot be read: __str__ raised RuntimeError)"
    assert describe(Exits()) == "Exits: (its text cannot be read: __str__ raised SystemExit)"
    assert describe(ValueError("a\n b")) == "ValueError: a b"


def test_ctrl_c_that_arrives_inside_a_listener_is_not_swallowed_in_the_main_thread():
    bus = Bus()
    told = []
    bus.on_interruption = lambda: told.append(1)

    @bus.subscribe
    def interrupted(event):
        if not told:
            raise KeyboardInterrupt

    bus.emit(StateChanged(state="running", previous="starting"))
    assert told == [1]
    with pytest.raises(KeyboardInterrupt):
        bus.raise_interruption()
    bus.raise_interruption()  # once


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_an_async_handler_that_exits_ends_the_node_as_a_sync_one_does(
    embedded_broker, make_app, start, topic_name, error
):
    topic = topic_name("flights")
    fill(embedded_broker, topic, 2)
    app = make_app(group=topic)

    @app.consume(topic)
    async def handle(messages):
        raise error

    running = start(app)
    assert running.join() == 1
    assert f"the handler raised {error.__name__}" in running.runtime.fatal_error()


def test_a_task_that_exits_leaves_the_event_loop_alive(embedded_broker, make_app, start, topic_name):
    topic = topic_name("flights")
    fill(embedded_broker, topic, 3)
    app = make_app(group=topic, kafka=FAST, max_messages=1)

    async def leave():
        raise SystemExit(5)

    @app.consume(topic)
    async def handle(messages):
        asyncio.get_running_loop().create_task(leave())
        await asyncio.sleep(0.01)

    running = start(app)
    await_committed(embedded_broker.bootstrap, topic, topic, {0: 3})
    assert "event loop" in running.wait_for_event(ErrorOccurred).where
    assert running.stop() == 0


def test_a_cancelled_coroutine_is_an_ordinary_failure():
    loop = EventLoop()

    async def cancel_myself():
        asyncio.current_task().cancel()
        await asyncio.sleep(10)

    with pytest.raises(Exception, match="the coroutine was cancelled"):
        loop.run(cancel_myself())
    loop.stop(5)
    loop.stop(5)


def end_thread(name_part):
    """Make a thread end as if a C extension had ended it: an error that no guard of its own is around."""
    deadline = time.monotonic() + 30
    while not (found := [thread for thread in threading.enumerate() if name_part in thread.name]):
        assert time.monotonic() < deadline, [thread.name for thread in threading.enumerate()]
        time.sleep(0.01)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(found[0].ident), ctypes.py_object(SystemExit))
    return found[0]


def test_the_watchdog_sees_a_dead_worker(embedded_broker, make_app, start, topic_name):
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 1)
    app = make_app(group=topic)

    @app.consume(topic)
    def handle(messages):
        pass

    running = start(app)
    running.wait_for(lambda: running.runtime.phase == "running")
    running.runtime._workers._queue.put(None)  # as if it had been asked to stop
    assert running.join() == 1
    assert "swarm-worker-0 ended unexpectedly" in running.runtime.fatal_error()
    assert "swarm-worker-0" in running.wait_for_event(ClientError, lambda event: event.fatal).reason


def test_the_watchdog_sees_a_dead_hook_thread(embedded_broker, make_app, start, topic_name):
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 1)
    app = make_app(group=topic)

    @app.consume(topic)
    def handle(messages):
        pass

    running = start(app)
    running.wait_for(lambda: running.runtime.phase == "running")
    running.runtime._workers.submit_hook(lambda: None)
    running.runtime._workers._hooks.put(None)
    assert running.join() == 1
    assert "swarm-worker-hooks ended unexpectedly" in running.runtime.fatal_error()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_watchdog_sees_a_dead_event_loop(embedded_broker, make_app, start, topic_name):
    topic = topic_name("flights")
    fill(embedded_broker, topic, 1)
    app = make_app(group=topic, kafka=FAST)

    @app.consume(topic)
    async def handle(messages):
        await asyncio.sleep(0)

    running = start(app)
    await_committed(embedded_broker.bootstrap, topic, topic, {0: 1})
    loop = running.runtime._event_loop
    loop._on_error = lambda error: (_ for _ in ()).throw(error)  # nothing contains it any more

    def leave():
        raise SystemExit

    loop._loop.call_soon_threadsafe(leave)
    assert running.join() == 1
    assert "swarm-event-loop ended unexpectedly" in running.runtime.fatal_error()


def test_the_watchdog_sees_a_dead_owner(embedded_broker, make_app, start, topic_name):
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 1)
    app = make_app(group=topic)

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            pass

    running = start(app)
    running.wait_for(lambda: running.runtime.phase == "running")
    end_thread("swarm-owner")
    assert running.join() == 1
    assert "owner" in running.runtime.fatal_error()


def test_a_factory_that_makes_no_client_ends_the_node_with_its_reason(embedded_broker, make_app, start, topic_name):
    class Factory(KafkaClients):
        def consumer(self, properties, **callbacks):
            raise RuntimeError("the vault is sealed")

    app = make_app(group="orders")
    app.consume(topic_name("flights"))(lambda messages: None)
    running = start(app, clients=Factory())
    assert running.join() == 1
    assert "the vault is sealed" in running.runtime.fatal_error()


def test_a_client_that_cannot_subscribe_is_closed(embedded_broker, make_app, start, topic_name):
    closed = []

    class Client:
        def __init__(self, client):
            self._client = client

        def subscribe(self, *arguments, **callbacks):
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG))

        def close(self):
            closed.append(self)
            self._client.close()

        def __getattr__(self, name):
            return getattr(self._client, name)

    class Factory(KafkaClients):
        def consumer(self, properties, **callbacks):
            return Client(super().consumer(properties, **callbacks))

    app = make_app(group="orders")
    app.consume(topic_name("flights"))(lambda messages: None)
    with pytest.raises(ConfigurationError):
        start(app, clients=Factory()).join()
    assert len(closed) == 1


def test_what_fails_outside_of_a_handler_ends_the_node_with_its_reason(embedded_broker, make_app, start, topic_name):
    topic = topic_name("flights")
    fill(embedded_broker, topic, 1)
    app = make_app(group=topic)

    @app.consume(topic)
    def handle(messages):
        pass

    running = start(app)
    connection = running.runtime._connections[0] if running.runtime._connections else None
    running.wait_for(lambda: running.runtime._connections, what="the connection")
    connection = running.runtime._connections[0]
    connection.finish = lambda *args, **kwargs: 1 / 0
    produce(embedded_broker.bootstrap, topic, [b"one more"])
    assert running.join() == 1
    assert "swarm-worker-0 failed outside of a handler: ZeroDivisionError" in running.runtime.fatal_error()


def test_librdkafkas_log_may_raise(embedded_broker, make_app, start, topic_name):
    topic = topic_name("flights")
    fill(embedded_broker, topic, 2)
    log = logging.getLogger("swarm_consumer.librdkafka")
    seen = []

    class Broken(logging.Handler):
        def handle(self, record):
            seen.append(record)
            raise SystemExit

    broken, level = Broken(), log.level
    log.addHandler(broken)
    log.setLevel(logging.DEBUG)
    try:
        app = make_app(group=topic, kafka={**FAST, "debug": "generic,cgrp", "log_level": 7})
        app.consume(topic)(lambda messages: None)
        running = start(app)
        await_committed(embedded_broker.bootstrap, topic, topic, {0: 2})
        assert running.stop() == 0
    finally:
        log.removeHandler(broken)
        log.setLevel(level)
    assert seen


def test_what_ends_a_node_is_an_error_and_what_passes_a_warning(caplog):
    bus = Bus()
    for fatal in (True, False):
        bus.emit(ClientError(subscription_group="g", code="_FAIL", reason=f"it is {fatal}", fatal=fatal))
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


def test_nobody_is_asked_for_events_that_nobody_wants():
    assert not Bus().wants(BatchStarted)


def test_hooks_that_are_wanted_at_the_same_moment_share_one_thread(monkeypatch):
    """Of two threads only one would be told to end, and the stop would wait for the other until its deadline."""
    started = []

    class Slow(threading.Thread):
        def __init__(self, **options):
            time.sleep(0.2)
            super().__init__(**options)
            started.append(self.name)

    workers, done = Workers(1, None, None), threading.Semaphore(0)
    askers = [threading.Thread(target=workers.submit_hook, args=(done.release,)) for _ in range(4)]
    monkeypatch.setattr("swarm_consumer._connection.workers.threading.Thread", Slow)
    for each in askers:
        each.start()
    for each in askers:
        assert done.acquire(timeout=30)
        each.join(30)
    assert len(started) == 1
    assert workers.stop(30)


def test_closing_does_not_wait_for_a_producer_that_is_being_made(monkeypatch):
    """Its transactional id may take as long as an outage, far beyond the deadline of the stop."""
    asked, answered = threading.Event(), threading.Event()

    class Unanswered:
        def __init__(self, properties):
            pass

        def init_transactions(self, timeout):
            asked.set()
            assert answered.wait(60)

    monkeypatch.setattr("confluent_kafka.Producer", Unanswered)
    producer = Producer({"transactional.id": "flights"})
    with ThreadPoolExecutor(2) as pool:
        making = pool.submit(lambda: producer.client)
        try:
            assert asked.wait(30)
            assert pool.submit(producer.close, 0.1).result(20) == 0
        finally:
            answered.set()
        with pytest.raises(DeliveryError, match="the node has stopped"):
            making.result(30)
    assert not producer.used
