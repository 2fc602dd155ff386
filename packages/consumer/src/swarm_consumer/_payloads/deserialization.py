"""From bytes to objects: what a topic's `payload`, `key` and `headers` settings may be, and how they are compiled."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from swarm_consumer._payloads.codec import Codec, Headers
from swarm_consumer.errors import ConfigurationError

Decode = Callable[[bytes], Any]


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
    """The compiled deserializers of one topic; None means raw bytes, or headers as they came.

    A topic with a `codec` has no `payload`: its payloads need the headers, and a call of their own for each record.
    """

    payload: Decode | None = None
    key: Decode | None = None
    headers: Callable[[Headers], Any] | None = None
    epoch: int = 0
    """The partition's epoch under which the messages were handed out; 0 if not created by a runtime."""
    codec: Codec | None = None

    @functools.cached_property
    def payload_refuses_none(self) -> bool:
        """Whether the payload decoder raises for None, as msgspec's do; then tombstones need no check in advance."""
        owner = getattr(self.payload, "__self__", None)
        return isinstance(owner, (msgspec.json.Decoder, msgspec.msgpack.Decoder))


def compile_decoders(topic: str, payload: Any, key: Any, headers: Callable[[Headers], Any] | None) -> Decoders:
    """Return the deserializers of a topic from its settings. Raises ConfigurationError for anything else."""
    decode_key = compile_decoder(key, topic, "key")
    if not isinstance(payload, Codec):
        return Decoders(compile_decoder(payload, topic, "payload"), decode_key, headers)
    check_codec(payload, topic)
    return Decoders(None, decode_key, headers, codec=payload)


def compile_decoder(specification: Any, topic: str, field: str) -> Decode | None:
    """Return a bytes-to-object function for the user's setting; None for raw bytes.

    msgspec decodes a type from JSON (str too: a JSON string), `Json` and `MessagePack` name the format, a pydantic
    model or TypeAdapter validates JSON itself, one of confluent-kafka's schema-registry deserializers gets its
    context, and any other callable gets the bytes.
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
    if _is_pydantic(specification):
        return _pydantic(specification)
    if isinstance(specification, type) and issubclass(specification, Codec):
        name = specification.__qualname__
        raise ConfigurationError(f"topic {topic!r}: {field}={name} is a class; give a codec made of it, {name}(...)")
    if isinstance(specification, type) or typing.get_origin(specification) is not None or specification is Any:
        return _msgspec(msgspec.json.Decoder, specification, True, topic, field)
    if callable(specification):
        check_decoder(specification, topic, field)
        decode: Decode = specification
        return decode
    if isinstance(specification, Codec):
        raise ConfigurationError(f"topic {topic!r}: a Codec is for payloads: give {field}= a function of bytes")
    raise ConfigurationError(
        f"topic {topic!r}: {field}={specification!r} is neither a type nor a function of bytes; "
        f"give a msgspec type, Json(...), MessagePack(...), a callable, or None for raw bytes"
    )


def check_decoder(function: Any, topic: str, field: str) -> None:
    """Raise ConfigurationError for a decoding function that returns no object: a coroutine, or a generator."""
    if not callable(function):
        raise ConfigurationError(f"topic {topic!r}: {field} must be a function, not {function!r}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"topic {topic!r}: {field}={function!r} is async, but decoding is not awaited: give a plain function"
        )
    if inspect.isgeneratorfunction(function):
        raise ConfigurationError(
            f"topic {topic!r}: {field}={function!r} contains yield, so it returns a generator instead of a {field}: "
            f"return the decoded object"
        )


def check_codec(codec: Codec, topic: str) -> None:
    """Raise ConfigurationError for a codec with a method that returns no result: a coroutine, or a generator."""
    for method in (codec.decode, codec.encode):
        function = inspect.unwrap(method)
        yields = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        if yields or inspect.iscoroutinefunction(method):
            raise ConfigurationError(
                f"topic {topic!r}: {method.__qualname__} is async or contains yield, and is not awaited: let it return "
                f"its result"
            )


def _is_pydantic(specification: Any) -> bool:
    """Whether this is a pydantic model or TypeAdapter; pydantic itself is never imported here."""
    if isinstance(specification, type):
        return callable(getattr(specification, "model_validate_json", None))
    return callable(getattr(specification, "validate_json", None))


def _pydantic(specification: Any) -> Decode:
    validate: Decode = getattr(
        specification, "model_validate_json" if isinstance(specification, type) else "validate_json"
    )
    return validate


def _msgspec(decoder: Any, wanted: Any, strict: bool, topic: str, field: str) -> Decode:
    try:
        information = msgspec.inspect.type_info(wanted)
        unknown = _unknown_type(information, set())
        if unknown is not None:
            inside = "" if unknown is wanted else f" the {unknown.__qualname__} in"
            raise TypeError(f"msgspec does not support{inside} it; give a function of bytes, or a pydantic TypeAdapter")
        decode: Decode = decoder(wanted, strict=strict).decode
    except (TypeError, ValueError, NameError) as error:
        raise ConfigurationError(f"topic {topic!r}: {field}={wanted!r} cannot be decoded into: {error}") from error
    return decode


def _is_registry_deserializer(specification: Any) -> bool:
    """Whether this is one of confluent-kafka's deserializers, which need a SerializationContext besides the bytes."""
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


def _unknown_type(information: Any, seen: set[int]) -> Any:
    """Return a class that every payload needs but msgspec can only decode with a hook; None if there is none."""
    if id(information) in seen:
        return None
    seen.add(id(information))
    if isinstance(information, msgspec.inspect.CustomType):
        return information.cls
    inner = [getattr(information, name, None) for name in ("item_type", "key_type", "value_type")]
    inner += getattr(information, "item_types", ())
    inner += [field.type for field in getattr(information, "fields", ()) if field.required]
    return next((found for one in inner if one is not None and (found := _unknown_type(one, seen)) is not None), None)
