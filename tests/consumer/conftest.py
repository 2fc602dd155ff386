"""What the consumer package's tests share: records without a broker, and lanes over a ledger."""

from __future__ import annotations

import os
import threading
import time

import confluent_kafka
import pytest

CLIENT_END_S = 10.0  # a client that is let go of has its threads end one after another


def native_clients():
    """Return the main thread of each librdkafka client in this process: every client has exactly one."""
    found = set()
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as comm:
                if comm.read() == "rdk:main\n":
                    found.add(task)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended: before open(), or before read() (proc(5): ESRCH)
    return found


@pytest.fixture(autouse=True)
def no_client_is_left():
    """Fail a test that leaves a client behind: its threads would be in the way of every later test that forks."""
    before = native_clients()
    yield
    if not native_clients() - before:
        return
    deadline = time.monotonic() + CLIENT_END_S
    while left := native_clients() - before:
        assert time.monotonic() < deadline, f"{len(left)} Kafka clients of this test still live"
        time.sleep(0.01)


@pytest.fixture
def make_records():
    """Return a function that makes the client's message objects, without any client."""

    def make(first: int, count: int, topic: str = "flights", partition: int = 0, value=None) -> list:
        return [
            confluent_kafka.Message(
                topic=topic,
                partition=partition,
                offset=offset,
                value=b"%d" % offset if value is None else value,
                timestamp=(1, 1_700_000_000_000 + offset),
            )
            for offset in range(first, first + count)
        ]

    return make


class Running:
    """A runtime at work in a thread of the test, with every event it emitted."""

    def __init__(self, app, options, orders):
        from swarm_consumer import Runtime

        self.app = app
        self.events = []
        self._condition = threading.Condition()
        app.subscribe(self._note)
        self.runtime = Runtime(app, **options)
        self.code = None
        self.error = None
        self._thread = threading.Thread(target=self._run, args=(orders,), daemon=True)
        self._thread.start()

    def _note(self, event):
        with self._condition:
            self.events.append(event)
            self._condition.notify_all()

    def _run(self, orders):
        try:
            self.code = self.runtime.run(**orders)
        except BaseException as error:
            self.error = error
        with self._condition:
            self._condition.notify_all()

    def of(self, kind):
        return [event for event in list(self.events) if isinstance(event, kind)]

    def wait_for(self, condition, timeout=30.0, what="the condition"):
        """Wait until condition() is true, looked at after each event and every 20 ms; what handlers do is no event."""
        deadline = time.monotonic() + timeout
        with self._condition:
            while not (value := condition()):
                if time.monotonic() > deadline:
                    tail = "\n".join(str(event) for event in self.events[-15:])
                    pytest.fail(f"{what} did not come within {timeout} s; code {self.code}, last events:\n{tail}")
                self._condition.wait(0.02)
        return value

    def wait_for_event(self, kind, match=lambda event: True, timeout=30.0):
        def found():
            return next((event for event in self.events if isinstance(event, kind) and match(event)), None)

        return self.wait_for(found, timeout, kind.__name__)

    def stop(self, timeout=30.0):
        self.runtime.stop()
        return self.join(timeout)

    def join(self, timeout=30.0):
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "run() did not return"
        if self.error is not None:
            raise self.error
        return self.code


@pytest.fixture
def start():
    """Return a function that runs an app in a thread; what still runs at the end of the test is stopped."""
    started = []

    def begin(app, stopping=None, quieting=None, leaving=None, removed=None, **options):
        options.setdefault("drain_timeout", 15.0)
        running = Running(
            app, options, {"stopping": stopping, "quieting": quieting, "leaving": leaving, "removed": removed}
        )
        started.append(running)
        return running

    yield begin
    for running in started:
        running.runtime.stop()
    for number, running in enumerate(started):
        running._thread.join(20)
        print(f"app {number}: {running.runtime.phase}, {running.code}, {running.error}", *running.events, sep="\n  ")


@pytest.fixture(
    params=[pytest.param("embedded", id="embedded"), pytest.param("kafka", id="kafka", marks=pytest.mark.real_kafka)]
)
def broker(request):
    """Both brokers in turn: the scenarios of the contract run unchanged on either."""
    return request.getfixturevalue(f"{request.param}_broker")


class World:
    """A broker, names that nobody used before, and apps for them."""

    def __init__(self, broker, unique, begin):
        self.broker = broker
        self.bootstrap = broker.bootstrap
        self.group = unique("group")
        self._unique = unique
        self._begin = begin

    @property
    def broker_is_real(self):
        return not hasattr(self.broker, "inject_errors")

    def name(self, prefix):
        return self._unique(prefix)

    def topic(self, partitions=1, name=None):
        name = name or self._unique("flights")
        self.broker.create_topic(name, partitions)
        return name

    def app(self, protocol="consumer", kafka=None, **settings):
        from swarm_consumer import App

        properties = {**self.broker.client_settings(protocol), "log_level": 0, **(kafka or {})}
        settings.setdefault("group", self.group)
        return App("test", properties, **settings)

    def start(self, app, **options):
        return self._begin(app, **options)

    def produce(self, topic, values, partition=None):
        """Produce values in order: to one partition, or in turn to as many as `partition` is a range of."""
        from swarm_consumer.testing.outside_client import Record, produce

        turns = partition if isinstance(partition, range) else [partition]
        records = []
        for number, value in enumerate(values):
            record = value if isinstance(value, Record) else Record(value, partition=turns[number % len(turns)])
            records.append(record)
        return produce(self.bootstrap, topic, records)

    def committed(self, topic, group=None):
        from swarm_consumer.testing.outside_client import committed_offsets

        return committed_offsets(self.bootstrap, group or self.group, topic)

    def await_committed(self, topic, expected=None, group=None, timeout_s=45.0):
        from swarm_consumer.testing.outside_client import await_committed

        return await_committed(self.bootstrap, group or self.group, topic, expected, timeout_s=timeout_s)

    def end(self, topic):
        from swarm_consumer.testing.outside_client import end_offsets

        return end_offsets(self.bootstrap, topic)

    def read(self, topic):
        from swarm_consumer.testing.outside_client import read_all

        return read_all(self.bootstrap, topic)


@pytest.fixture
def world(broker, topic_name, start):
    """Return the surroundings of one scenario on one broker."""
    return World(broker, topic_name, start)


@pytest.fixture
def real_world(kafka_broker, topic_name, start):
    """Return the same on the real broker alone, for what the embedded one cannot serve."""
    return World(kafka_broker, topic_name, start)


@pytest.fixture
def make_app(embedded_broker):
    """Return a function that makes an app for the embedded broker."""
    from swarm_consumer import App

    def make(protocol="consumer", kafka=None, **settings):
        properties = {**embedded_broker.client_settings(protocol), "log_level": 0, **(kafka or {})}
        return App("test", properties, **settings)

    return make
