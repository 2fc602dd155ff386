"""A Kafka consumer runtime that loses nothing: batches, typed payloads, at-least-once by construction.

Importing it starts no thread and makes no client.
"""

from swarm_consumer.app import App, Group
from swarm_consumer.batch import Batch
from swarm_consumer.cluster_check import ClusterReport, check_cluster
from swarm_consumer.consumer import Consumer
from swarm_consumer.deserialization import Json, MessagePack
from swarm_consumer.errors import (
    ConfigurationError,
    ConsumptionError,
    DeliveryError,
    DeserializationError,
    ForkError,
    SwarmConsumerError,
)
from swarm_consumer.message import Message
from swarm_consumer.producer import Delivery, Producer
from swarm_consumer.runtime import Flag, Runtime
from swarm_consumer.selection import Selection

__version__ = "0.1.0"

__all__ = [
    "App",
    "Batch",
    "ClusterReport",
    "ConfigurationError",
    "Consumer",
    "ConsumptionError",
    "Delivery",
    "DeliveryError",
    "DeserializationError",
    "Flag",
    "ForkError",
    "Group",
    "Json",
    "Message",
    "MessagePack",
    "Producer",
    "Runtime",
    "Selection",
    "SwarmConsumerError",
    "check_cluster",
]
