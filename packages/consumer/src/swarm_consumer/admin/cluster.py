"""A Kafka cluster: its topics, what is asked of them and changed, each with a deadline, each failure one sentence.

Its clients have threads: use it in a process of its own or after the fork, never in one that forks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, not all re-exported for mypy
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from swarm_consumer.admin._clients import Clients
from swarm_consumer.admin._questions import always, never, result_of, shows
from swarm_consumer.admin.group_offsets import GroupOffsets
from swarm_consumer.admin.topic_plan import (
    AddPartitions,
    ConfigureTopic,
    CreateTopic,
    DeleteTopic,
    TopicChange,
    TopicState,
)
from swarm_consumer.errors import AdminError
from swarm_consumer.routing.routes import SubscriptionGroup

TIMEOUT_S = 20.0
"""How long an answer is waited for unless told otherwise."""
CONTROLLER_S = 3.0
"""How long a cluster may be without a controller: an election takes less."""
FENCED = "currently fenced"
"""What Kafka says of a broker whose heartbeat its controller misses."""


class Cluster:
    """A cluster, reached with client properties as in ``App(kafka=...)``; a context manager that closes its clients.

    ``servers`` are its bootstrap servers, ``timeout_s`` the seconds within which each question is answered or fails.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        *,
        client_id: str = "swarm-admin",
        timeout_s: float = TIMEOUT_S,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        """Make the client; nothing is asked yet.

        kafka: properties of librdkafka; those that only a producer knows are left out.
        on_wait: called at most once, with a sentence, when no broker has answered yet and a long wait lies ahead.

        Raises AdminError ("no-servers") without bootstrap.servers, ConfigurationError for properties that the client
        refuses, ForkError in a process that will fork nodes.
        """
        self._clients = Clients(kafka, client_id, timeout_s, on_wait)
        self._questions = self._clients.questions
        self.servers = self._questions.servers
        self.timeout_s: float = self._questions.timeout_s

    @classmethod
    def of_group(
        cls,
        group: SubscriptionGroup,
        *,
        client_id: str = "swarm-admin",
        timeout_s: float = TIMEOUT_S,
        on_wait: Callable[[str], None] | None = None,
    ) -> Self:
        """Return the cluster with the properties of a subscription group of an app; raises what Cluster() raises."""
        kafka = {name: one.value for name, one in group.properties.items()}
        return cls(kafka, client_id=client_id, timeout_s=timeout_s, on_wait=on_wait)

    def close(self) -> None:
        """Let go of the clients; their threads have ended when it returns."""
        self._clients.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def group(self, name: str) -> GroupOffsets:
        """Return a consumer group, to see and to move its offsets; it does not have to exist, and is not joined.

        Raises AdminError ("refused") for a name that no group can have: the client would end the process.
        """
        if not isinstance(name, str) or not name or name.encode(errors="replace").decode() != name:
            raise AdminError(f"{name!r} is not the name of a group: give a text that is not empty.")
        return GroupOffsets(self._clients, name)

    # -- asking ---------------------------------------------------------------------------------------------------

    def partitions(self) -> dict[str, int]:
        """Return how many partitions each topic has. Raises AdminError when no broker answers."""
        return {name: len(topic.partitions) for name, topic in self._topics().items()}

    def topics(self, names: Collection[str], configured: Collection[str] = ()) -> dict[str, TopicState]:
        """Return those of `names` that exist; those of `configured` with their configurations. Raises AdminError."""
        present = {name: topic for name, topic in self._topics().items() if name in names}
        configs = self._configurations([name for name in present if name in configured])
        return {
            name: TopicState(
                partitions=len(topic.partitions),
                replication=max(len(partition.replicas) for partition in topic.partitions.values()),
                config=configs.get(name, {}),
            )
            for name, topic in present.items()
        }

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Return the offset that the next record of each partition will get; empty where there is no such topic.

        With isolation.level=read_committed, the default: the end of what is committed. Raises AdminError.
        """
        count = self.partitions().get(topic, 0)
        return {number: end for (_, number), end in self._clients.ends((topic, each) for each in range(count)).items()}

    def _topics(self) -> dict[str, Any]:
        topics = self._clients.metadata().topics
        return {name: topic for name, topic in topics.items() if topic.error is None and topic.partitions}

    def _configurations(self, names: Collection[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        self._check_controller()
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._clients.admin.describe_configs(resources, request_timeout=self.timeout_s)
        found = {}
        for resource, future in answers.items():
            entries = self._questions.result(future, f"the configuration of topic {resource.name!r} is not known")
            found[resource.name] = {key: entry.value for key, entry in entries.items() if entry.value is not None}
        return found

    # -- changing -------------------------------------------------------------------------------------------------

    def make(self, change: TopicChange) -> None:
        """Make one change of a plan and wait until the cluster shows it. Raises AdminError."""
        match change:
            case CreateTopic(topic):
                self.create_topic(
                    topic.name, partitions=topic.partitions, replication=topic.replication, config=topic.config
                )
            case AddPartitions(name, _, after):
                self.add_partitions(name, after)
            case ConfigureTopic(name, values):
                self.configure_topic(name, {key: after for key, (_, after) in values.items()})
            case DeleteTopic(name):
                self.delete_topic(name)

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = 1,
        replication: int | None = None,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Create a topic and wait until the cluster shows it; replication None: the broker's default.

        Raises AdminError, also when the topic exists.
        """
        replicas = -1 if replication is None else replication  # -1: the broker's default
        wanted = NewTopic(name, partitions, replicas, config=dict(config or {}))
        self._change(
            lambda left: self._clients.admin.create_topics([wanted], request_timeout=left, operation_timeout=left),
            f"create topic {name!r}",
            # A broker that a loaded machine kept from beating is fenced by its controller until it beats again.
            lambda error: FENCED in error.str(),
        )
        self._questions.wait(lambda: self.partitions().get(name) == partitions, f"{name} to appear")

    def add_partitions(self, name: str, total: int) -> None:
        """Give a topic more partitions, `total` in all, and wait until the cluster shows them. Raises AdminError."""
        wanted = NewPartitions(name, total)
        self._change(
            lambda left: self._clients.admin.create_partitions([wanted], request_timeout=left, operation_timeout=left),
            f"repartition topic {name!r}",
        )
        self._questions.wait(lambda: self.partitions().get(name) == total, f"the new partitions of {name}")

    def configure_topic(self, name: str, config: Mapping[str, str]) -> None:
        """Set configurations of a topic; those that are not named stay as they are. Raises AdminError."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        self._change(
            lambda left: self._clients.admin.incremental_alter_configs([resource], request_timeout=left),
            f"configure topic {name!r}",
        )

    def delete_topic(self, name: str) -> None:
        """Delete a topic with its records and wait until the cluster no longer shows it. Raises AdminError."""
        self._change(
            lambda left: self._clients.admin.delete_topics([name], request_timeout=left, operation_timeout=left),
            f"delete topic {name!r}",
        )
        self._questions.wait(lambda: name not in self.partitions(), f"{name} to go")

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """Delete the records of a partition before an offset. Raises AdminError."""
        place = TopicPartition(topic, partition, before_offset)
        self._single(
            lambda left: self._clients.admin.delete_records([place], request_timeout=left),
            f"{self.servers} did not delete the records of {topic!r}/{partition} before offset {before_offset}",
        )

    def await_leaders(self, name: str, partitions: int) -> None:
        """Wait until `partitions` partitions of a topic have a leader that answers. Raises AdminError."""

        def led() -> bool:
            topic = self._topics().get(name)
            known = topic.partitions.values() if topic is not None else ()
            return len(known) == partitions and all(each.leader >= 0 for each in known)

        self._questions.wait(led, f"a leader of each of the {partitions} partitions of {name}")
        asked = [(name, number) for number in range(partitions)]
        self._clients.offsets(asked, OffsetSpec.latest(), always)  # type: ignore[no-untyped-call]

    def _change(
        self,
        request: Callable[[float], Mapping[Any, Any]],
        what: str,
        again: Callable[[KafkaError], bool] = never,
    ) -> None:
        self._check_controller()
        self._single(request, f"{self.servers} did not {what}", again)

    def _single(
        self,
        request: Callable[[float], Mapping[Any, Any]],
        failure: str,
        again: Callable[[KafkaError], bool] = never,
    ) -> Any:
        """Make a request about one thing and return its result."""

        def question(left: float) -> Any:
            (future,) = request(left).values()
            return result_of(future, left)

        return self._questions.ask(question, failure, again)

    def _check_controller(self) -> None:
        # librdkafka sends these requests to the controller and waits for one as long as it may. Real clusters name one
        # of the brokers (in an election: soon again); its own mock cluster names none.
        def led() -> bool:
            metadata = self._clients.metadata()
            return metadata.controller_id in metadata.brokers

        if not shows(led, min(CONTROLLER_S, self.timeout_s)):
            raise AdminError(
                f"the cluster at {self.servers} names no controller, so its topics cannot be managed; an embedded "
                "broker gets its topics when it starts.",
                "no-controller",
            )
