"""Run a consumer on messages given in a test: no broker, no waiting, and everything it did to look at afterwards."""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from confluent_kafka import Message

from swarm_consumer.app import App
from swarm_consumer.client import SubscriptionClient
from swarm_consumer.consumer import Consumer
from swarm_consumer.errors import ConsumptionError
from swarm_consumer.events import BatchFailed, DeadLettered, DeadLetterLimitReached, Event
from swarm_consumer.lane import Lane
from swarm_consumer.owner import Owner
from swarm_consumer.routing import Route, SubscriptionGroup
from swarm_consumer.runtime import Runtime
from swarm_consumer.testing._memory_client import Key, MemoryConsumer, MemoryProducer, make_message
from swarm_consumer.testing.outside_client import Record

DRAIN_TIMEOUT_S = 1.0  # after the run's own deadline: a handler that hangs is left behind


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run of messages led to.

    ``committed`` is the offset at which the group would go on, by (topic, partition); ``metadata`` what was committed
    beside it. ``produced`` holds what was produced, by topic, dead letters included. ``complaint`` is what a handler
    gave to `Consumer.unhealthy`. ``events`` are the runtime's own.
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
    encode: Callable[[Any], bytes] = msgspec.json.encode,
    **options: Any,
) -> Outcome:
    """Run a consumer class, a handler function or a whole app on messages, and return what it did.

    ``messages`` are values or Records of one topic, or a mapping of topics to them; what is not bytes, None or a Record
    goes through ``encode``. A Record without a partition is in partition 0. The runtime is the real one, with its
    batches, decoding, marking, retries, dead letters and hooks; only the Kafka clients are replaced. ``options`` are
    those of App.topic (payload=, max_messages=, dead_letters=, ...); an app has its own. Back-offs take no time.

    The run ends when every message is done with. When a batch has failed ``attempts`` times (1 by default; without end
    for topics with dead letters), what the handler raised is raised here. Raises TimeoutError after timeout_s seconds.
    """
    app = target if isinstance(target, App) else _app(target, topic, options)
    given = messages if isinstance(messages, Mapping) else {topic: messages}
    return _Run(app, _partitions(given, encode), attempts, timeout_s).outcome()


def _app(target: type[Consumer] | Callable[..., Any], topic: str, options: Mapping[str, Any]) -> App:
    app = App("run-messages", kafka={"bootstrap.servers": "in-memory"})
    declare = app.topic if isinstance(target, type) and issubclass(target, Consumer) else app.consume
    declare(topic, **options)(target)  # type: ignore[type-var]
    return app


def _partitions(given: Mapping[str, Iterable[Any]], encode: Callable[[Any], bytes]) -> dict[Key, list[Message]]:
    partitions: dict[Key, list[Message]] = {}
    for topic, items in given.items():
        partitions.setdefault((topic, 0), [])
        for item in items:
            record = item if isinstance(item, Record) else Record(item)
            value = record.value if record.value is None or isinstance(record.value, bytes) else encode(record.value)
            partition = record.partition or 0
            there = partitions.setdefault((topic, partition), [])
            following = (there[-1].offset() or 0) + 1 if there else 0
            offset = record.offset if record.offset is not None else following
            if offset < following:
                raise ValueError(
                    f"{topic}[{partition}]: offset {offset} comes after {following - 1}; offsets only grow"
                )
            there.append(make_message(topic, partition, offset, record, value))
    return partitions


class _Owner(Owner):
    """The owner thread of a group whose client is in memory."""

    group: "_Client"

    def connect(self) -> Any:
        """Make the stand-in for the client."""
        eof = bool(self.properties.for_client().get("enable.partition.eof"))
        client = MemoryConsumer(self.group.run.partitions, eof, self.group.polled)
        self.group.run.consumers.append(client)
        return client


class _Client(SubscriptionClient):
    """A subscription group over messages in memory."""

    owner_type = _Owner
    run: "_Run"
    _hooks_queued = False

    def polled(self, nothing_came: bool) -> None:
        """Note whether everything is done with. Called on the owner thread at each poll."""
        # Hooks such as eofed run one after the other on a thread of their own: when one that we queued behind them
        # has run, they have run too.
        with self.lock:
            idle = nothing_came and not any(map(_unfinished, self.lanes.by_key.values()))
        if not idle:
            self.run.idle.discard(self)
            self._hooks_queued = False
        elif not self._hooks_queued:
            self._hooks_queued = True
            self.workers.submit_hook(lambda: self.run.idle.add(self))
        self.run.check()


def _unfinished(lane: Lane) -> bool:
    waits_for_ever = lane.paused_until == float("inf")
    return (
        lane.running is not None
        or lane.pending_seek is not None
        or (not waits_for_ever and (bool(lane.held) or lane.retry is not None))
    )


class _Runtime(Runtime):
    """A runtime whose clients are in memory and whose back-offs take no time."""

    def __init__(self, run: "_Run", app: App) -> None:
        super().__init__(app, drain_timeout=DRAIN_TIMEOUT_S)
        self._run = run
        self._groups = [
            dataclasses.replace(group, routes=tuple(_impatient(route) for route in group.routes))
            for group in self._groups
        ]
        self.producer._client = run.producer  # type: ignore[assignment]
        self.producer._pid = os.getpid()

    _client_type = _Client

    def _make_client(self, group: SubscriptionGroup) -> SubscriptionClient:
        client = super()._make_client(group)
        assert isinstance(client, _Client)
        client.run = self._run
        return client


def _impatient(route: Route) -> Route:
    settings = dataclasses.replace(
        route.settings, retry_backoff=0.0, retry_backoff_max=0.0, max_wait=0.001, initial_offset="earliest"
    )
    return dataclasses.replace(route, settings=settings)


class _Run:
    """One run: what goes in, when it is over, and what came out."""

    def __init__(self, app: App, partitions: dict[Key, list[Message]], attempts: int | None, timeout_s: float) -> None:
        self.partitions = partitions
        self.consumers: list[MemoryConsumer] = []
        self.producer = MemoryProducer()
        self.idle: set[_Client] = set()
        self._attempts = attempts
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._unfinished = ""  # what happened last when the time was over
        self._error: BaseException | None = None
        self._events: list[Event] = []
        self._runtime = _Runtime(self, app)
        app.subscribe(self._seen)

    def outcome(self) -> Outcome:
        """Run to the end; raise what the handler raised, or TimeoutError."""
        self._runtime.run()
        if self._error is not None:
            raise self._error
        if self._unfinished:
            raise TimeoutError(
                f"The messages were not done with within {self._timeout_s:g} s; "
                f"the last events were: {self._unfinished}"
            )
        committed = {key: place for each in self.consumers for key, place in each.committed_offsets.items()}
        return Outcome(
            committed={key: place.offset for key, place in committed.items()},
            metadata={key: place.metadata for key, place in committed.items() if place.metadata},
            produced=self.producer.produced,
            complaint=self._runtime.complaint(),
            events=tuple(self._events),
        )

    def check(self) -> None:
        """End the run when there is nothing left to do, or no time."""
        if len(self.idle) == len(self._runtime.polls()):
            self._runtime.stop("every message is done with")
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
