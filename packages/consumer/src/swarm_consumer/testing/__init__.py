"""The public test kit: an embedded broker with fault injection, a real broker, and helpers for tests of consumers.

Names are imported on first use, because pytest loads this package at every start and must not import a Kafka client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm_consumer.testing.embedded_broker import EmbeddedBroker as EmbeddedBroker
    from swarm_consumer.testing.embedded_broker import run_embedded_broker as run_embedded_broker
    from swarm_consumer.testing.errors import BrokerError as BrokerError
    from swarm_consumer.testing.errors import KafkaUnavailable as KafkaUnavailable
    from swarm_consumer.testing.errors import UnsupportedByBroker as UnsupportedByBroker
    from swarm_consumer.testing.in_memory import Outcome as Outcome
    from swarm_consumer.testing.in_memory import run_messages as run_messages
    from swarm_consumer.testing.kafka_broker import KafkaBroker as KafkaBroker
    from swarm_consumer.testing.outside_client import Record as Record
    from swarm_consumer.testing.outside_client import add_partitions as add_partitions
    from swarm_consumer.testing.outside_client import await_committed as await_committed
    from swarm_consumer.testing.outside_client import committed_offsets as committed_offsets
    from swarm_consumer.testing.outside_client import create_topic as create_topic
    from swarm_consumer.testing.outside_client import delete_records as delete_records
    from swarm_consumer.testing.outside_client import delete_topic as delete_topic
    from swarm_consumer.testing.outside_client import end_offsets as end_offsets
    from swarm_consumer.testing.outside_client import produce as produce
    from swarm_consumer.testing.outside_client import read_all as read_all

_MODULES = {
    "BrokerError": "errors",
    "EmbeddedBroker": "embedded_broker",
    "KafkaBroker": "kafka_broker",
    "KafkaUnavailable": "errors",
    "Outcome": "in_memory",
    "Record": "outside_client",
    "UnsupportedByBroker": "errors",
    "add_partitions": "outside_client",
    "await_committed": "outside_client",
    "committed_offsets": "outside_client",
    "create_topic": "outside_client",
    "delete_topic": "outside_client",
    "delete_records": "outside_client",
    "end_offsets": "outside_client",
    "produce": "outside_client",
    "read_all": "outside_client",
    "run_embedded_broker": "embedded_broker",
    "run_messages": "in_memory",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_MODULES)
