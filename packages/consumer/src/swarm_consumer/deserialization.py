"""From bytes to objects: what a topic's `payload`, `key` and `headers` settings may be, and how they are compiled."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from swarm_consumer.errors import ConfigurationError

Decode = Callable[[bytes], Any]
Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Json:
    """Decode JSON into a msgspec type: ``payload=Json(Flight)``; the same as ``payload=Flight``."""

    type: Any = Any
    strict: bool = True


@dataclass(frozen=True, slots=True)
class MessagePack:
    """Decode MessagePack into a msgspec type: ``payload=MessagePack(Flight)``."""

    type: Any = Any
    strict: bool = True


@dataclass(frozen=True)
class Decoders:
    """The compiled deserializers of one topic; None means raw bytes, or headers as they came."""

    payload: Decode | None = None
    key: Decode | None = None
    headers: Callable[[Headers], Any] | None = None

    @functools.cached_property
    def payload_refuses_none(self) -> bool:
        """Whether the payload decoder raises for None, as msgspec's do: a tombstone then needs no look beforehand."""
        owner = getattr(self.payload, "__self__", None)
        return isinstance(owner, (msgspec.json.Decoder, msgspec.msgpack.Decoder))


def compile_decoder(specification: Any, topic: str, field: str) -> Decode | None:
    """Return a bytes-to-object function for what the user wrote; None for raw bytes.

    A type goes to msgspec as JSON, `Json` and `MessagePack` say the format, one of confluent-kafka's schema-registry
    deserializers is given its context, and any other callable is called with the bytes.
    Raises ConfigurationError for anything else, and for a type msgspec has no decoder for.
    """
    if specification is None or specification is bytes:
        return None
    if isinstance(specification, Json):
        return _msgspec(msgspec.json.Decoder, specification.type, specification.strict, topic, field)
    if isinstance(specification, MessagePack):
        return _msgspec(msgspec.msgpack.Decoder, specification.type, specification.strict, topic, field)
    if _is_registry_deserializer(specification):
        return _with_context(specification, topic, field)
    if isinstance(specification, type) or typing.get_origin(specification) is not None or specification is Any:
        return _msgspec(msgspec.json.Decoder, specification, True, topic, field)
    if callable(specification):
        decode: Decode = specification
        return decode
    raise ConfigurationError(
        f"topic {topic!r}: {field}={specification!r} is neither a type nor a function of bytes; "
        f"give a msgspec type, Json(...), MessagePack(...), a callable, or None for raw bytes"
    )


def _msgspec(decoder: Any, wanted: Any, strict: bool, topic: str, field: str) -> Decode:
    try:
        information = msgspec.inspect.type_info(wanted)
        if isinstance(information, msgspec.inspect.CustomType):
            raise TypeError(f"msgspec does not know {wanted!r}; give a function of bytes instead")
        decode: Decode = decoder(wanted, strict=strict).decode
    except (TypeError, ValueError, NameError) as error:
        raise ConfigurationError(f"topic {topic!r}: {field}={wanted!r} cannot be decoded into: {error}") from error
    return decode


def _is_registry_deserializer(specification: Any) -> bool:
    """Whether this is one of confluent-kafka's deserializers, which want a SerializationContext beside the bytes."""
    return any(
        base.__name__ in ("Deserializer", "BaseDeserializer") and base.__module__.startswith("confluent_kafka.")
        for base in type(specification).__mro__
    )


def _with_context(deserializer: Any, topic: str, field: str) -> Decode:
    from confluent_kafka.serialization import MessageField, SerializationContext

    context = SerializationContext(topic, MessageField.KEY if field == "key" else MessageField.VALUE)

    def decode(data: bytes) -> Any:
        return deserializer(data, context)

    return decode
