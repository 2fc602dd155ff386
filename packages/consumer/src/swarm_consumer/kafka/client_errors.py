"""What an error of the client means for the node: wait, end, or log and continue. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from confluent_kafka import KafkaError, KafkaException

REPEAT_AFTER_S = 60.0
"""Seconds after which a lasting problem is logged again."""
MOST_REMEMBERED = 100
"""Number of problems to remember, which would otherwise be unbounded."""

PASSING_ERRORS = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError._WAIT_COORD,
        KafkaError._TRANSPORT,
    }
)
"""A coordinator or leader that moves or loads: ask again."""
_PASSING_COMMIT_ERRORS = frozenset(
    {
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.ILLEGAL_GENERATION,  # the same in the classic protocol: a rebalance has begun meanwhile
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._WAIT_COORD,
    }
)
_COMMIT_REMEDIES = {
    KafkaError.OFFSET_METADATA_TOO_LARGE: "shorten metadata= of mark_as_consumed, or raise offset.metadata.max.bytes",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "allow the client's user READ on group {group}",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "allow the client's user READ on the topic",
}
_FENCED = KafkaError(KafkaError.FENCED_INSTANCE_ID).str()
_UNRELEASED = KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str()


class Consequence(Enum):
    """The consequence of an error."""

    TELL = auto()  # librdkafka recovers on its own
    WAIT_FOR_OWN_ID = auto()  # the broker still holds our static id for its previous holder
    CHANGE_OWN_ID = auto()  # another member took our static id, which may be any
    END = auto()  # the client is dead, and so is the node


@dataclass(frozen=True, slots=True)
class Judgement:
    """The consequence of an error, and the sentence for the log."""

    consequence: Consequence
    code: str
    reason: str


def is_fatal(error: KafkaError) -> bool:
    """Whether the client is dead from this error on."""
    return bool(error.fatal()) or error.code() == KafkaError._FATAL


def judge(
    error: KafkaError, reason: str, group: str, instance_id: str | None, *, id_may_change: bool = False
) -> Judgement:
    """Judge an error of the client of consumer group `group`; `reason` is its text without secrets.

    id_may_change: the static id is none of the application's.
    """
    fatal = is_fatal(error)
    if error.code() == KafkaError._AUTO_OFFSET_RESET:  # only reported under initial_offset="error"
        return Judgement(Consequence.END, error.name(), nowhere_to_begin(group, reason))
    if not fatal:
        return Judgement(Consequence.TELL, error.name(), reason)
    if _UNRELEASED in reason:
        return Judgement(
            Consequence.WAIT_FOR_OWN_ID,
            "UNRELEASED_INSTANCE_ID",
            f"the broker still holds the static member id {instance_id} in group {group} for its previous holder; this "
            f"node waits until that session ends. If this lasts, another process uses the id: give each swarm its "
            f"own --group-instance-id (the property group.instance.id)",
        )
    if error.code() == KafkaError.FENCED_INSTANCE_ID or _FENCED in reason or "FENCED_INSTANCE_ID" in reason:
        # librdkafka reports it as _FATAL, twice in one text.
        if id_may_change:
            return Judgement(
                Consequence.CHANGE_OWN_ID,
                "FENCED_INSTANCE_ID",
                f"another member has taken the static member id {instance_id} in group {group}, so this node joins "
                f"again, and under another id if that happens twice within a minute. Two machines or containers with "
                f"one host name and one boot id do that: give them host names of their own, or use --membership "
                f"dynamic. A broker that was killed may do it once",
            )
        return Judgement(
            Consequence.END,
            "FENCED_INSTANCE_ID",
            f"another process uses group.instance.id {instance_id} in group {group}: give each swarm its own "
            "--group-instance-id (the property group.instance.id)",
        )
    return Judgement(Consequence.END, error.name(), reason)


def nowhere_to_begin(group: str, reason: str) -> str:
    """Return the advice for a partition without a usable offset under initial_offset="error"."""
    return (
        f"{reason}; initial_offset='error' forbids a default: commit an existing offset for group {group}, or let "
        f"the topic start at initial_offset='earliest' or 'latest'"
    )


def commit_refusal(error: KafkaError, group: str) -> str:
    """Return the advice for a commit that the broker refused."""
    remedy = _COMMIT_REMEDIES.get(
        error.code(), "until a commit succeeds, more and more records would be handled again after a restart"
    )
    return f"{error.name()}: {error.str()}: {remedy.format(group=group)}"


def commit_may_succeed_later(error: KafkaError) -> bool:
    """Whether a refused commit may succeed when it is retried."""
    return bool(error.retriable()) or error.code() in _PASSING_COMMIT_ERRORS


class Repetitions:
    """Recently logged problems: librdkafka reports an unreachable broker at every attempt to connect."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def is_new(self, code: str, reason: str, now: float) -> bool:
        """Whether to log this problem: it is new, or was last logged a minute ago."""
        what = f"{code} {_without_numbers(reason)}"
        if now - self._told.get(what, -REPEAT_AFTER_S) < REPEAT_AFTER_S:
            return False
        if len(self._told) > MOST_REMEMBERED:
            self._told.clear()
        self._told[what] = now
        return True


def _without_numbers(text: str) -> str:
    """Return the text without parts that differ between reports of one problem, such as the milliseconds waited."""
    return re.sub(r"\bafter \d+ms\b.*|\d+ms|\(\d+[^)]*\)", "", text)


def kafka_error_of(error: object) -> KafkaError | None:
    """Return the client's own error object behind an exception; None if there is none.

    A fatal error during a delivery callback arrives as SystemError with the original error as its cause.
    """
    if isinstance(error, KafkaError):
        return error
    for each in (error, getattr(error, "__cause__", None), getattr(error, "__context__", None)):
        if isinstance(each, KafkaException) and each.args:
            found: KafkaError = each.args[0]
            return found
    return None


def without_frames(error: BaseException) -> BaseException:
    """Return an error without its frames, which would keep the client and its threads alive."""
    if error.__cause__ is not None:
        error.__cause__.__traceback__ = None
    if error.__context__ is not None:
        error.__context__.__traceback__ = None
    return error.with_traceback(None)


def client_text(error: BaseException) -> str:
    """Return what the client says in an error, without the code and the brackets of a KafkaException."""
    return str(error.args[0].str()) if isinstance(error, KafkaException) and error.args else str(error)
