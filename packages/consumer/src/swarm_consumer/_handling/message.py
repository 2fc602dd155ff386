"""A message as seen by handlers: typed, decoded once on first access."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import confluent_kafka
import msgspec

from swarm_consumer._payloads.codec import Headers
from swarm_consumer._payloads.deserialization import Decoders
from swarm_consumer.errors import DeserializationError
from swarm_consumer.kafka.record_headers import headers_of

Payload = TypeVar("Payload")

_UNDECODED: Any = object()


class Message(msgspec.Struct, Generic[Payload], eq=False):  # a Struct is created in a fifth of the time of a class
    """One record of a topic. `payload`, `key` and `headers` are decoded on first access and kept."""

    _record: confluent_kafka.Message
    _decoders: Decoders
    _payload: Any = _UNDECODED
    _key: Any = _UNDECODED
    _headers: Any = _UNDECODED

    @property
    def topic(self) -> str:
        """The topic this message was read from."""
        return self._record.topic()  # type: ignore[return-value]

    @property
    def partition(self) -> int:
        """The partition this message was read from."""
        return self._record.partition()  # type: ignore[return-value]

    @property
    def offset(self) -> int:
        """The offset of this message in its partition."""
        return self._record.offset()  # type: ignore[return-value]

    @property
    def payload(self) -> Payload:
        """The decoded value; None for a tombstone. Raises DeserializationError."""
        payload = self._payload
        if payload is _UNDECODED:
            # The same as `_decoded` but without a call, because this is read for every message.
            payload, decode = self._record.value(), self._decoders.payload
            if payload is not None and decode is not None:
                try:
                    payload = decode(payload)
                except Exception as error:
                    raise DeserializationError(self.topic, self.partition, self.offset, "payload", error) from error
            elif payload is not None and self._decoders.codec is not None:
                open_payload = self._decoders.codec.decode
                try:
                    payload = open_payload(payload, self.raw_headers)
                except Exception as error:
                    raise DeserializationError(self.topic, self.partition, self.offset, "payload", error) from error
            self._payload = payload
        return payload  # type: ignore[no-any-return]

    @property
    def raw_payload(self) -> bytes | None:
        """The value as received; None for a tombstone."""
        return self._record.value()

    @property
    def key(self) -> Any:
        """The key, decoded if the topic has a key deserializer; None if there is none. Raises DeserializationError."""
        if self._key is _UNDECODED:
            self._key = self._decoded("key", self._record.key(), self._decoders.key)
        return self._key

    @property
    def raw_key(self) -> bytes | None:
        """The key as received."""
        return self._record.key()

    @property
    def headers(self) -> Any:
        """The headers as (name, bytes) pairs, or as decoded by the topic's headers deserializer."""
        if self._headers is _UNDECODED:
            decode = self._decoders.headers
            if decode is None:
                self._headers = self.raw_headers
            else:
                try:
                    self._headers = decode(self.raw_headers)
                except Exception as error:
                    raise DeserializationError(self.topic, self.partition, self.offset, "headers", error) from error
        return self._headers

    @property
    def raw_headers(self) -> Headers:
        """The headers as (name, bytes) pairs, an empty list if there are none; U+FFFD for a name that is not UTF-8."""
        return headers_of(self._record)

    @property
    def timestamp(self) -> datetime | None:
        """When the producer, or the broker on appending, stamped the message (UTC).

        None without a time, or if it is not a valid date, such as microseconds instead of Kafka's milliseconds:
        `timestamp_ms` has the original number.
        """
        milliseconds = self.timestamp_ms
        try:
            return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            return None

    @property
    def timestamp_ms(self) -> int | None:
        """The same in milliseconds since 1970, by the wall clock of the producer or broker."""
        kind, milliseconds = self._record.timestamp()
        return None if kind == confluent_kafka.TIMESTAMP_NOT_AVAILABLE else milliseconds

    @property
    def leader_epoch(self) -> int | None:
        """The epoch of the partition's leader that appended the message, when known."""
        return self._record.leader_epoch()

    @property
    def record(self) -> confluent_kafka.Message:
        """The client's own message object."""
        return self._record

    def __repr__(self) -> str:
        return f"<Message {self.topic}[{self.partition}] offset {self.offset}>"

    def _decoded(self, field: str, data: bytes | None, decode: Any) -> Any:
        if data is None or decode is None:
            return data
        try:
            return decode(data)
        except Exception as error:
            raise DeserializationError(self.topic, self.partition, self.offset, field, error) from error
