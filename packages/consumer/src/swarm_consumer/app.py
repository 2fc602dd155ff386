"""The app: what is consumed, by which handlers, with which settings. Declaring it starts no thread and no client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from swarm_consumer._handling import handlers
from swarm_consumer._handling.annotations import check_headers_decoder, decoders_of, payload_of
from swarm_consumer._handling.consumer import Consumer, FunctionConsumer
from swarm_consumer._handling.hooks import Hooked, Hooks
from swarm_consumer._reporting.bus import Bus, Listener
from swarm_consumer._running.process_settings import ProcessSettings, check_process_setting
from swarm_consumer.declaring.checks import check_flag, check_mapping, check_name, check_number, check_topic, declared
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.events import Event
from swarm_consumer.kafka.redaction import redacted
from swarm_consumer.routing.declared_topics import DeclaredTopic, declared_topic
from swarm_consumer.routing.group import Group
from swarm_consumer.routing.property_checks import check_properties
from swarm_consumer.routing.routes import Property, Route, SubscriptionGroup, merge, placed, subscription_groups
from swarm_consumer.routing.settings import DEFAULT_PROPERTIES, check_defaults, topic_settings
from swarm_consumer.wording.place import Place, caller

if TYPE_CHECKING:
    from typing import Unpack

    from swarm_consumer.routing.selection import Selection
    from swarm_consumer.routing.settings import GroupedTopicOptions, OneTopicKeywords, TopicKeywords

ConsumerClass = TypeVar("ConsumerClass", bound=type[Consumer])
Function = TypeVar("Function", bound=Callable[..., Any])
ListenerFunction = TypeVar("ListenerFunction", bound=Listener)

_PRODUCER_OWNED = {
    "client.id": "set the client id with the first argument of App",
    "error_cb": "subscribe to ClientError events instead",
    "logger": "librdkafka logs to the logger swarm_consumer.librdkafka",
    "log_cb": "librdkafka logs to the logger swarm_consumer.librdkafka",
    "on_delivery": "wait on the return value of produce() instead",
    "dr_cb": "wait on the return value of produce() instead",
    "delivery.report.only.error": "a batch only counts as done after all its deliveries",
}


class App(Hooked):
    """Topics, their handlers and settings.

    client_id: the app's name for brokers and their logs.
    kafka: any librdkafka property; it overrides our defaults. Properties that belong to Swarm are refused by name.
    producer: properties only for the producer, on top of `kafka`.
    group: the consumer group of topics that name none; the client id by default.
    concurrency: worker threads per process; they run batches of different partitions in parallel.
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
        concurrency: int = ProcessSettings.concurrency,
        revocation_timeout: float | None = None,
        **settings: Unpack[TopicKeywords],
    ) -> None:
        with declared(caller()):
            check_name(client_id, "client_id", "App")
            if group is not None:
                check_name(group, "group", "App")
            check_properties({} if kafka is None else kafka, "App(kafka=...)")
            check_properties({} if producer is None else producer, "App(producer=...)", _PRODUCER_OWNED)
            check_process_setting("concurrency", concurrency, "App")
            if revocation_timeout is not None:
                check_number(revocation_timeout, 0, 86400, "revocation_timeout", "App")
            check_defaults(settings, "App", settings)
        self.client_id = client_id
        self.kafka: dict[str, Any] = dict(kafka or {})
        self.producer_properties: dict[str, Any] = dict(producer or {})
        self.default_group = group or client_id
        self.concurrency = concurrency
        self.revocation_timeout = revocation_timeout
        self.settings: dict[str, Any] = dict(settings)
        self.bus = Bus()
        self.hooks = Hooks()
        self._properties = merge(placed(DEFAULT_PROPERTIES, "Swarm's defaults"), placed(self.kafka, "App(kafka=...)"))
        self._groups: dict[str, Group] = {}
        self._routes: list[Route] = []
        self._declared_topics: dict[str, DeclaredTopic] = {}

    def __repr__(self) -> str:
        return f"<App {self.client_id!r} kafka={redacted(self.kafka)} topics={[route.topic for route in self._routes]}>"

    # -- declaring -----------------------------------------------------------------------------------------------

    def group(
        self, name: str, *, kafka: Mapping[str, Any] | None = None, **settings: Unpack[OneTopicKeywords]
    ) -> Group:
        """Declare a consumer group's own properties and settings; topics declared in it inherit them."""
        with declared(caller()):
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
        **settings: Unpack[OneTopicKeywords],
    ) -> Callable[[ConsumerClass], ConsumerClass]:
        """Declare the handler of one or more topics: a decorator for a Consumer class. A name with ^ is a pattern.

        payload, key: a msgspec type (JSON; str is a JSON string), a pydantic model, Json(...), MessagePack(...), a
            callable of bytes, one of confluent-kafka's schema-registry deserializers, or None for raw bytes. A payload
            that is omitted follows the annotation: ``def consume(self, messages: Batch[Order])``. A payload may also
            be a `Codec`, which sees the headers and encodes what is produced to the topic.
        headers: a callable of the list of pairs.
        kafka: client properties of these topics; topics of a group with different properties get separate clients.
        subscription_group: an explicit name for the client these topics share.
        active: False leaves the topics out without removing the declaration.
        partitions, replication, config: the topics' declaration in the cluster, as in `declare_topic`.

        Raises ConfigurationError, with the file and line of this call, for anything that cannot work.
        """
        place = caller()
        with declared(place):
            if not names:
                raise ConfigurationError("topic() needs the name of at least one topic")
            for name in names:
                check_topic(name)
            where = f"topic {names[0]!r}"
            if partitions is None and (replication is not None or config):
                raise ConfigurationError(f"{where}: replication and config need partitions beside them")
            check_flag(active, "active", where)
            for option, value in (("group", group), ("subscription_group", subscription_group)):
                if value is not None:
                    check_name(value, option, where)
            if headers is not None:
                check_headers_decoder(headers, names[0])
            check_mapping(config or {}, "config", where)

        def declare(consumer: ConsumerClass) -> ConsumerClass:
            with declared(place):
                if not (isinstance(consumer, type) and issubclass(consumer, Consumer)):
                    raise ConfigurationError(
                        f"@app.topic({names[0]!r}) takes a class derived from Consumer, not {consumer!r}; for a "
                        f"function use @app.consume"
                    )
                handlers.check_consumer(consumer)
                code = consumer.function if issubclass(consumer, FunctionConsumer) else consumer.consume
                wanted = payload_of(code, payload, place.names)
                route = {"consumer": consumer, "explicit_subscription_group": subscription_group, "active": active}
                for name in names:
                    self._declare(
                        name,
                        group or self.default_group,
                        {} if kafka is None else kafka,
                        settings,
                        place,
                        decoders=decoders_of(name, wanted, key, headers),
                        **route,
                    )
                    if partitions is not None:
                        self.declare_topic(name, partitions=partitions, replication=replication, config=config)
            return consumer

        return declare

    def consume(self, *names: str, **options: Unpack[GroupedTopicOptions]) -> Callable[[Function], Function]:
        """Declare a function as the handler of topics; it is given the batch, and the Consumer if it takes two.

        The options are those of `topic`. The function itself is returned unchanged.
        """
        place = caller()
        declare_class = self.topic(*names, **options)

        def declare(function: Function) -> Function:
            with declared(place):
                declare_class(handlers.function_consumer(function))
            return function

        return declare

    def _declare(
        self,
        topic: str,
        group: str,
        kafka: Mapping[str, Any],
        settings: Mapping[str, Any],
        place: Place,
        **fields: Any,
    ) -> None:
        where = f"topic {topic!r}"
        check_properties(kafka, where)
        of_group = self._groups.get(group) or Group(self, group, None, {})
        route = Route(
            topic=topic,
            group=group,
            settings=topic_settings({**self.settings, **of_group.settings, **settings}, where, settings),
            properties=merge(self._properties, of_group.properties, placed(kafka, where)),
            place=str(place),
            **fields,
        )
        base = {**self._base_properties(), group: merge(self._properties, of_group.properties)}
        subscription_groups([*self._routes, route], base)  # conflicts are refused now
        self._groups[group] = of_group
        self._routes.append(route)

    def declare_topic(
        self, name: str, *, partitions: int, replication: int | None = None, config: Mapping[str, Any] | None = None
    ) -> DeclaredTopic:
        """Declare the form of a topic in the cluster, whether it is consumed here or only produced to.

        Running an app creates no topic: a tool compares the declarations with the cluster. partitions: the
        minimum. replication: for new topics; None: the broker's default. config: topic configurations. Raises
        ConfigurationError for impossible values, and for a topic declared twice in different ways.
        """
        with declared(caller()):
            topic = declared_topic(name, partitions, replication, {} if config is None else config)
            known = self._declared_topics.setdefault(name, topic)
            if known != topic:
                raise ConfigurationError(f"topic {name!r} is declared twice, as {known} and as {topic}")
        return topic

    def override(self, kafka: Mapping[str, Any], where: str) -> None:
        """Override the properties in the code, for every topic, every group and the producer.

        A command line or an environment uses this; `where` names it in error messages. Raises
        ConfigurationError for a property that belongs to Swarm.
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
        """All declared routes, in order."""
        return tuple(self._routes)

    @property
    def declared_topics(self) -> tuple[DeclaredTopic, ...]:
        """The declarations of topics in the cluster, sorted by name."""
        return tuple(sorted(self._declared_topics.values(), key=lambda topic: topic.name))

    def subscription_groups(self) -> list[SubscriptionGroup]:
        """Return every subscription group, inactive topics included, sorted by name."""
        return subscription_groups(self._routes, self._base_properties())

    def routing_table(self) -> str:
        """Return the routing table as text.

        Groups, topics, handlers, non-default settings, and each client property with the place where
        it was set. Secrets are masked.
        """
        from swarm_consumer.routing.routing_table import routing_table

        return routing_table(self.subscription_groups())

    def _base_properties(self) -> dict[str, Mapping[str, Property]]:
        return {name: merge(self._properties, group.properties) for name, group in self._groups.items()}

    # -- events and running --------------------------------------------------------------------------------------

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every event, on the thread where it happens; it should return quickly."""
        with declared(caller()):
            handlers.check_listener(listener, "app.subscribe", 1)
        self.bus.subscribe(listener)

    def on(self, event: type[Event]) -> Callable[[ListenerFunction], ListenerFunction]:
        """Decorate a listener for one type of event: ``@app.on(BatchFailed)``, from swarm_consumer.events."""
        place = caller()
        with declared(place):
            if not (isinstance(event, type) and issubclass(event, Event)):
                raise ConfigurationError(f"@app.on takes a class of swarm_consumer.events, not {event!r}")

        def declare(listener: ListenerFunction) -> ListenerFunction:
            with declared(place):
                handlers.check_listener(listener, f"@app.on({event.__name__})", 1)
            self.bus.subscribe(listener, event)
            return listener

        return declare

    def run(self, *, signals: bool = False, selection: Selection | None = None, **options: Any) -> int:
        """Consume in this process until stopped; return 0, or 1 after a fatal error, or 4 if the drain took too long.

        With `signals`, INT and TERM stop, TSTP quiets; without, no signal handler is installed, and Python's own
        KeyboardInterrupt drains before it is raised. The options are those of `Runtime`.
        """
        from swarm_consumer._running.runtime import Runtime
        from swarm_consumer._running.signalled_run import run_under_signals

        runtime = Runtime(self, selection=selection, **options)
        return run_under_signals(runtime) if signals else runtime.run()
