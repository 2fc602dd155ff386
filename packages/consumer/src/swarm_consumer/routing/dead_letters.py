"""Dead letters: when a message is diverted, and within which limits. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from swarm_consumer.declaring.checks import check_flag, check_number, check_topic
from swarm_consumer.errors import ConfigurationError

MOST_DEATHS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetters:
    """What to do with a message that cannot be handled: ``@app.topic(..., dead_letters=DeadLetters(topic="dead"))``.

    Above a limit nothing more is diverted: the partition stays at the message and keeps retrying, because a fault
    in everything is a fault of the code, and a dead-letter topic is not meant for a whole topic.
    A failing batch is first handed out again one message at a time, so that only the message that fails
    alone is diverted.
    """

    topic: str | None = None
    """The target, for key, value, headers and the source of the message; None skips the message."""
    max_retries: int = 3
    """Attempts after the first one, before the message is diverted."""
    independent: bool = False
    """Each message has its own count; otherwise the batch has one count, and once it is used up, further failing
    messages of that batch are diverted at once."""
    max_consecutive: int | None = None
    """At most this many in a row; None: any number."""
    max_ratio: float | None = 0.5
    """At most this share of the partition's recent messages (about the last thousand, and at least 100); half of
    them by default. 1 or None: no limit."""
    max_deaths: int = 3
    """Processes that die with a message, the last of them with nothing beside it, before the message is diverted; a
    death together with others counts once. A kill from outside does not count. Without a topic the partition is parked.
    Only in a swarm that keeps its progress."""
    hangs: bool | None = None
    """Whether a process that hung counts as dead; None: if there is a dead-letter topic and the topic has its own
    consuming_ttl."""

    def check(self, where: str) -> None:
        """Raise ConfigurationError for values that cannot work."""
        check_flag(self.independent, "dead_letters.independent", where)
        if self.hangs is not None:
            check_flag(self.hangs, "dead_letters.hangs", where)
        check_number(self.max_deaths, 1, MOST_DEATHS, "dead_letters.max_deaths", where, whole=True)
        if self.topic is not None:
            check_topic(self.topic)
            if self.topic.startswith("^"):
                raise ConfigurationError(f"{where}: dead letters need one topic, not the pattern {self.topic!r}")
        check_number(self.max_retries, 0, 10**6, "dead_letters.max_retries", where, whole=True)
        if self.max_consecutive is not None:
            check_number(self.max_consecutive, 1, 10**9, "dead_letters.max_consecutive", where, whole=True)
        if self.max_ratio is not None:
            check_number(self.max_ratio, 0, 1, "dead_letters.max_ratio", where)
