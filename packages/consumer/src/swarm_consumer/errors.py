"""The errors of the package: each is a sentence with the problem and the remedy."""

from __future__ import annotations

from typing import Literal

AdminErrorKind = Literal[
    "refused", "unreachable", "no-servers", "no-controller", "not-shown", "has-members", "no-topic", "position"
]


def _text_of(cause: BaseException) -> str:
    try:
        return str(cause) or type(cause).__name__
    except BaseException:  # noqa: BLE001  a decoder's error may be of any class
        return type(cause).__name__


class SwarmConsumerError(Exception):
    """Base of every error of this package."""


class ConfigurationError(SwarmConsumerError, ValueError):
    """A setting, a route or a property that cannot work; one sentence, meant for exit code 2.

    ``place`` is the ``file:line`` of the declaration, None if there is none.
    """

    def __init__(self, message: str, *, place: str | None = None) -> None:
        super().__init__(message)
        self.place = place


class WarmupError(SwarmConsumerError):
    """A warm-up of the application failed: nothing was started. Its cause is ``__cause__``."""


class LifespanError(SwarmConsumerError):
    """The application's lifespan failed at its start or its end: the node ends. Its cause is ``__cause__``."""


class ForkError(SwarmConsumerError, RuntimeError):
    """A client made in one process is used in another; librdkafka's threads do not survive a fork."""


class AdminError(SwarmConsumerError):
    """A cluster did not do, or did not say, what it was asked; one sentence.

    ``kind`` names the cause, so that a tool can add what to do in its own terms:

    - "refused": the cluster said no, with its own reason; also an answer that did not come in time.
    - "unreachable": no broker answered in time.
    - "no-servers": the properties name no broker.
    - "no-controller": no broker leads the cluster, so topics cannot be managed.
    - "not-shown": a change was accepted, but the cluster did not show it in time.
    - "has-members": the group is at work, so its offsets cannot be moved.
    - "no-topic": a group reads a topic that does not exist.
    - "position": a position that means nothing, or that a partition cannot be moved to.
    """

    def __init__(self, message: str, kind: AdminErrorKind = "refused") -> None:
        super().__init__(message)
        self.kind: AdminErrorKind = kind


class DeserializationError(SwarmConsumerError):
    """A key, a payload or headers that the topic's deserializer refused.

    Has ``topic``, ``partition``, ``offset`` and ``field`` ("payload", "key" or "headers"); the message contains
    them and the decoder's text, which for msgspec includes the path in the document.
    """

    def __init__(self, topic: str, partition: int, offset: int, field: str, cause: BaseException) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.field = field
        super().__init__(f"{topic}[{partition}] offset {offset}: the {field} cannot be decoded: {_text_of(cause)}")


class NodeDied(SwarmConsumerError):
    """Processes died with a message: it is given up without being handed to the handler again.

    ``deaths`` counts them, ``reason`` says how the last one ended, and ``stack`` where it was if it hung.
    """

    def __init__(self, deaths: int, reason: str, stack: str = "") -> None:
        self.deaths = deaths
        self.reason = reason
        self.stack = stack
        processes = "1 process" if deaths == 1 else f"{deaths} processes"
        super().__init__(f"{processes} died with this message: {reason or 'the reason is not known'}")


class DeliveryError(SwarmConsumerError):
    """The broker did not acknowledge a message: it is lost unless it is produced again."""


class ConsumptionError(SwarmConsumerError):
    """An operation on a partition that is not possible now, for example after it was taken away."""
