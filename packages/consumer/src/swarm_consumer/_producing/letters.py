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
STACK = "swarm-stack"
_MAX_ERROR_BYTES = 1000
_MAX_STACK_BYTES = 8000


def letter(record: confluent_kafka.Message, group: str, attempts: int, reason: str, stack: str = "") -> dict[str, Any]:
    """Return what `Producer.produce` is given beside the value, which is sent as it came, whatever codec it is in.

    The record's timestamp is left out: a letter as old as its record may be past the retention of its topic.
    """
    return {"key": record.key(), "headers": letter_headers(record, group, attempts, reason, stack), "codec": DEFAULT}


def letter_headers(
    record: confluent_kafka.Message, group: str, attempts: int, reason: str, stack: str = ""
) -> list[tuple[str, bytes | None]]:
    """Return the record's headers followed by its source, its time, the reason, and where a process hung, if it did."""
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
    story = [(name, _bounded(text)) for name, text in added.items()]
    if stack:
        story.append((STACK, _bounded(stack, _MAX_STACK_BYTES)))
    return headers_of(record) + story


def _bounded(text: str, most: int = _MAX_ERROR_BYTES) -> bytes:
    """The text as UTF-8 of at most `most` bytes, cut between characters."""
    # An error may quote the decoded text, even a lone surrogate ("\ud800" in JSON), which UTF-8 cannot encode.
    data = text.encode("utf-8", "backslashreplace")
    return data[:most].decode("utf-8", "ignore").encode() if len(data) > most else data
