"""The app: what is consumed, by whom and with which settings. Declaring it starts no thread and makes no client."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from swarm_consumer.bus import Bus, Listener
from swarm_consumer.checks import check_number, check_topic
from swarm_consumer.consumer import Consumer, FunctionConsumer
from swarm_consumer.declared_topics import DeclaredTopic, declared_topic
from swarm_consumer.deserialization import Decoders, compile_decoder
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.events import Event
from swarm_consumer.redaction import redacted
from swarm_consumer.routing import (
    Property,
    Route,
    SubscriptionGroup,
    check_properties,
    merge,
    placed,
    subscription_groups,
)
from swarm_consumer.settings import DEFAULT_PROPERTIES, topic_settings

if TYPE_CHECKING:
    from swarm_consumer.selection import Selection

ConsumerClass = TypeVar("ConsumerClass", bound=type[Consumer])
Function = TypeVar("Function", bound=Callable[..., Any])
ListenerFunction = TypeVar("ListenerFunction", bound=Listener)

_PRODUCER_OWNED = {
    "client.id": "the client id is the first argument of App",
    "error_cb": "subscribe to ClientError events instead",
    "logger": "librdkafka's log goes through the logger swarm_consumer.librdkafka",
    "log_cb": "librdkafka's log goes through the logger swarm_consumer.librdkafka",
    "on_delivery": "wait on what produce() returns instead",
    "dr_cb": "wait on what produce() returns instead",
    "delivery.report.only.error": "every delivery is awaited before its batch counts as done",
}


class Group:
    """A consumer group with settings of its own: ``app.group("delays", kafka={...}).topic("flights")``."""

    def __init__(self, app: App, name: str, kafka: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> None:
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"a consumer group's name must be a non-empty string, not {name!r}")
        check_properties(kafka or {}, f"group {name!r}")
        topic_settings({**app.settings, **settings, **_ttl(settings)}, f"group {name!r}")
        self.app = app
        self.name = name
        self.properties = placed(kafka or {}, f"group {name!r}")
        self.settings = dict(settings)

    def topic(self, *names: str, **options: Any) -> Callable[[ConsumerClass], ConsumerClass]:
        """Do what `App.topic` does, in this group."""
        return self.app.topic(*names, group=self.name, **options)

    def consume(self, *names: str, **options: Any) -> Callable[[Function], Function]:
        """Do what `App.consume` does, in this group."""
        return self.app.consume(*names, group=self.name, **options)


class App:
    """Topics, who consumes them, and how.

    client_id: what brokers and their logs call this app.
    kafka: any librdkafka property; it wins over our defaults. Those that are ours are refused by name.
    producer: properties for the producer alone, on top of `kafka`.
    group: the consumer group of topics that name none; the client id by default.
    concurrency: worker threads per process; batches of different partitions run side by side on them.
    revocation_timeout: seconds in-flight work may take when partitions are taken away; None: 30, or four fifths of
        max.poll.interval.ms if that is less.
    Every topic setting (max_messages, max_wait, ...) may be given here as the default for all topics.

    Raises ConfigurationError (a ValueError) for anything that cannot work.
    """

    def __init__(
        self,
        client_id: str,
        kafka: Mapping[str, Any] | None = None,
        *,
        producer: Mapping[str, Any] | None = None,
        group: str | None = None,
        concurrency: int = 1,
        revocation_timeout: float | None = None,
        **settings: Any,
    ) -> None:
        if not isinstance(client_id, str) or not client_id:
            raise ConfigurationError(f"App(client_id): a non-empty string is needed, not {client_id!r}")
        check_properties(kafka or {}, "App(kafka=...)")
        check_properties(producer or {}, "App(producer=...)", _PRODUCER_OWNED)
        check_number(concurrency, 1, 1000, "concurrency", "App", whole=True)
        if revocation_timeout is not None:
            check_number(revocation_timeout, 0, 86400, "revocation_timeout", "App")
        topic_settings({**settings, **_ttl(settings)}, "App")
        self.client_id = client_id
        self.kafka: dict[str, Any] = dict(kafka or {})
        self.producer_properties: dict[str, Any] = dict(producer or {})
        self.default_group = group or client_id
        self.concurrency = concurrency
        self.revocation_timeout = revocation_timeout
        self.settings: dict[str, Any] = settings
        self.bus = Bus()
        self._properties = merge(placed(DEFAULT_PROPERTIES, "Swarm's defaults"), placed(self.kafka, "App(kafka=...)"))
        self._groups: dict[str, Group] = {}
        self._routes: list[Route] = []
        self._declared_topics: dict[str, DeclaredTopic] = {}

    def __repr__(self) -> str:
        return f"<App {self.client_id!r} kafka={redacted(self.kafka)} topics={[route.topic for route in self._routes]}>"

    # -- declaring -----------------------------------------------------------------------------------------------

    def group(self, name: str, *, kafka: Mapping[str, Any] | None = None, **settings: Any) -> Group:
        """Declare a consumer group's own properties and settings; topics declared in it inherit them."""
        if name in self._groups:
            raise ConfigurationError(f"group {name!r} is declared twice; declare its settings in one place")
        if any(route.group == name for route in self._routes):
            raise ConfigurationError(f"group {name!r} already has topics; declare its settings before them")
        group = self._groups[name] = Group(self, name, kafka, settings)
        return group

    def topic(
        self,
        *names: str,
        group: str | None = None,
        payload: Any = None,
        key: Any = None,
        headers: Callable[..., Any] | None = None,
        kafka: Mapping[str, Any] | None = None,
        subscription_group: str | None = None,
        active: bool = True,
        partitions: int | None = None,
        replication: int | None = None,
        config: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Callable[[ConsumerClass], ConsumerClass]:
        """Declare who consumes one or more topics: a decorator for a Consumer class. A name with ^ is a pattern.

        payload, key: a msgspec type (JSON), Json(...), MessagePack(...), a callable of bytes, one of confluent-kafka's
            schema-registry deserializers, or None for raw bytes. headers: a callable of the list of pairs.
        kafka: client properties of these topics; topics of a group that differ in them get clients of their own.
        subscription_group: an explicit name for the client these topics share.
        active: False leaves the topics out without removing the declaration.
        partitions, replication, config: what the topics are to be like in the cluster, as in `declare_topic`.
        """
        if not names:
            raise ConfigurationError("topic() needs the name of at least one topic")
        if partitions is None and (replication is not None or config):
            raise ConfigurationError(f"topic {names[0]!r}: replication and config need partitions beside them")

        def declare(consumer: ConsumerClass) -> ConsumerClass:
            if not (isinstance(consumer, type) and issubclass(consumer, Consumer)):
                raise ConfigurationError(
                    f"@app.topic({names[0]!r}) takes a class derived from Consumer, not {consumer!r}; for a function "
                    f"use @app.consume"
                )
            group_name = group or self.default_group
            for name in names:
                if partitions is not None:
                    self.declare_topic(name, partitions=partitions, replication=replication, config=config)
                self._declare(
                    name, group_name, consumer, payload, key, headers, kafka or {}, subscription_group, active, settings
                )
            return consumer

        return declare

    def consume(self, *names: str, **options: Any) -> Callable[[Function], Function]:
        """Declare a function as the handler of topics; it is given the batch, and the Consumer if it takes two.

        The options are those of `topic`. The function itself is returned unchanged.
        """

        def declare(function: Function) -> Function:
            if not callable(function) or isinstance(function, type):
                raise ConfigurationError(f"@app.consume takes a function, not {function!r}; for a class use @app.topic")
            parameters = [
                parameter
                for parameter in inspect.signature(function).parameters.values()
                if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
                and parameter.default is parameter.empty
            ]
            if not 1 <= len(parameters) <= 2:
                raise ConfigurationError(
                    f"{function!r} must take the batch, or the batch and the consumer; it takes {len(parameters)} "
                    f"arguments"
                )
            name = getattr(function, "__qualname__", type(function).__qualname__)
            attributes = {"function": staticmethod(function), "wants_consumer": len(parameters) == 2}
            attributes["__doc__"] = function.__doc__
            self.topic(*names, **options)(type(name, (FunctionConsumer,), attributes))
            return function

        return declare

    def _declare(
        self,
        topic: str,
        group: str,
        consumer: type[Consumer],
        payload: Any,
        key: Any,
        headers: Callable[..., Any] | None,
        kafka: Mapping[str, Any],
        subscription_group: str | None,
        active: bool,
        settings: Mapping[str, Any],
    ) -> None:
        where = f"topic {topic!r}"
        check_topic(topic)
        check_properties(kafka, where)
        if group not in self._groups:
            self._groups[group] = Group(self, group, None, {})
        declared = self._groups[group]
        decoders = Decoders(compile_decoder(payload, topic, "payload"), compile_decoder(key, topic, "key"), headers)
        route = Route(
            topic=topic,
            group=group,
            consumer=consumer,
            decoders=decoders,
            settings=topic_settings({**self.settings, **declared.settings, **settings}, where),
            properties=merge(self._properties, declared.properties, placed(kafka, where)),
            explicit_subscription_group=subscription_group,
            active=active,
        )
        subscription_groups([*self._routes, route], self._base_properties())  # conflicts are refused here and now
        self._routes.append(route)

    def declare_topic(
        self, name: str, *, partitions: int, replication: int | None = None, config: Mapping[str, Any] | None = None
    ) -> DeclaredTopic:
        """Declare what a topic is to be like in the cluster, whether it is consumed here or only produced to.

        Running an app makes no topic: a tool compares what is declared with what is there. partitions: how many at
        least. replication: for a topic that is made; None: the broker's default. config: topic configurations. Raises
        ConfigurationError for values that cannot be, and for a topic declared twice in different ways.
        """
        declared = declared_topic(name, partitions, replication, config or {})
        known = self._declared_topics.setdefault(name, declared)
        if known != declared:
            raise ConfigurationError(f"topic {name!r} is declared twice, as {known} and as {declared}")
        return declared

    def override(self, kafka: Mapping[str, Any], where: str) -> None:
        """Let these properties win over all that the code says, for every topic, every group and the producer.

        It is how a command line or an environment has the last word; `where` names it in error messages. Raises
        ConfigurationError for a property that is ours.
        """
        check_properties(kafka, where)
        given = placed(kafka, where)
        self.kafka |= kafka
        self.producer_properties = {
            name: value for name, value in self.producer_properties.items() if name not in kafka
        }
        self._properties = merge(self._properties, given)
        for group in self._groups.values():
            group.properties = merge(group.properties, given)
        self._routes = [replace(route, properties=merge(route.properties, given)) for route in self._routes]

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def routes(self) -> tuple[Route, ...]:
        """Everything that was declared, in order."""
        return tuple(self._routes)

    @property
    def declared_topics(self) -> tuple[DeclaredTopic, ...]:
        """What was declared about topics in the cluster, sorted by name."""
        return tuple(sorted(self._declared_topics.values(), key=lambda topic: topic.name))

    def subscription_groups(self) -> list[SubscriptionGroup]:
        """Return every subscription group, inactive topics included, sorted by name."""
        return subscription_groups(self._routes, self._base_properties())

    def routing_table(self) -> str:
        """Return all of it as text for people.

        Groups, topics, handlers, the settings that are not the default, and each client property with the place where
        it was set. Secrets are masked.
        """
        from swarm_consumer.routing_table import routing_table

        return routing_table(self.subscription_groups())

    def _base_properties(self) -> dict[str, Mapping[str, Property]]:
        return {name: merge(self._properties, group.properties) for name, group in self._groups.items()}

    # -- events and running --------------------------------------------------------------------------------------

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every event, on the thread where it happens; it should return quickly."""
        self.bus.subscribe(listener)

    def on(self, event: type[Event]) -> Callable[[ListenerFunction], ListenerFunction]:
        """Decorate a listener for one type of event: ``@app.on(BatchFailed)``."""

        def declare(listener: ListenerFunction) -> ListenerFunction:
            self.bus.subscribe(listener, event)
            return listener

        return declare

    def run(self, *, signals: bool = False, selection: Selection | None = None, **options: Any) -> int:
        """Consume in this process until stopped; return 0, or 1 after a fatal error, or 4 when the drain took too long.

        With `signals`, INT and TERM stop, TSTP quiets; without, no signal handler is installed, and Python's own
        KeyboardInterrupt drains before it is raised. The options are those of `Runtime`.
        """
        from swarm_consumer.runtime import Runtime
        from swarm_consumer.signals import handling

        runtime = Runtime(self, selection=selection, **options)
        if not signals:
            return runtime.run()
        with handling(runtime):
            return runtime.run()


def _ttl(settings: Mapping[str, Any]) -> dict[str, Any]:
    # As a default for all topics, long_running may come without the TTL that each topic then has to give.
    return {"consuming_ttl": 1e6} if settings.get("long_running") and "consuming_ttl" not in settings else {}
