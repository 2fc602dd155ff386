"""Checks of user input: numbers, topic names, known names. Each error is one sentence."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from swarm_consumer.errors import ConfigurationError
from swarm_consumer.wording.place import Place

_TOPIC = re.compile(r"^[a-zA-Z0-9._-]{1,249}$")


def check_number(value: Any, low: float, high: float, name: str, where: str, *, whole: bool = False) -> None:
    """Raise ConfigurationError unless `value` is a number between `low` and `high`."""
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise ConfigurationError(f"{where}: {name} must be {kind} from {low:g} to {high:g}, not {value!r}")


def check_flag(value: Any, name: str, where: str) -> None:
    """Raise ConfigurationError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{where}: {name} must be True or False, not {value!r}")


def check_name(value: Any, name: str, where: str) -> None:
    """Raise ConfigurationError unless `value` is a text of at least one character."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{where}: {name} must be a non-empty string, not {value!r}")


def check_mapping(value: Any, name: str, where: str) -> None:
    """Raise ConfigurationError unless `value` is a mapping."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where}: {name} must be a mapping of names to values, not {value!r}")


def check_topic(topic: Any) -> None:
    """Raise ConfigurationError for anything that is neither a topic name nor a pattern."""
    if not isinstance(topic, str):
        raise ConfigurationError(f"{topic!r} cannot be a topic: a name or a pattern is a string")
    if topic.startswith("^"):
        try:
            re.compile(topic)
        except re.error as error:
            raise ConfigurationError(f"pattern {topic!r} is not a regular expression: {error}") from error
    elif not _TOPIC.match(topic) or topic in (".", ".."):
        raise ConfigurationError(
            f"{topic!r} cannot be a topic: a name has 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', a pattern starts "
            f"with ^"
        )


@contextlib.contextmanager
def declared(place: Place) -> Iterator[None]:
    """Prefix a ConfigurationError of the block with the place of the declaration, unless it already has one."""
    try:
        yield
    except ConfigurationError as error:
        if error.place is not None:
            raise
        placed = ConfigurationError(f"{place}: {error}", place=str(place))
        raise placed from error.__cause__


def nearest(name: str, known: Any) -> str:
    """Return ``; did you mean 'x'?`` for the known name nearest to a mistyped one, or an empty string."""
    import difflib

    matches = difflib.get_close_matches(name, [str(candidate) for candidate in known], n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
