"""The mock cluster that needs no C function of our own: where a controlled one cannot be had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swarm_consumer.testing.errors import UnsupportedByBroker

PLAIN_PARTITIONS = 4  # mcluster->defaults.partition_cnt in rdkafka_mock.c; the plain configuration cannot change it


class PlainCluster:
    """The cluster that librdkafka starts for `test.mock.num.brokers`: it serves records and groups, obeys nothing."""

    capabilities = frozenset({"create_topic"})

    def __init__(self, brokers: int, ports: Sequence[int], reason: str) -> None:
        from swarm_consumer.kafka.clients import KafkaClients  # a controlled cluster needs no client

        self.limitation: str | None = (
            f"{reason} So the embedded broker is librdkafka's plain one: a free port, {PLAIN_PARTITIONS} partitions in "
            "every topic and no faults. Install another version of confluent-kafka, or use a real broker."
        )
        if any(ports):
            raise UnsupportedByBroker(f"The embedded broker cannot use a port of your choice here. {self.limitation}")
        self._producer = KafkaClients(log_level=3).producer({"test.mock.num.brokers": brokers})
        known = self._producer.list_topics(timeout=10.0).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in known)

    def execute(self, command: str, arguments: dict[str, Any]) -> object:
        """Create a topic of four partitions; refuse everything else with a sentence."""
        if command != "create_topic":
            raise UnsupportedByBroker(f"The embedded broker cannot {command.replace('_', ' ')} here. {self.limitation}")
        if arguments["partitions"] != PLAIN_PARTITIONS or arguments["replication"] != 1:
            raise UnsupportedByBroker(
                f"The embedded broker cannot make a topic of {arguments['partitions']} partitions and "
                f"{arguments['replication']} replicas here. {self.limitation}"
            )
        self._producer.list_topics(arguments["name"], timeout=10.0)  # asking for it creates it
        return None

    def close(self) -> None:
        """Free the cluster: it lives inside the producer."""
        del self._producer
