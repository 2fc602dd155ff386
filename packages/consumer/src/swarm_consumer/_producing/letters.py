"""The headers of a dead letter, with its source and reason. Pure."""

from __future__ import annotations

from typing import Any

import confluent_kafka

from swarm_consumer._payloads.codec import DEFAULT
from swarm_consumer.kafka.record_headers import headers_of

SOURCE_TOPIC = "swarm-source-topic"
SOURCE_PARTITION = "swarm-source-partition"
SOURCE_OFFSET = "swarm-source-offset"
SOURCE_GROUP = "swarm-source-group"
SOURCE_TIMESTAMP = "swarm-source-timestamp"
ATTEMPTS = "swarm-attempts"
ERROR = "swarm-error"
_MAX_ERROR_BYTES = 1000


def letter(record: confluent_kafka.Message, group: str, attempts: int, reason: str) -> dict[str, Any]:
    """Return what `Producer.produce` is given beside the value, which is sent as it came, whatever codec it is in.

    The record's timestamp is left out: a letter as old as its record may be past the retention of its topic.
    """
    return {"key": record.key(), "headers": letter_headers(record, group, attempts, reason), "codec": DEFAULT}


def letter_headers(
    record: confluent_kafka.Message, group: str, attempts: int, reason: str
) -> list[tuple[str, bytes | None]]:
    """Return the record's headers followed by its source, its time and the reason."""
    _, timestamp = record.timestamp()
    added = {
        SOURCE_TOPIC: str(record.topic()),
        SOURCE_PARTITION: str(record.partition()),
        SOURCE_OFFSET: str(record.offset()),
        SOURCE_GROUP: group,
        **({SOURCE_TIMESTAMP: str(timestamp)} if timestamp > 0 else {}),
        ATTEMPTS: str(attempts),
        ERROR: reason,
    }
    return headers_of(record) + [(name, _bounded(text)) for name, text in added.items()]


def _bounded(text: str) -> bytes:
    """The text as UTF-8 of at most `_MAX_ERROR_BYTES`, cut between characters."""
    # An error may quote the decoded text, even a lone surrogate ("\ud800" in JSON), which UTF-8 cannot encode.
    data = text.encode("utf-8", "backslashreplace")
    return data[:_MAX_ERROR_BYTES].decode("utf-8", "ignore").encode() if len(data) > _MAX_ERROR_BYTES else data
