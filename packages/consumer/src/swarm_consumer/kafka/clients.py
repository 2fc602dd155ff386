"""The only place that creates clients of confluent-kafka: after the fork, with their callbacks, log and secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import confluent_kafka

from swarm_consumer.kafka.fork_guard import check_clients_allowed
from swarm_consumer.kafka.librdkafka_log import librdkafka_log, scrubbing
from swarm_consumer.kafka.redaction import secrets_of

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

ErrorCallback = Callable[[confluent_kafka.KafkaError], object]
CommitCallback = Callable[[confluent_kafka.KafkaError | None, list[confluent_kafka.TopicPartition]], object]


class ClientFactory(Protocol):
    """Creates the clients of a process: those of Kafka, or stand-ins that need no broker."""

    def consumer(
        self,
        properties: Mapping[str, Any],
        *,
        error_cb: ErrorCallback | None = None,
        stats_cb: Callable[[str], object] | None = None,
        on_commit: CommitCallback | None = None,
    ) -> confluent_kafka.Consumer:
        """Return a new consumer with these properties and callbacks."""

    def producer(
        self, properties: Mapping[str, Any], *, error_cb: ErrorCallback | None = None
    ) -> confluent_kafka.Producer:
        """Return a new producer."""

    def admin(self, properties: Mapping[str, Any], *, error_cb: ErrorCallback | None = None) -> AdminClient:
        """Return a new client for administration."""


class KafkaClients:
    """Creates the clients of confluent-kafka.

    log_level: how much librdkafka writes to standard error, from 0 (nothing) to 7; None: its log goes to the logger
        ``swarm_consumer.librdkafka`` instead, without the secrets among the properties.
    logger: another logger for it; an exception of its handlers comes out of the client's poll().

    Each method raises ForkError, with the file and line of its caller, in a process that will fork nodes, and the
    errors of confluent-kafka for properties that it refuses.
    """

    def __init__(self, log_level: int | None = None, logger: Any = None) -> None:
        self._log_level = log_level
        self._logger = librdkafka_log if logger is None else logger

    def consumer(
        self,
        properties: Mapping[str, Any],
        *,
        error_cb: ErrorCallback | None = None,
        stats_cb: Callable[[str], object] | None = None,
        on_commit: CommitCallback | None = None,
    ) -> confluent_kafka.Consumer:
        """Return a new consumer; it is not subscribed to anything yet."""
        check_clients_allowed("Consumer")
        callbacks = {"error_cb": error_cb, "stats_cb": stats_cb, "on_commit": on_commit}
        return confluent_kafka.Consumer(self._configuration(properties, callbacks))

    def producer(
        self, properties: Mapping[str, Any], *, error_cb: ErrorCallback | None = None
    ) -> confluent_kafka.Producer:
        """Return a new producer; a transactional one has no id from the broker yet."""
        check_clients_allowed("Producer")
        return confluent_kafka.Producer(self._configuration(properties, {"error_cb": error_cb}))

    def admin(self, properties: Mapping[str, Any], *, error_cb: ErrorCallback | None = None) -> AdminClient:
        """Return a new client for administration."""
        check_clients_allowed("AdminClient")
        from confluent_kafka.admin import AdminClient  # most nodes never need it

        return AdminClient(self._configuration(properties, {"error_cb": error_cb}))

    def _configuration(self, properties: Mapping[str, Any], callbacks: Mapping[str, Any]) -> dict[str, Any]:
        configuration = {**properties, **{name: call for name, call in callbacks.items() if call is not None}}
        if self._log_level is None:
            scrubbing.learn(secrets_of(properties))
            configuration["logger"] = self._logger
        else:
            configuration["log_level"] = self._log_level
            configuration.pop("debug", None)  # it would override the level
        return configuration
