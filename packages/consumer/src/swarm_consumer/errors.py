"""The errors of the package: each a sentence that says what is wrong and what to do."""

from __future__ import annotations

from typing import Literal

AdminErrorKind = Literal[
    "refused", "unreachable", "no-servers", "no-controller", "not-shown", "has-members", "no-topic", "position"
]


def _text_of(cause: BaseException) -> str:
    try:
        return str(cause) or type(cause).__name__
    except BaseException:  # noqa: BLE001  a decoder's error is anybody's
        return type(cause).__name__


class SwarmConsumerError(Exception):
    """Base of every error this package raises on its own account."""


class ConfigurationError(SwarmConsumerError, ValueError):
    """A setting, a route or a property that cannot work; one sentence, meant for exit code 2.

    ``place`` is the ``file:line`` of the declaration that is meant, None where no line of code is.
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

    Carries ``topic``, ``partition``, ``offset`` and ``field`` ("payload", "key" or "headers"); the message repeats
    them and what the decoder said, for msgspec including the path inside the document.
    """

    def __init__(self, topic: str, partition: int, offset: int, field: str, cause: BaseException) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.field = field
        super().__init__(f"{topic}[{partition}] offset {offset}: the {field} cannot be decoded: {_text_of(cause)}")


class DeliveryError(SwarmConsumerError):
    """The broker did not acknowledge what was produced: the message is lost unless it is produced again."""


class ConsumptionError(SwarmConsumerError):
    """An operation on a partition that cannot be done now, for example on one that has been taken away."""
