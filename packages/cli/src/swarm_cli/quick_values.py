"""Values of the command line that need no conversion, or a plain one: Typer is not asked for these.

Typer converts with pydantic, also text, and what was not given. To import it and to build its converters
takes a third of the CPU time of a start, and the partitions of a swarm whose supervisor was killed wait for that start.
What is not plain here is left to Typer, with its refusals and their texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

Conversion = Callable[[Any], Any]
"""Returns the value, or NotImplemented for one that is left to Typer."""


def conversions(command: Callable[..., Any]) -> dict[str, Conversion]:
    """Return the conversion of each parameter of a command that has a plain type, by its annotations."""
    found = {}
    for name, hint in get_type_hints(command, include_extras=True).items():
        kind, *about = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        kind = _without_none(kind)
        parser = next((one.parser for one in about if getattr(one, "parser", None) is not None), None)
        bounded = any(getattr(one, bound, None) is not None for one in about for bound in ("min", "max", "click_type"))
        if parser is not None:
            found[name] = _given_text(parser)
        elif bounded:
            found[name] = _default_of(kind)
        elif kind in _BY_TYPE:
            found[name] = _BY_TYPE[kind]
    return found


def attached(parameters: list[Any], found: Mapping[str, Conversion]) -> list[Any]:
    """Return the parameters of a command, and let them convert plain values themselves."""
    for parameter in parameters:
        if "process_value" not in vars(parameter):
            convert = found.get(parameter.name, _flag if getattr(parameter, "is_flag", False) else _nothing)
            parameter.process_value = _processed(parameter, convert, parameter.process_value)
    return parameters


def _processed(parameter: Any, convert: Conversion, by_typer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    several = bool(getattr(parameter, "multiple", False)) or parameter.nargs != 1

    def process(context: Any, value: Any) -> Any:
        if value is None:
            converted: Any = NotImplemented if parameter.required else () if several else None
        else:
            converted = convert(value) if several == isinstance(value, (list, tuple)) else NotImplemented
        if converted is NotImplemented:
            return by_typer(context, value)
        return converted if parameter.callback is None else parameter.callback(context, parameter, converted)

    return process


def _without_none(kind: Any) -> Any:
    others = [one for one in get_args(kind) if one is not type(None)]
    return others[0] if type(None) in get_args(kind) and len(others) == 1 else kind


def _given_text(parser: Conversion) -> Conversion:
    return lambda value: parser(value) if isinstance(value, str) else NotImplemented


def _default_of(kind: type) -> Conversion:
    """The command line gives text, and what has the type already is the default."""
    return lambda value: value if type(value) is kind else NotImplemented


def _nothing(value: Any) -> Any:
    return NotImplemented


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else NotImplemented


def _texts(value: Any) -> Any:
    return list(value) if all(isinstance(one, str) for one in value) else NotImplemented


def _flag(value: Any) -> Any:
    return value if isinstance(value, bool) else NotImplemented


def _whole_number(value: Any) -> Any:
    plain = type(value) is int or (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10)
    return int(value) if plain else NotImplemented


_BY_TYPE: dict[Any, Conversion] = {str: _text, list[str]: _texts, bool: _flag, int: _whole_number}
