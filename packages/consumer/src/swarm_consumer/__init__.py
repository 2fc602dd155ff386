"""A Kafka consumer runtime that loses no records: batches, typed payloads, at-least-once by design.

Importing it starts no thread and creates no client; the client library is imported when the first name is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm_consumer._handling.batch import Batch
    from swarm_consumer._handling.consumer import Consumer
    from swarm_consumer._handling.message import Message
    from swarm_consumer._payloads.codec import Codec, Encoded
    from swarm_consumer._payloads.deserialization import Json, MessagePack
    from swarm_consumer._producing.deliveries import Delivery
    from swarm_consumer._producing.producer import Producer
    from swarm_consumer._running.lifespan import NodeInfo
    from swarm_consumer._running.runtime import Runtime
    from swarm_consumer.admin.cluster_check import ClusterReport, check_cluster
    from swarm_consumer.app import App
    from swarm_consumer.errors import (
        AdminError,
        ConfigurationError,
        ConsumptionError,
        DeliveryError,
        DeserializationError,
        ForkError,
        LifespanError,
        NodeDied,
        SwarmConsumerError,
        WarmupError,
    )
    from swarm_consumer.process.signals import Flag
    from swarm_consumer.routing.dead_letters import DeadLetters
    from swarm_consumer.routing.group import Group
    from swarm_consumer.routing.selection import Selection

__version__ = "0.1.0"

__all__ = [
    "AdminError",
    "App",
    "Batch",
    "ClusterReport",
    "Codec",
    "ConfigurationError",
    "Consumer",
    "ConsumptionError",
    "DeadLetters",
    "Delivery",
    "DeliveryError",
    "DeserializationError",
    "Encoded",
    "Flag",
    "ForkError",
    "Group",
    "Json",
    "LifespanError",
    "Message",
    "MessagePack",
    "NodeDied",
    "NodeInfo",
    "Producer",
    "Runtime",
    "Selection",
    "SwarmConsumerError",
    "WarmupError",
    "check_cluster",
]

_MODULES = {
    "AdminError": "errors",
    "App": "app",
    "Batch": "_handling.batch",
    "ClusterReport": "admin.cluster_check",
    "Codec": "_payloads.codec",
    "ConfigurationError": "errors",
    "Consumer": "_handling.consumer",
    "ConsumptionError": "errors",
    "DeadLetters": "routing.dead_letters",
    "Delivery": "_producing.deliveries",
    "DeliveryError": "errors",
    "DeserializationError": "errors",
    "Encoded": "_payloads.codec",
    "Flag": "process.signals",
    "ForkError": "errors",
    "Group": "routing.group",
    "Json": "_payloads.deserialization",
    "LifespanError": "errors",
    "Message": "_handling.message",
    "MessagePack": "_payloads.deserialization",
    "NodeDied": "errors",
    "NodeInfo": "_running.lifespan",
    "Producer": "_producing.producer",
    "Runtime": "_running.runtime",
    "Selection": "routing.selection",
    "SwarmConsumerError": "errors",
    "WarmupError": "errors",
    "check_cluster": "admin.cluster_check",
}


def __getattr__(name: str) -> object:
    # The test kit's pytest plugin is in this package and is loaded by every pytest session of an environment that
    # has it installed, and the embedded broker's host process needs no client either. This keeps both cheap.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
