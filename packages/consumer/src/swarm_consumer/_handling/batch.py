"""A batch: messages of one partition, in order, with facts about them as a whole."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, overload

import confluent_kafka

from swarm_consumer._handling.message import Message
from swarm_consumer._payloads.codec import Codec
from swarm_consumer._payloads.deserialization import Decoders
from swarm_consumer.errors import DeserializationError
from swarm_consumer.kafka.record_headers import headers_of

Payload = TypeVar("Payload")

_value = confluent_kafka.Message.value
_RUN = 32
"""Number of payloads that `iter_payloads` decodes at once: without Python code in between, and few in memory."""


class Batch(Sequence[Message[Payload]], Generic[Payload]):
    """Messages of one topic-partition in offset order.

    Message objects are created when the batch is first iterated or indexed; `iter_payloads()`, `payloads()` and
    `raw_payloads()` do not need them and are the fastest way to the data.
    """

    __slots__ = ("_decoders", "_end_offset", "_iterated", "_messages", "_received", "partition", "records", "topic")

    def __init__(
        self,
        topic: str,
        partition: int,
        records: list[confluent_kafka.Message],
        decoders: Decoders,
        end_offset: int | None = None,
    ) -> None:
        self.topic: str = topic
        self.partition: int = partition
        self.records: list[confluent_kafka.Message] = records
        self._decoders = decoders
        self._end_offset = end_offset
        self._messages: list[Message[Payload]] | None = None
        self._iterated: tuple[Iterator[Any], int] | None = None  # the handler's iteration, and its end
        self._received = time.time()

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Message[Payload]: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message[Payload]]: ...
    def __getitem__(self, index: int | slice) -> Message[Payload] | list[Message[Payload]]:
        return self._all()[index]

    def __iter__(self) -> Iterator[Message[Payload]]:
        # The iterator is kept because its length hint shows, after an error, which message was being handled.
        iterator = iter(self._all())
        self._iterated = iterator, len(self.records)
        return iterator

    def __repr__(self) -> str:
        return f"<Batch {self.topic}[{self.partition}] offsets {self.first_offset} to {self.last_offset}>"

    @property
    def first_offset(self) -> int:
        """The offset of the first message."""
        return self.records[0].offset()  # type: ignore[return-value]

    @property
    def last_offset(self) -> int:
        """The offset of the last message."""
        return self.records[-1].offset()  # type: ignore[return-value]

    def payloads(self) -> list[Payload]:
        """Return every decoded payload; None for a tombstone. Raises DeserializationError for the first bad one."""
        try:
            return self._decoded(self.records)
        except Exception:  # noqa: BLE001  whatever a decoder raises
            return [message.payload for message in self._all()]  # finds the offset of the bad one

    def iter_payloads(self) -> Iterator[Payload]:
        """Decode payloads one after the other, like `payloads()` but without a list that keeps all of them alive.

        Raises DeserializationError when it comes to a bad one, after those before it.
        """
        return itertools.chain.from_iterable(self._payload_runs())

    def raw_payloads(self) -> list[bytes | None]:
        """Return every value as received."""
        return list(map(_value, self.records))

    @property
    def lag(self) -> int | None:
        """Number of offsets after this batch, as last known by the client; None if unknown.

        Under read_committed the end is the last stable offset. Offsets that hold no message, such as the markers of
        transactions, count: after the last batch of a topic written in transactions it is 1.
        """
        return None if self._end_offset is None else max(0, self._end_offset - self.last_offset - 1)

    @property
    def created_at(self) -> datetime | None:
        """The timestamp of the last message (UTC)."""
        return self[-1].timestamp

    @property
    def received_at(self) -> datetime:
        """When the batch was handed to the handler (UTC)."""
        return datetime.fromtimestamp(self._received, UTC)

    @property
    def consumption_lag_s(self) -> float | None:
        """Seconds between the last message's timestamp and the moment it was handed to the handler."""
        milliseconds = self[-1].timestamp_ms
        return None if milliseconds is None else self._received - milliseconds / 1000

    @property
    def processing_lag_s(self) -> float:
        """Seconds since the batch was handed to the handler."""
        return max(0.0, time.time() - self._received)

    def _all(self) -> list[Message[Payload]]:
        if self._messages is None:
            decoders = self._decoders
            self._messages = [Message(record, decoders) for record in self.records]
        return self._messages

    def _decoded(self, records: list[confluent_kafka.Message]) -> list[Any]:
        """Return the decoded payloads of some records; raises whatever the decoder does for a bad one."""
        decode = self._decoders.payload
        if decode is None:
            if self._decoders.codec is not None:
                return _opened(self._decoders.codec, records)
            return list(map(_value, records))
        # One value at a time, from the client to the decoder: a list of all values would push the data being
        # decoded out of the CPU cache.
        if self._decoders.payload_refuses_none:
            with contextlib.suppress(TypeError):  # there is a tombstone
                return list(map(decode, map(_value, records)))  # type: ignore[arg-type]
        return [None if value is None else decode(value) for value in map(_value, records)]

    def _payload_runs(self) -> Iterator[Iterator[Payload]]:
        for start in range(0, len(self.records), _RUN):
            failure: DeserializationError | None = None
            try:
                decoded = self._decoded(self.records[start : start + _RUN])
            except Exception:  # noqa: BLE001  whatever a decoder raises
                decoded, failure = self._until_failure(start)
            iterator = iter(decoded)
            self._iterated = iterator, start + len(decoded)
            yield iterator
            if failure is not None:
                raise failure

    def _until_failure(self, start: int) -> tuple[list[Payload], DeserializationError | None]:
        decoded = []
        for message in self._all()[start : start + _RUN]:
            try:
                decoded.append(message.payload)
            except DeserializationError as error:
                return decoded, error
        return decoded, None

    def _offset_in_hand(self, error: BaseException) -> int:
        """Return the offset that was being handled when `error` was raised, if known, else the first."""
        if isinstance(error, DeserializationError):
            # The application's own class may lack this.
            told = [getattr(error, name, None) for name in ("topic", "partition", "offset")]
            if told[:2] == [self.topic, self.partition] and isinstance(told[2], int):
                return told[2]
        if self._iterated is not None:
            iterator, end = self._iterated
            hint: Any = getattr(iterator, "__length_hint__", lambda: 0)()
            index = end - hint - 1
            if 0 <= index < len(self.records):
                offset: int = self.records[index].offset()
                return offset
        return self.first_offset


def _opened(codec: Codec, records: list[confluent_kafka.Message]) -> list[Any]:
    """Return the payloads that a codec makes of some records; None for a tombstone."""
    decode = codec.decode
    pairs = zip(records, map(_value, records), strict=True)
    return [None if value is None else decode(value, headers_of(record)) for record, value in pairs]
