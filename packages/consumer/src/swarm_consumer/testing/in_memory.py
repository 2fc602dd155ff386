"""Run a consumer on given messages in a test, without a broker or waiting, and inspect everything it did afterwards."""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

from swarm_consumer._connection.connection import Connection
from swarm_consumer._handling.consumer import Consumer
from swarm_consumer._payloads.codec import DEFAULT, Codec, Encoded, encode_json, encoded
from swarm_consumer._running.application import Application
from swarm_consumer._running.runtime import Runtime
from swarm_consumer.app import App
from swarm_consumer.declaring.checks import nearest
from swarm_consumer.errors import ConfigurationError, ConsumptionError
from swarm_consumer.events import BatchFailed, DeadLettered, DeadLetterLimitReached, Event
from swarm_consumer.kafka.clients import CommitCallback, ErrorCallback
from swarm_consumer.routing.codecs import TopicCodecs
from swarm_consumer.routing.routes import Route, SubscriptionGroup
from swarm_consumer.routing.settings import GroupedTopicOptions
from swarm_consumer.testing._memory_client import Key, MemoryConsumer, MemoryLog, MemoryProducer
from swarm_consumer.testing.errors import UnsupportedByBroker
from swarm_consumer.testing.outside_client import Record, as_bytes

DRAIN_TIMEOUT_S = 1.0  # after the run's own deadline: a handler that hangs is left behind


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a run of messages.

    ``committed`` is the offset at which the group would continue, by (topic, partition); ``metadata`` what was
    committed beside it. ``produced`` holds what was produced, by topic, dead letters included. ``complaint`` is what a
    handler gave to `Consumer.unhealthy`. ``events`` are the runtime's own.
    """

    committed: dict[Key, int] = field(default_factory=dict)
    metadata: dict[Key, str] = field(default_factory=dict)
    produced: dict[str, list[Record]] = field(default_factory=dict)
    complaint: tuple[int, str] | None = None
    events: tuple[Event, ...] = ()

    @property
    def failures(self) -> list[BaseException]:
        """What handlers raised, in order."""
        return [event.error for event in self.events if isinstance(event, BatchFailed)]

    @property
    def dead_lettered(self) -> list[DeadLettered]:
        """The messages that were given up."""
        return [event for event in self.events if isinstance(event, DeadLettered)]


def run_messages(
    target: type[Consumer] | Callable[..., Any] | App,
    messages: Iterable[Any] | Mapping[str, Iterable[Any]],
    *,
    topic: str = "messages",
    attempts: int | None = None,
    timeout_s: float = 10.0,
    encode: Callable[[Any], bytes | Encoded] | None = None,
    chain: bool = False,
    producer: Mapping[str, Any] | None = None,
    **options: Unpack[GroupedTopicOptions],
) -> Outcome:
    """Run a consumer class, a handler function or a whole app on messages, and return what it did.

    ``messages`` are values or Records of one topic, or a mapping of topics to them; what is not bytes, None or a Record
    goes through ``encode``: by default the topic's codec, and JSON without one. A Record without a partition is in
    partition 0. The runtime is the real one, with its batches, decoding, marking, retries, dead letters, transactions,
    hooks and lifespan; only the Kafka clients are replaced. ``options`` are those of App.topic (payload=,
    max_messages=, dead_letters=, ...), ``producer`` is App's, for transactions: ``{"transactional.id": "any"}``; an app
    has its own. Back-offs take no time. With ``chain`` what is produced to a topic that the app consumes is handled
    too.

    The run ends when every message is handled. When a batch has failed ``attempts`` times (1 by default; no limit
    for topics with dead letters), the handler's error is raised here. Raises TimeoutError after timeout_s seconds,
    and ConfigurationError for messages of a topic that nothing consumes.
    """
    app = target if isinstance(target, App) else _app(target, topic, options, producer)
    given = messages if isinstance(messages, Mapping) else {topic: messages}
    routes = [route for route in app.routes if route.active]
    for name in given:
        if not any(route.covers(name) for route in routes):
            known = sorted(route.topic for route in routes)
            raise ConfigurationError(
                f"run_messages: nothing consumes the topic {name!r}{nearest(name, known)} "
                f"(there is {', '.join(known) or 'nothing'})"
            )
    return _Run(app, _log(given, encode, TopicCodecs(app.subscription_groups())), attempts, timeout_s, chain).outcome()


def _app(
    target: type[Consumer] | Callable[..., Any],
    topic: str,
    options: GroupedTopicOptions,
    producer: Mapping[str, Any] | None,
) -> App:
    app = App("run-messages", kafka={"bootstrap.servers": "in-memory"}, producer=producer)
    if isinstance(target, type) and issubclass(target, Consumer):
        app.topic(topic, **options)(target)
    else:
        app.consume(topic, **options)(target)
    return app


def _log(
    given: Mapping[str, Iterable[Any]], encode: Callable[[Any], bytes | Encoded] | None, codecs: TopicCodecs
) -> MemoryLog:
    log = MemoryLog()
    for topic, items in given.items():
        codec = codecs.of(topic)
        make = encode or (encode_json if codec is DEFAULT else functools.partial(_encoded, codec))
        log.partitions.setdefault((topic, 0), [])
        for item in items:
            record = item if isinstance(item, Record) else Record(item)
            record = as_bytes(record, make)
            log.append(topic, record.partition or 0, record, record.value)
    return log


def _encoded(codec: Codec, payload: Any) -> Encoded:
    """Return what a codec makes of a payload, checked as it is when it is produced."""
    value, headers = encoded(codec, payload)
    return Encoded(value or b"", headers)


class _MemoryClients:
    """Makes the clients of a run: they need no broker."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    def consumer(
        self,
        properties: Mapping[str, Any],
        *,
        error_cb: ErrorCallback | None = None,
        stats_cb: Callable[[str], object] | None = None,
        on_commit: CommitCallback | None = None,
    ) -> Any:
        """Return a consumer of the run's messages."""
        watch = _Watch(self._run)
        eof = bool(properties.get("enable.partition.eof"))
        client = MemoryConsumer(self._run.log, eof, watch.took, watch.polled, on_commit)
        self._run.consumers.append(client)
        return client

    def producer(self, properties: Mapping[str, Any], *, error_cb: ErrorCallback | None = None) -> Any:
        """Return the run's one producer."""
        return self._run.producer

    def admin(self, properties: Mapping[str, Any], *, error_cb: ErrorCallback | None = None) -> Any:
        """Refuse: there is no cluster."""
        raise UnsupportedByBroker("run_messages has no cluster to administer: use EmbeddedBroker or KafkaBroker")


class _Watch:
    """Sees whether one subscription group has anything left to do. Called on its owner thread."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._hooks_queued = False
        self._taken = 0

    def took(self) -> None:
        """Note that a message was taken: the group is not idle. With the log's lock held."""
        self._run.idle.discard(self)
        self._hooks_queued = False
        self._taken += 1

    def polled(self) -> None:
        """Note, after a poll without a message, whether everything is handled."""
        # Hooks such as eofed run one after the other on a thread of their own: when one that we queued behind them
        # has run, they have run too.
        connection = self._run.connection_of_this_thread()
        if not connection.caught_up:
            with self._run.log.lock:
                self.took()
        elif not self._hooks_queued:
            self._hooks_queued = True
            connection.workers.submit_hook(functools.partial(self._hooks_ran, self._taken))
        self._run.check()

    def _hooks_ran(self, taken: int) -> None:
        with self._run.log.lock:
            if taken == self._taken:  # else a message has come meanwhile
                self._run.idle.add(self)


class _Impatient(Application):
    """An app whose back-offs take no time, and which reads its topics from their beginning."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.client_id = app.client_id
        self.concurrency = app.concurrency
        self.revocation_timeout = app.revocation_timeout
        self.producer_properties = app.producer_properties
        self.bus = app.bus
        self.hooks = app.hooks
        self._properties = app._properties

    def subscription_groups(self) -> list[SubscriptionGroup]:
        """Return the app's own, with other settings."""
        return [
            dataclasses.replace(group, routes=tuple(_impatient(route) for route in group.routes))
            for group in self._app.subscription_groups()
        ]


def _impatient(route: Route) -> Route:
    settings = dataclasses.replace(
        route.settings, retry_backoff=0.0, retry_backoff_max=0.0, max_wait=0.001, initial_offset="earliest"
    )
    return dataclasses.replace(route, settings=settings)


class _Run:
    """One run: what goes in, when it is over, and what came out."""

    def __init__(self, app: App, log: MemoryLog, attempts: int | None, timeout_s: float, chain: bool) -> None:
        self.log = log
        self.consumers: list[MemoryConsumer] = []
        self.producer = MemoryProducer(self._feed if chain else None)
        self.idle: set[_Watch] = set()
        self._attempts = attempts
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._unfinished = ""  # what happened last when the time was over
        self._error: BaseException | None = None
        self._events: list[Event] = []
        self._app = app
        self._runtime = Runtime(_Impatient(app), drain_timeout=DRAIN_TIMEOUT_S, clients=_MemoryClients(self))
        app.subscribe(self._seen)

    def outcome(self) -> Outcome:
        """Run to the end; raise what the handler raised, or TimeoutError."""
        self._runtime.run()
        if self._error is not None:
            raise self._error
        if self._unfinished:
            raise TimeoutError(
                f"Not all messages were handled within {self._timeout_s:g} s; the last events: {self._unfinished}"
            )
        committed = {key: place for each in self.consumers for key, place in each.committed_offsets.items()}
        return Outcome(
            committed={key: place.offset for key, place in committed.items()},
            metadata={key: place.metadata for key, place in committed.items() if place.metadata},
            produced=self.producer.produced,
            complaint=self._runtime.complaint(),
            events=tuple(self._events),
        )

    def _feed(self, topic: str, partition: int, record: Record) -> None:
        """Hand what was produced to the app's own handlers."""
        if any(route.active and route.covers(topic) for route in self._app.routes):
            assert record.value is None or isinstance(record.value, bytes)
            self.log.append(topic, partition, record, record.value)

    def connection_of_this_thread(self) -> Connection:
        """Return the connection whose owner thread this is."""
        return next(each for each in self._runtime.polls() if each.thread is threading.current_thread())

    def check(self) -> None:
        """End the run when there is nothing left to do, or no time."""
        with self.log.lock:
            over = len(self.idle) == len(self._runtime.polls()) and all(each.exhausted() for each in self.consumers)
        if over:
            self._runtime.stop("every message is handled")
        elif time.monotonic() > self._deadline:
            if not self._unfinished:
                self._unfinished = "; ".join(map(str, self._events[-3:]))
            self._runtime.stop("the time is over")

    def _seen(self, event: Event) -> None:
        self._events.append(event)
        if self._error is not None:
            return
        if isinstance(event, BatchFailed):
            if event.attempt < self._attempts_of(event.topic) and isinstance(event.error, Exception):
                return
            self._error = event.error
        elif isinstance(event, DeadLetterLimitReached):
            self._error = ConsumptionError(str(event))
        else:
            return
        self._runtime.stop("a batch failed")

    def _attempts_of(self, topic: str) -> float:
        if self._attempts is not None:
            return self._attempts
        routes = [group.route_of(topic) for group in self._runtime.app.subscription_groups()]
        diverts = any(route is not None and route.settings.dead_letters is not None for route in routes)
        return math.inf if diverts else 1
