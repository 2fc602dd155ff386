"""The payload's type from a handler's annotation: ``def consume(self, messages: Batch[Order])``."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

from swarm_consumer._handling.batch import Batch
from swarm_consumer._handling.handlers import code_of
from swarm_consumer._payloads.deserialization import Decoders, Json, MessagePack, check_decoder, compile_decoders
from swarm_consumer.errors import ConfigurationError

_RAW = (Any, object, bytes, None, type(None))
"""Annotations without decoding."""


def payload_of(handler: Any, given: Any, names: Mapping[str, Any]) -> Any:
    """Return the topic's payload setting: the given one, else the type in the handler's annotation ``Batch[type]``.

    names: the local names at the declaration, to resolve annotations that are strings.
    Raises ConfigurationError if both exist and contradict each other, or if the annotation is needed but
    cannot be read.
    """
    annotation = _annotation(handler)
    if annotation is None:
        return given
    name = getattr(code_of(handler), "__qualname__", repr(handler))
    try:
        annotated = _batch_type(_resolved(handler, annotation, names))
    except Exception as error:  # an annotation is any expression
        if given is not None or "Batch[" not in str(annotation):
            return given
        raise ConfigurationError(
            f"the annotation {annotation!r} of {name} cannot be read ({type(error).__name__}: {error}): give payload= "
            f"beside it, or make its types importable where {name} is defined"
        ) from error
    if annotated in _RAW or isinstance(annotated, typing.TypeVar):
        if annotated is bytes and _type_of(given) is not None:
            raise _contradiction(name, annotated, given)
        return given
    if given is None:
        return annotated
    wanted = _type_of(given)
    if wanted is not None and not _fits(wanted, annotated):
        raise _contradiction(name, annotated, given)
    return given


def decoders_of(topic: str, payload: Any, key: Any, headers: Any) -> Decoders:
    """Return a topic's compiled decoders. Raises ConfigurationError for one that cannot decode."""
    return compile_decoders(topic, payload, key, headers)


def check_headers_decoder(function: Any, topic: str) -> None:
    """Raise ConfigurationError for a decoder of headers that is not callable, before the handler is known."""
    check_decoder(function, topic, "headers")


def _contradiction(name: str, annotated: Any, given: Any) -> ConfigurationError:
    return ConfigurationError(
        f"{name} is annotated with Batch[{_shown(annotated)}], but the topic has payload={_shown(given)}: make them "
        f"the same, or remove payload= to use the annotation"
    )


def _shown(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


def _annotation(handler: Any) -> Any:
    """The annotation of the parameter for the batch; None if there is none or it is unknown."""
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except Exception:  # noqa: BLE001  compiled without a signature, or (Python 3.14) an annotation that cannot be read
        return None
    if parameters and parameters[0].name == "self" and not inspect.ismethod(handler):
        del parameters[0]
    named = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return named[0].annotation if named and named[0].annotation is not named[0].empty else None


def _resolved(handler: Any, annotation: Any, names: Mapping[str, Any]) -> Any:
    if isinstance(annotation, str):
        scope = {**getattr(inspect.unwrap(code_of(handler)), "__globals__", {}), **names}
        # Resolved alone, so that an unreadable annotation of another parameter does no harm.
        alone = types.SimpleNamespace(__annotations__={"batch": annotation})
        return typing.get_type_hints(alone, globalns=scope)["batch"]
    return annotation


def _batch_type(annotation: Any) -> Any:
    """The type in ``Batch[type]``, without None; None for any other annotation."""
    if typing.get_origin(annotation) is not Batch:
        return None
    (wanted,) = typing.get_args(annotation)
    if isinstance(wanted, typing.ForwardRef | str):
        raise NameError(str(wanted))
    present = _members(wanted) - {type(None)}
    return present.pop() if len(present) == 1 else wanted


def _type_of(given: Any) -> Any:
    """The type that a payload setting decodes into; None if unknown (a function, raw bytes)."""
    if isinstance(given, Json | MessagePack):
        return None if given.type is Any else given.type
    if isinstance(given, type) or typing.get_origin(given) is not None:
        return given
    return None


def _members(kind: Any) -> set[Any]:
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return set(typing.get_args(kind)) if union else {kind}


def _fits(wanted: Any, annotated: Any) -> bool:
    """Whether every payload of one type is also of the other; True if unknown."""
    return all(any(_compatible(one, other) for other in _members(annotated)) for one in _members(wanted) - {type(None)})


def _compatible(one: Any, other: Any) -> bool:
    if one == other or (one, other) == (int, float):
        return True
    mine, theirs = typing.get_origin(one) or one, typing.get_origin(other) or other
    if not (isinstance(mine, type) and isinstance(theirs, type)):
        return True
    try:
        if not issubclass(mine, theirs):
            return False
    except TypeError:  # a protocol with data members
        return True
    pairs = list(zip(typing.get_args(one), typing.get_args(other), strict=False))
    return all(_fits(inner, outer) for inner, outer in pairs)
