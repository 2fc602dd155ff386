"""The settings of an app and of a topic, one row each, with defaults and bounds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from swarm_consumer.declaring.checks import check_flag, check_number, nearest
from swarm_consumer.declaring.setting_row import row
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.routing.dead_letters import MOST_DEATHS, DeadLetters
from swarm_consumer.routing.topic_keywords import OneTopicKeywords as OneTopicKeywords
from swarm_consumer.routing.topic_keywords import TopicKeywords as TopicKeywords

DEFAULT_PROPERTIES: Mapping[str, Any] = {
    # A full local queue makes librdkafka wait this long before it fetches the partition again; its own default of
    # 1000 ms cost a factor of seven in throughput here, 0 spins.
    "fetch.queue.backoff.ms": 10,
    # The bound of the prefetch per client: 16 MiB is enough for 2 million small messages a second.
    "queued.max.messages.kbytes": 16384,
    "statistics.interval.ms": 5000,
    # One request of each client in an interval in which something was finished. With 5000 a killed node cost up to 5 s
    # of work done again; the throughput is the same.
    "auto.commit.interval.ms": 500,
    # Not an error here: a topic that does not exist yet is reported once and consumed when it appears.
    "topic.metadata.refresh.interval.ms": 30000,
}
"""Our defaults. All of them can be overridden."""

DEFAULT_ASSIGNOR = "cooperative-sticky"
"""The assignment strategy under the classic protocol: a rebalance only takes the partitions that move."""

DEFAULT_HEARTBEAT_MS = 1000
"""heartbeat.interval.ms under the classic protocol: members hear of a rebalance in the answer to a heartbeat, so that
partitions of a member that leaves wait for this long. librdkafka's default is 3000."""

OWNED_PROPERTIES: Mapping[str, str] = {
    "enable.auto.offset.store": "Swarm stores offsets, and only after the handler has returned for them",
    "enable.auto.commit": "Swarm commits finished work every auto.commit.interval.ms, on revocation and on stop",
    "group.id": "set the consumer group with group= of a topic",
    "client.id": "set the client id with the first argument of App",
    "error_cb": "subscribe to ClientError events instead",
    "stats_cb": "subscribe to StatisticsEmitted events instead",
    "on_commit": "subscribe to Committed events instead",
    "logger": "librdkafka logs to the logger swarm_consumer.librdkafka",
    "log_cb": "librdkafka logs to the logger swarm_consumer.librdkafka",
    "rebalance_cb": "subscribe to Assigned, Revoked and Lost events instead",
    "offset_commit_cb": "subscribe to Committed events instead",
    "offset.store.method": "the broker keeps offsets; any other method would switch commits off",
    "auto.commit.enable": "Swarm commits finished work every auto.commit.interval.ms, on revocation and on stop",
    "default.topic.config": "give its properties directly",
    "enable.partition.eof": "it is switched on if the consumer defines the hook eofed()",
    "transactional.id": "it belongs to the producer: App(producer={'transactional.id': prefix})",
    "auto.offset.reset": "set the start with initial_offset= of a topic or of App",
}
"""Properties that belong to Swarm, each with its replacement."""

INITIAL_OFFSETS = ("earliest", "latest", "error")


class TopicOptions(OneTopicKeywords, total=False):
    """The keywords of ``app.topic`` and ``app.consume`` but for the group; `App.topic` explains them."""

    payload: Any
    key: Any
    headers: Callable[..., Any] | None
    kafka: Mapping[str, Any] | None
    subscription_group: str | None
    active: bool
    partitions: int | None
    replication: int | None
    config: Mapping[str, Any] | None


class GroupedTopicOptions(TopicOptions, total=False):
    """The same with the consumer group."""

    group: str | None


@dataclass(frozen=True, kw_only=True)
class TopicSettings:
    """Settings of one topic; missing ones come from the group, then from the app."""

    max_messages: int = row(100, unit="messages", least=1, most=100_000)
    """The most messages a handler is given at once."""
    max_wait: float = row(1.0, unit="seconds", least=0.001, most=3600)
    """The longest wait for a first message, in seconds; available messages are never held back."""
    initial_offset: str = row("earliest", keyword='Literal["earliest", "latest", "error"]')
    """Where a group without committed offsets starts: earliest, latest, or error."""
    retry_backoff: float = row(1.0, unit="seconds", least=0, most=86400)
    retry_backoff_max: float = row(30.0, unit="seconds", least=0, most=86400)
    """Seconds after the first failure, doubled each time from retry_backoff up to retry_backoff_max."""
    manual_marking: bool = False
    """Offsets move only by mark_as_consumed, never by a handler's return."""
    long_running: bool = False
    """A batch may take longer than max.poll.interval.ms."""
    consuming_ttl: float | None = row(None, unit="seconds", least=0.01, most=10**7)
    """Seconds after which a batch counts as stuck; None follows max.poll.interval.ms."""
    max_held_messages: int | None = row(None, unit="messages", least=1, most=10**7)
    """Limit of the messages waiting in memory for a busy partition, above which it is paused."""
    max_held_bytes: int = row(32 * 2**20, unit="bytes", least=2**20, most=2**40)
    """The same in bytes of values, for all partitions of a client together: each has an equal share."""
    tick_interval: float = row(5.0, unit="seconds", least=0.01, most=86400)
    """Seconds between calls of the tick() hook."""
    revocation_timeout: float | None = row(None, unit="seconds", least=0, most=86400)
    """Seconds to wait for this topic's handlers when their partitions are taken away; None: the app's value, but at
    most 5 for a long_running topic, whose handlers would only block the whole group."""
    dead_letters: DeadLetters | None = None
    """What to do with messages that cannot be handled (see DeadLetters); None: they are retried for ever."""
    max_deaths: int = row(3, unit="deaths", least=1, most=MOST_DEATHS)
    """Without dead_letters, which has its own: processes that die with a message before its partition is parked, which
    keeps the others at work."""

    @functools.cached_property
    def held_bound(self) -> int:
        """The bound of held messages: the setting, or twenty batches and at least 2,000 messages."""
        return self.max_held_messages or max(20 * self.max_messages, 2000)

    @functools.cached_property
    def most_deaths(self) -> int:
        """How many deaths a message is worth."""
        return self.max_deaths if self.dead_letters is None else self.dead_letters.max_deaths

    @functools.cached_property
    def hangs_count(self) -> bool:
        """Whether a hang counts as a death."""
        letters = self.dead_letters
        if letters is None or letters.hangs is not None:
            return letters is not None and bool(letters.hangs)
        return letters.topic is not None and self.consuming_ttl is not None


TOPIC_SETTING_NAMES = frozenset(setting.name for setting in dataclasses.fields(TopicSettings))


def topic_settings(given: Mapping[str, Any], where: str, own: Collection[str] = ()) -> TopicSettings:
    """Return checked settings; raises ConfigurationError naming `where` they were given.

    own: which of them were given there, not for a group or app around it.
    """
    unknown = sorted(set(given) - TOPIC_SETTING_NAMES)
    if unknown:
        raise ConfigurationError(f"{where}: unknown setting {unknown[0]!r}{nearest(unknown[0], TOPIC_SETTING_NAMES)}")
    settings = TopicSettings(**given)
    for setting in dataclasses.fields(TopicSettings):
        _check(setting, getattr(settings, setting.name), where)
    if settings.max_held_messages is not None:
        check_number(settings.max_held_messages, settings.max_messages, 10**7, "max_held_messages", where, whole=True)
    if settings.retry_backoff > settings.retry_backoff_max:
        raise ConfigurationError(
            f"{where}: retry_backoff ({settings.retry_backoff} s) is longer than retry_backoff_max "
            f"({settings.retry_backoff_max} s) by {settings.retry_backoff - settings.retry_backoff_max:g} s"
        )
    if settings.dead_letters is not None:
        if not isinstance(settings.dead_letters, DeadLetters):
            raise ConfigurationError(f"{where}: dead_letters must be a DeadLetters, not {settings.dead_letters!r}")
        settings.dead_letters.check(where)
        if "max_deaths" in own:  # one of a group or app around it is for topics without dead_letters
            raise ConfigurationError(
                f"{where}: max_deaths is for topics without dead_letters: set "
                f"DeadLetters(max_deaths={settings.max_deaths}), as this one has dead_letters"
            )
    if not isinstance(settings.initial_offset, str) or settings.initial_offset not in INITIAL_OFFSETS:
        raise ConfigurationError(
            f"{where}: initial_offset must be one of {', '.join(INITIAL_OFFSETS)}, not {settings.initial_offset!r}"
        )
    if settings.long_running and settings.consuming_ttl is None:
        raise ConfigurationError(
            f"{where}: long_running=True needs its own consuming_ttl, the seconds after which a batch counts as "
            f"stuck, because max.poll.interval.ms no longer limits it"
        )
    return settings


def _check(setting: dataclasses.Field[Any], value: object, where: str) -> None:
    if setting.type == "bool":
        check_flag(value, setting.name, where)
    elif "least" in setting.metadata and not (value is None and setting.default is None):
        whole = str(setting.type).startswith("int")
        check_number(value, setting.metadata["least"], setting.metadata["most"], setting.name, where, whole=whole)


def check_defaults(given: Mapping[str, Any], where: str, own: Collection[str]) -> None:
    """Check settings that are defaults for later topics: long_running may get its TTL from each topic.

    own: as for `topic_settings`.
    """
    check_flag(given.get("long_running", False), "long_running", where)
    waits = given.get("long_running") and given.get("consuming_ttl") is None
    topic_settings({**given, "consuming_ttl": 1e6} if waits else given, where, own)
