"""The cluster of an application: what is asked of it and told to it, each with a deadline, each failure one sentence.

Its clients have threads: only for a command's own process, never for one that forks.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, not all re-exported for mypy
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from swarm_cli.administration.positions import Partition
from swarm_cli.administration.topic_plan import Change, Configure, Create, Delete, Repartition, TopicState
from swarm_cli.errors import CommandError, UsageError, complain
from swarm_consumer.kafka.client_errors import PASSING_ERRORS
from swarm_consumer.kafka.connection_reasons import connection_reason
from swarm_consumer.kafka.producer_properties import consumer_properties
from swarm_consumer.kafka.redaction import scrub, secrets_of

if TYPE_CHECKING:
    from swarm_consumer import App
    from swarm_consumer.routing import Property

TIMEOUT_S = 20.0
CONTROLLER_S = 3.0
"""How long a cluster may be without a controller: an election takes less."""
LOOK_S = 0.1
"""Between two looks at something that the cluster does not announce."""
WORTH_A_WORD_S = 3.0
"""A wait that is shorter than this is not announced."""
MOST_REASONS = 100
"""Distinct lines of the client that are kept."""
AT_WORK = frozenset(
    {
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.STALE_MEMBER_EPOCH,
    }
)
"""What a coordinator says to a commit from outside while the group has members."""


def _is_connection(name: str) -> bool:
    """Whether a property says how to reach the brokers; an AdminClient warns of those that say how to consume."""
    return name in ("error_cb", "oauth_cb", "log_level", "metadata.broker.list") or name.startswith(
        ("bootstrap.", "sasl.", "ssl.", "security.", "socket.", "broker.", "client.", "reconnect.", "enable.ssl")
    )


class Cluster:
    """The cluster of an application, seen with the properties of one of its groups, or of its topics at large."""

    def __init__(
        self, app: "App", properties: "Mapping[str, Property]", timeout_s: float | None = None, group: str | None = None
    ) -> None:
        """Make the client; nothing is asked yet. `group`: whose offsets it is about.

        Raises UsageError for properties that the client refuses.
        """
        self.timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
        given = consumer_properties({name: one.value for name, one in properties.items()})
        given |= {"client.id": f"{app.client_id}-cli", "group.id": group or app.default_group}
        self.servers = str(given.get("bootstrap.servers", ""))
        if not self.servers:
            raise UsageError(
                "no broker is named: set bootstrap.servers in App(kafka=...) or give --bootstrap-servers HOST:PORT."
            )
        self._secrets = secrets_of(given)
        self._reasons: dict[str, None] = {}
        self._said_that_it_waits = False
        # Asking is not joining: no subscription, no id of a static member, no commits but those that are asked for.
        given.pop("group.instance.id", None)
        given |= {"enable.auto.commit": False, "statistics.interval.ms": 0, "log_level": 0}
        self._isolation = str(given.get("isolation.level", "read_committed"))
        given["error_cb"] = self._note
        self._properties = given
        self._group_client: Consumer | None = None
        try:
            # Not the consumer's client: one that has a group.id looks for its coordinator, and a new cluster makes the
            # topic __consumer_offsets for it. A plan changes nothing.
            self._admin = AdminClient({name: value for name, value in given.items() if _is_connection(name)})
        except (KafkaException, TypeError, ValueError) as error:
            raise self._refusal(error) from error

    @property
    def _consumer(self) -> Consumer:
        if self._group_client is None:
            try:
                self._group_client = Consumer(self._properties)
            except (KafkaException, TypeError, ValueError) as error:
                raise self._refusal(error) from error
        return self._group_client

    def _refusal(self, error: BaseException) -> UsageError:
        cause = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        return UsageError(f"the client refuses its properties: {scrub(cause, self._secrets)}.")

    def close(self) -> None:
        """Let go of the clients."""
        if self._group_client is not None:
            self._group_client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- topics ---------------------------------------------------------------------------------------------------

    def partitions(self) -> dict[str, int]:
        """How many partitions each topic has. Raises CommandError when no broker answers."""
        return {name: len(topic.partitions) for name, topic in self._metadata().items()}

    def topics(self, names: Collection[str], configured: Collection[str] = ()) -> dict[str, TopicState]:
        """Those of `names` that are there; those of `configured` with their configurations. Raises CommandError."""
        present = {name: topic for name, topic in self._metadata().items() if name in names}
        configs = self._configurations([name for name in present if name in configured])
        return {
            name: TopicState(
                partitions=len(topic.partitions),
                replication=max(len(partition.replicas) for partition in topic.partitions.values()),
                config=configs.get(name, {}),
            )
            for name, topic in present.items()
        }

    def _configurations(self, names: Collection[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        self._check_controller()
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._admin.describe_configs(resources, request_timeout=self.timeout_s)
        found = {}
        for resource, future in answers.items():
            entries = self._result(future, f"the configuration of topic {resource.name!r} is not known")
            found[resource.name] = {key: entry.value for key, entry in entries.items() if entry.value is not None}
        return found

    def make(self, change: Change) -> None:
        """Make one change and wait until the cluster shows it. Raises CommandError."""
        self._check_controller()
        admin = self._admin
        failure = f"{self.servers} did not {change.action} topic {change.name!r}"
        limits = {"request_timeout": self.timeout_s, "operation_timeout": self.timeout_s}
        match change:
            case Create(topic):
                replication = -1 if topic.replication is None else topic.replication  # -1: the broker's default
                wanted = NewTopic(topic.name, topic.partitions, replication, config=dict(topic.config))
                self._result(admin.create_topics([wanted], **limits)[topic.name], failure)
                self._await(lambda: self.partitions().get(topic.name) == topic.partitions, f"{topic.name} to appear")
            case Repartition(name, _, after):
                self._result(admin.create_partitions([NewPartitions(name, after)], **limits)[name], failure)
                self._await(lambda: self.partitions().get(name) == after, f"the new partitions of {name}")
            case Configure(name, values):
                entries = [
                    ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                    for key, (_, value) in values.items()
                ]
                resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
                (future,) = admin.incremental_alter_configs([resource], request_timeout=self.timeout_s).values()
                self._result(future, failure)
            case Delete(name):
                self._result(admin.delete_topics([name], **limits)[name], failure)
                self._await(lambda: name not in self.partitions(), f"{name} to go")

    # -- offsets --------------------------------------------------------------------------------------------------

    def positions(self, wanted: Iterable[tuple[str, int]]) -> list[Partition]:
        """Committed offset, first and end offset of each (topic, partition). Raises CommandError."""
        asked = [TopicPartition(topic, number) for topic, number in wanted]
        if not asked:
            return []
        committed = self._committed(asked)
        starts = self._offsets(asked, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        ends = self._offsets(asked, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return [
            Partition(
                topic=each.topic, partition=each.partition, committed=committed.get((each.topic, each.partition)),
                start=starts[each.topic, each.partition], end=ends[each.topic, each.partition],
            )
            for each in asked
        ]  # fmt: skip

    def at_time(self, wanted: Iterable[tuple[str, int]], milliseconds: int) -> dict[tuple[str, int], int | None]:
        """The first offset at or after a time (milliseconds since 1970) of each; None where there is none."""
        asked = [TopicPartition(topic, number, milliseconds) for topic, number in wanted]
        found = self._asked(
            lambda left: self._consumer.offsets_for_times(asked, timeout=left), "the offsets of that time are not known"
        )
        return {(each.topic, each.partition): each.offset if each.offset >= 0 else None for each in found}

    def commit(self, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit offsets for a group that has no members. Raises CommandError, also when it has some."""
        asked = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        failure = f"the offsets of group {group!r} were not changed"
        answers = self._asked(lambda _: self._consumer.commit(offsets=asked, asynchronous=False), failure, busy=group)
        for answer in answers or []:
            if answer.error is not None:
                raise CommandError(
                    f"{answer.topic}[{answer.partition}] of group {group!r} was not changed: {answer.error.str()}."
                )

    def members(self, group: str) -> int | None:
        """How many members a group has; None where the cluster does not say."""
        future = self._admin.describe_consumer_groups([group], request_timeout=self.timeout_s)[group]
        try:
            described = future.result(self.timeout_s)
        except (KafkaException, FutureTimeoutError):
            return None
        return 0 if described.state == ConsumerGroupState.DEAD else len(described.members)

    # -- asking ---------------------------------------------------------------------------------------------------

    def _metadata(self) -> Mapping[str, Any]:
        found = self._listed()
        return {name: topic for name, topic in found.topics.items() if topic.error is None and topic.partitions}

    def _listed(self) -> Any:
        return self._asked(lambda left: self._admin.list_topics(timeout=min(1.0, left)), "")

    def _check_controller(self) -> None:
        # librdkafka sends these requests to the controller and waits for one as long as it may. Real clusters name one
        # of the brokers (in an election: soon again); its own mock cluster names none.
        deadline = time.monotonic() + min(CONTROLLER_S, self.timeout_s)
        while (listed := self._listed()).controller_id not in listed.brokers:
            if time.monotonic() >= deadline:
                raise CommandError(
                    f"the cluster at {self.servers} names no controller, so its topics cannot be managed; of the "
                    "embedded broker they are given at its start: swarm-cli broker --topic NAME:PARTITIONS."
                )
            time.sleep(LOOK_S)

    def _committed(self, asked: list[TopicPartition]) -> dict[tuple[str, int], int]:
        # Not through an AdminClient: when a loading coordinator refuses an OffsetFetch, librdkafka 2.16 turns to the
        # client's own group (rd_kafka_cgrp_op), and an AdminClient has none: SIGSEGV.
        found = self._asked(
            lambda left: self._consumer.committed(asked, timeout=left), "the committed offsets are not known"
        )
        return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0}

    def _offsets(self, asked: list[TopicPartition], which: OffsetSpec) -> dict[tuple[str, int], int]:
        level = (
            IsolationLevel.READ_UNCOMMITTED if self._isolation == "read_uncommitted" else IsolationLevel.READ_COMMITTED
        )

        def ask(left: float) -> dict[tuple[str, int], int]:
            answers = self._admin.list_offsets(
                {TopicPartition(each.topic, each.partition): which for each in asked},
                isolation_level=level, request_timeout=left,
            )  # fmt: skip
            return {(each.topic, each.partition): answer.result(left).offset for each, answer in answers.items()}

        found: dict[tuple[str, int], int] = self._asked(ask, "the offsets of the topics are not known")
        return found

    def _asked(self, ask: Callable[[float], Any], failure: str, busy: str | None = None) -> Any:
        """Ask until there is an answer; an error that passes is asked again until the deadline."""
        deadline = time.monotonic() + self.timeout_s
        while True:
            left = max(0.1, deadline - time.monotonic())
            try:
                return ask(left)
            except FutureTimeoutError:
                problem, passing = f"no answer within {self.timeout_s:g} s", True
            except KafkaException as error:
                cause = error.args[0]
                if busy is not None and cause.code() in AT_WORK:
                    raise CommandError(
                        f"group {busy!r} has members, and the offsets of a group at work cannot be moved: stop them "
                        "first (swarm-cli stop); static members count until their session ends."
                    ) from None
                problem, passing = cause.str(), cause.code() in PASSING_ERRORS or not failure
            self._admin.poll(0)  # serves error_cb, which has the reason
            if not passing or time.monotonic() >= deadline:
                raise self._error(failure, problem)
            self._say_that_it_waits(left)
            time.sleep(min(LOOK_S, left))

    def _note(self, error: KafkaError) -> None:
        if len(self._reasons) < MOST_REASONS:
            self._reasons.setdefault(error.str())

    def _reason(self, otherwise: str = "no answer") -> str:
        return scrub(connection_reason(self._reasons, otherwise), self._secrets).rstrip(".")

    def _say_that_it_waits(self, left: float) -> None:
        """Once, as soon as there is a reason: a command that says nothing for its whole time-out looks hung."""
        if self._reasons and left > WORTH_A_WORD_S and not self._said_that_it_waits:
            self._said_that_it_waits = True
            complain(
                f"no broker answers at {self.servers} yet: {self._reason()}; trying for {self.timeout_s:g} s "
                "(--connect-timeout)."
            )

    def _error(self, failure: str, problem: str) -> CommandError:
        if not failure:
            return CommandError(
                f"no broker answers at {self.servers} within {self.timeout_s:g} s: "
                f"{self._reason(connection_reason([problem]))}. Check the address and that the broker runs, or give it "
                "longer with --connect-timeout."
            )
        return CommandError(f"{failure}: {scrub(problem, self._secrets).rstrip('.')}.")

    def _result(self, future: "Future[Any]", failure: str) -> Any:
        try:
            return future.result(self.timeout_s + 1)
        except FutureTimeoutError:
            raise CommandError(f"{failure} within {self.timeout_s:g} s.") from None
        except KafkaException as error:
            raise self._error(failure, error.args[0].str()) from None

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self.timeout_s
        while not condition():
            if time.monotonic() >= deadline:
                raise CommandError(f"waited {self.timeout_s:g} s for {what}: look again with swarm-cli topics plan.")
            time.sleep(LOOK_S)
