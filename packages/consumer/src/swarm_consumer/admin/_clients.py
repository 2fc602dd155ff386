"""The clients that administration asks with: one for the cluster, and one for each group whose offsets it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # public, not re-exported

from swarm_consumer.admin._questions import CLIENTS, Questions, passes, result_of
from swarm_consumer.errors import AdminError, ConfigurationError
from swarm_consumer.kafka.client_errors import client_text
from swarm_consumer.kafka.producer_properties import connection_properties, consumer_properties
from swarm_consumer.kafka.redaction import secrets_of

TopicNumber = tuple[str, int]
"""A topic and the number of one of its partitions."""

LEAST_S = 0.1
"""What every question is given: enough for a broker nearby, so that a timeout of 0 means "at once or not at all"."""
_NEW_LEADER = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.OFFSET_NOT_AVAILABLE})
"""Errors of a broker that was named as leader a moment ago and does not lead yet."""


def leads_soon(error: KafkaError) -> bool:
    """Whether a leader only moves, or has just been named."""
    return passes(error) or error.code() in _NEW_LEADER


class Clients:
    """The clients of one cluster. They have threads, which end with `close`."""

    def __init__(
        self, kafka: Mapping[str, Any], client_id: str, timeout_s: float, on_wait: Callable[[str], None] | None
    ) -> None:
        """Make the cluster's client; nothing is asked yet. Raises AdminError and ConfigurationError."""
        given = consumer_properties(kafka)
        servers = str(given.get("bootstrap.servers", ""))
        if not servers:
            raise AdminError("no broker is named: set bootstrap.servers.", "no-servers")
        self.questions = Questions(servers, max(LEAST_S, timeout_s), secrets_of(given), on_wait)
        read_all = str(given.get("isolation.level", "read_committed")) == "read_uncommitted"
        self._isolation = IsolationLevel.READ_UNCOMMITTED if read_all else IsolationLevel.READ_COMMITTED
        self._properties = self.questions.client_properties({**given, "client.id": client_id})
        self._consumers: dict[str, Consumer] = {}
        # Not the consumer's client: one that has a group.id looks for its coordinator, and a new cluster makes the
        # topic __consumer_offsets for it. A question changes nothing.
        self._admin: Any = self._made(CLIENTS.admin, connection_properties(self._properties))
        self.questions.poll = self.admin.poll

    @property
    def admin(self) -> Any:
        """The cluster's client. Raises AdminError after `close`."""
        self._check_open()
        return self._admin

    def group_client(self, group: str) -> Consumer:
        """The client of a group: it never subscribes, so it does not join. Raises ConfigurationError."""
        # Offsets are asked and committed with this one, not with the AdminClient: when a loading coordinator refuses
        # an OffsetFetch, librdkafka 2.16 turns to the client's own group (rd_kafka_cgrp_op), and an AdminClient has
        # none: SIGSEGV.
        if group not in self._consumers:
            self._check_open()
            self._consumers[group] = self._made(CLIENTS.consumer, {**self._properties, "group.id": group})
        return self._consumers[group]

    def _check_open(self) -> None:
        if self._admin is None:
            raise AdminError(f"the connection to {self.questions.servers} is closed: make another Cluster.")

    def _made(self, make: Callable[..., Any], properties: dict[str, Any]) -> Any:
        try:
            return make(properties, error_cb=self.questions.note)
        except (KafkaException, TypeError, ValueError) as error:
            cause = self.questions.scrub(client_text(error))
            raise ConfigurationError(f"the client refuses its properties: {cause}.") from error

    def close(self) -> None:
        """Let go of the clients, whose threads end by then."""
        # Explicitly: an error that is kept holds the frames it came through, and with them this object.
        self.questions.poll = None
        self._admin = None
        while self._consumers:
            self._consumers.popitem()[1].close()

    def metadata(self) -> Any:
        """What a broker says of the cluster: brokers, controller, topics. Raises AdminError ("unreachable")."""
        return self.questions.reach(lambda left: self.admin.list_topics(timeout=min(1.0, left)))

    def offsets(
        self, asked: Iterable[TopicNumber], which: OffsetSpec, again: Callable[[KafkaError], bool] = leads_soon
    ) -> dict[TopicNumber, int]:
        """Return the first or the end offset of each partition. Raises AdminError."""
        wanted = {TopicPartition(topic, number): which for topic, number in asked}

        def question(left: float) -> dict[TopicNumber, int]:
            answers = self.admin.list_offsets(wanted, isolation_level=self._isolation, request_timeout=left)
            return {(each.topic, each.partition): result_of(answer, left).offset for each, answer in answers.items()}

        return self.questions.ask(question, "the offsets of the topics are not known", again) if wanted else {}

    def ends(self, asked: Iterable[TopicNumber]) -> dict[TopicNumber, int]:
        """Return the end offset of each partition. Raises AdminError."""
        return self.offsets(asked, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def starts(self, asked: Iterable[TopicNumber]) -> dict[TopicNumber, int]:
        """Return the first offset of each partition that still exists. Raises AdminError."""
        return self.offsets(asked, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
