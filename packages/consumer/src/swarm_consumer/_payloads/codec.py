"""Codecs: how values of records become payloads and payloads values, with the headers of the record in sight."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

Headers = list[tuple[str, bytes | None]]


class Encoded(NamedTuple):
    """What a codec makes of a payload: the value of the record, and headers that go with it."""

    value: bytes
    headers: Sequence[tuple[str, bytes | None]] = ()


class Codec(ABC):
    """Turns values of a topic's records into payloads and back: ``@app.topic("orders", payload=Gzip(Order))``.

    Derive from it for what needs more than the bytes of a value: encryption, compression, schemas. Handlers get what
    `decode` returns. What the app produces to that topic goes through `encode`, in every handler; ``produce(...,
    codec=...)`` names another one, or one for a topic that the app does not consume.

    Neither method is asked about tombstones, and both are called from all worker threads. Dead letters keep the value
    and the headers of their record: they are neither decoded nor encoded.
    """

    @abstractmethod
    def decode(self, value: bytes, headers: Headers) -> Any:
        """Return the payload of a record. What it raises becomes a DeserializationError.

        ``headers`` are those of the record, as (name, bytes) pairs; change nothing in the list.
        """

    def encode(self, payload: Any) -> bytes | Encoded:
        """Return the value for a payload, or `Encoded` with the headers that it needs; they follow those of produce().

        A codec that does not define it only reads: producing with it raises NotImplementedError.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define encode(self, payload): it only reads")


class Default(Codec):
    """The codec of topics that have none of their own: values are read as they are, and objects are written as JSON."""

    def decode(self, value: bytes, headers: Headers) -> bytes:
        """Return the value."""
        return value

    def encode(self, payload: Any) -> bytes:
        """Return bytes and str as they are, anything else as JSON."""
        made = encode(payload)
        # str's own method: str(made) is what a subclass wants to show, such as `Color.RED` for an enum member "red".
        return str.encode(made) if isinstance(made, str) else made or b""


DEFAULT = Default()


def encode(value: Any) -> bytes | str | None:
    """Return the bytes of a value: bytes, str and None unchanged, else JSON, also for a pydantic model."""
    if value is None or isinstance(value, (bytes, str)):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    return encode_json(value)


def encoded(codec: Codec, payload: Any) -> tuple[bytes | None, Sequence[tuple[str, bytes | None]]]:
    """Return what a codec makes of a payload: the value, and headers to add. A tombstone stays one.

    Raises TypeError for what cannot be a record's value.
    """
    if payload is None:
        return None, ()
    encode = codec.encode
    made = encode(payload)
    if isinstance(made, bytes):
        return made, ()
    if isinstance(made, Encoded) and isinstance(made.value, bytes):
        return made
    raise TypeError(
        f"{type(codec).__qualname__}.encode() returned {type(made).__qualname__}: it has to return bytes, or "
        f"swarm_consumer.Encoded(bytes, headers)"
    )


def joined(
    given: Mapping[str, Any] | Sequence[tuple[str, Any]] | None, added: Sequence[tuple[str, bytes | None]]
) -> Any:
    """Return headers as `produce` takes them, with those of a codec behind them."""
    if not added:
        return given
    return [*(given.items() if isinstance(given, Mapping) else given or ()), *added]


def _plain(value: Any) -> Any:
    """Convert a pydantic model for msgspec; pydantic itself is never imported here."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(
            f"an object of type {type(value).__qualname__} cannot be encoded as JSON: produce bytes instead"
        )
    return dump(mode="json")


encode_json = msgspec.json.Encoder(enc_hook=_plain).encode
"""Return the value as JSON."""
