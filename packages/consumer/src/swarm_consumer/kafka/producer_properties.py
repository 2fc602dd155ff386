"""Which properties belong to which kind of client: each warns about those of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Consumer properties that a producer does not know (librdkafka CONFIGURATION.md, column C): it would warn about each.
_CONSUMER_ONLY = frozenset(
    [
        "group.id",
        "group.instance.id",
        "partition.assignment.strategy",
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "group.protocol.type",
        "group.protocol",
        "group.remote.assignor",
        "coordinator.query.interval.ms",
        "max.poll.interval.ms",
        "enable.auto.commit",
        "auto.commit.interval.ms",
        "enable.auto.offset.store",
        "queued.min.messages",
        "queued.max.messages.kbytes",
        "fetch.wait.max.ms",
        "fetch.queue.backoff.ms",
        "fetch.message.max.bytes",
        "max.partition.fetch.bytes",
        "fetch.max.bytes",
        "fetch.min.bytes",
        "fetch.error.backoff.ms",
        "offset.store.method",
        "isolation.level",
        "consume_cb",
        "rebalance_cb",
        "offset_commit_cb",
        "enable.partition.eof",
        "check.crcs",
        "client.rack",
        "auto.offset.reset",
        "auto.commit.enable",
        "consume.callback.max.messages",
        "allow.auto.create.topics",
    ]
)
BROKERS_LARGEST = 1_048_588
"""The brokers' default of message.max.bytes. librdkafka's own is 1,000,000: a record just below that could not become a
dead letter, because the letter's headers are added, and its partition would be stuck for ever."""
_PRODUCER_ONLY = frozenset(
    [
        "transactional.id",
        "transaction.timeout.ms",
        "enable.idempotence",
        "enable.gapless.guarantee",
        "queue.buffering.max.messages",
        "queue.buffering.max.kbytes",
        "queue.buffering.max.ms",
        "linger.ms",
        "message.send.max.retries",
        "retries",
        "queue.buffering.backpressure.threshold",
        "compression.codec",
        "compression.type",
        "batch.num.messages",
        "batch.size",
        "delivery.report.only.error",
        "sticky.partitioning.linger.ms",
        "request.required.acks",
        "acks",
        "request.timeout.ms",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "queuing.strategy",
        "partitioner",
        "compression.level",
    ]
)


def consumer_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties without those that only a producer knows."""
    return {name: value for name, value in properties.items() if name not in _PRODUCER_ONLY}


def connection_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return those that say how to reach the brokers, all that a client for administration knows."""
    return {name: value for name, value in properties.items() if _is_connection(name) and name not in _CONSUMER_ONLY}


def _is_connection(name: str) -> bool:
    return name in ("oauth_cb", "metadata.broker.list") or name.startswith(_CONNECTION)


_CONNECTION = (
    "bootstrap.", "sasl.", "enable.sasl.", "ssl.", "enable.ssl.", "https.", "security.", "socket.", "broker.",
    "client.", "reconnect.",
)  # fmt: skip
"""Those with "https." are for the provider of a token."""


def producer_properties(
    kafka: Mapping[str, Any], producer: Mapping[str, Any], client_id: str, node_id: int | None
) -> dict[str, Any]:
    """Return the producer's properties: the app's, overridden by the producer's own, with its ids.

    A transactional.id gets the node's id appended: two producers with one id fence each other.
    """
    merged: dict[str, Any] = {"message.max.bytes": BROKERS_LARGEST}
    merged |= {name: value for name, value in kafka.items() if name not in _CONSUMER_ONLY}
    merged.update(producer)
    merged["client.id"] = f"{client_id}-producer" if node_id is None else f"{client_id}-producer-{node_id}"
    if "transactional.id" in merged and node_id is not None:
        merged["transactional.id"] = f"{merged['transactional.id']}_{node_id}"
    return merged
