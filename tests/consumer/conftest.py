"""What the consumer package's tests share: records without a broker, and lanes over a ledger."""

from __future__ import annotations

import threading
import time

import confluent_kafka
import pytest


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

    def begin(app, stopping=None, quieting=None, leaving=None, **options):
        options.setdefault("drain_timeout", 15.0)
        running = Running(app, options, {"stopping": stopping, "quieting": quieting, "leaving": leaving})
        started.append(running)
        return running

    yield begin
    for running in started:
        running.runtime.stop()
    for running in started:
        running._thread.join(20)


@pytest.fixture
def make_app(embedded_broker):
    """Return a function that makes an app for the embedded broker."""
    from swarm_consumer import App

    def make(protocol="consumer", kafka=None, **settings):
        properties = {**embedded_broker.client_settings(protocol), "log_level": 0, **(kafka or {})}
        return App("test", properties, **settings)

    return make
