"""Dead letters: when a message is diverted, within which limits, and what goes with it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import confluent_kafka

from swarm_consumer.checks import check_flag, check_number, check_topic
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.record_headers import headers_of

SOURCE_TOPIC = "swarm-source-topic"
SOURCE_PARTITION = "swarm-source-partition"
SOURCE_OFFSET = "swarm-source-offset"
SOURCE_GROUP = "swarm-source-group"
SOURCE_TIMESTAMP = "swarm-source-timestamp"
ATTEMPTS = "swarm-attempts"
ERROR = "swarm-error"
_MAX_ERROR_BYTES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetters:
    """What becomes of a message that cannot be handled: ``@app.topic(..., dead_letters=DeadLetters(topic="dead"))``.

    topic: where it goes, with key, value, headers and where it came from; None skips it.
    max_retries: attempts after the first, before that.
    independent: each message has its own count; otherwise the count is the batch's, and once it is used up further
        messages of that batch that fail are diverted at once.
    max_consecutive: at most this many in a row; None: any number.
    max_ratio: at most this share of the partition's recent messages (about the last thousand, and at least 100); half
        of them by default. 1 or None: no limit.

    Beyond a limit nothing is diverted any more: the partition stays at the message and keeps trying, because a fault
    that hits everything is a fault of the code, and a dead-letter topic is no place for a whole topic.
    A failing batch is handed out again one message at a time before anything is diverted: only the message that fails
    by itself is.
    """

    topic: str | None = None
    max_retries: int = 3
    independent: bool = False
    max_consecutive: int | None = None
    max_ratio: float | None = 0.5

    def check(self, where: str) -> None:
        """Raise ConfigurationError for values that cannot work."""
        check_flag(self.independent, "dead_letters.independent", where)
        if self.topic is not None:
            check_topic(self.topic)
            if self.topic.startswith("^"):
                raise ConfigurationError(f"{where}: dead letters need one topic, not the pattern {self.topic!r}")
        check_number(self.max_retries, 0, 10**6, "dead_letters.max_retries", where, whole=True)
        if self.max_consecutive is not None:
            check_number(self.max_consecutive, 1, 10**9, "dead_letters.max_consecutive", where, whole=True)
        if self.max_ratio is not None:
            check_number(self.max_ratio, 0, 1, "dead_letters.max_ratio", where)


class DeadLetterCount:
    """How many messages of a partition were handled and diverted lately, against the limits."""

    __slots__ = ("consecutive", "diverted", "handled")

    _WINDOW = 1000
    _LEAST = 100

    def __init__(self) -> None:
        self.handled = 0.0
        self.diverted = 0.0
        self.consecutive = 0

    def succeeded(self, messages: int) -> None:
        """Count messages that were handled."""
        if messages:
            self.consecutive = 0
            self.handled += messages
            self._age()

    def dead_lettered(self) -> None:
        """Count one that was diverted."""
        self.consecutive += 1
        self.diverted += 1
        self._age()

    def refusal(self, limits: DeadLetters) -> str | None:
        """Return why one more must not be diverted; None when it may."""
        if limits.max_consecutive is not None and self.consecutive >= limits.max_consecutive:
            return f"{self.consecutive} messages in a row were dead-lettered, the limit of max_consecutive"
        if limits.max_ratio is not None:
            total = self.handled + self.diverted + 1
            if total >= self._LEAST and (self.diverted + 1) / total > limits.max_ratio:
                return f"more than {limits.max_ratio:.0%} of the last messages would be dead letters, over max_ratio"
        return None

    def _age(self) -> None:
        if self.handled + self.diverted > 2 * self._WINDOW:
            self.handled /= 2
            self.diverted /= 2


def letter_headers(
    record: confluent_kafka.Message, group: str, attempts: int, error: BaseException
) -> list[tuple[str, bytes | None]]:
    """Return the record's headers and, after them, where and when it came from and why it is here."""
    from swarm_consumer.events import describe

    _, timestamp = record.timestamp()
    added = {
        SOURCE_TOPIC: str(record.topic()),
        SOURCE_PARTITION: str(record.partition()),
        SOURCE_OFFSET: str(record.offset()),
        SOURCE_GROUP: group,
        **({SOURCE_TIMESTAMP: str(timestamp)} if timestamp > 0 else {}),
        ATTEMPTS: str(attempts),
        ERROR: describe(error),
    }
    return headers_of(record) + [(name, _bounded(text)) for name, text in added.items()]


def _bounded(text: str) -> bytes:
    """The text as UTF-8 of at most `_MAX_ERROR_BYTES`, cut between characters."""
    # An error may repeat what a decoder has seen, a lone surrogate too ("\ud800" in JSON): UTF-8 has none.
    data = text.encode("utf-8", "backslashreplace")
    return data[:_MAX_ERROR_BYTES].decode("utf-8", "ignore").encode() if len(data) > _MAX_ERROR_BYTES else data
