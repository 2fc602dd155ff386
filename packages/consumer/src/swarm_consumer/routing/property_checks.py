"""Checks of Kafka properties without a client: properties that belong to Swarm, and values that cannot work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from swarm_consumer.declaring.checks import check_mapping
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.routing.settings import OWNED_PROPERTIES

_DAY_MS = 86_400_000

NUMBERS: Mapping[str, tuple[int, int]] = {
    # librdkafka accepts 0 and then only commits on revocation and on close, even if offsets are stored.
    "auto.commit.interval.ms": (1, _DAY_MS),
    "max.poll.interval.ms": (1, _DAY_MS),
    "session.timeout.ms": (1, 3_600_000),
    "heartbeat.interval.ms": (1, 3_600_000),
    "statistics.interval.ms": (0, _DAY_MS),
}
"""Properties that Swarm reads itself, with the smallest and the largest valid value."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "group.protocol": ("classic", "consumer"),
    "isolation.level": ("read_committed", "read_uncommitted"),
}

TEXTS = ("bootstrap.servers", "group.instance.id", "transactional.id")
"""Properties that are names and must not be empty."""


def check_properties(kafka: Mapping[str, Any], where: str, owned: Mapping[str, str] = OWNED_PROPERTIES) -> None:
    """Raise ConfigurationError for a property that belongs to Swarm or cannot work, with its place and the remedy."""
    check_mapping(kafka, "Kafka properties", where)
    for name, value in kafka.items():
        if not isinstance(name, str):
            raise ConfigurationError(f"{where}: a property name must be a string, not {name!r}")
        if name in owned:
            raise ConfigurationError(f"{where}: the property {name} is Swarm's own: {owned[name]}")
        if value is None:
            raise ConfigurationError(f"{where}: the property {name} is None; leave it out instead")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigurationError(f"{where}: the property {name} must be a finite number, not {value!r}")
        if isinstance(value, (list, tuple, set, frozenset, Mapping)):
            raise ConfigurationError(
                f"{where}: the property {name} must be a string, a number or a boolean, not a {type(value).__name__}; "
                f"join several values with commas"
            )
        _check_known(name, value, where)


def _check_known(name: str, value: Any, where: str) -> None:
    if name in NUMBERS:
        low, high = NUMBERS[name]
        number = _whole(value)
        if number is None or not low <= number <= high:
            raise ConfigurationError(
                f"{where}: the property {name} must be a whole number of milliseconds from {low} to {high}, not "
                f"{_shown(value)}"
            )
    elif name in CHOICES and str(value).lower() not in CHOICES[name]:
        raise ConfigurationError(
            f"{where}: the property {name} must be {' or '.join(CHOICES[name])}, not {_shown(value)}"
        )
    elif name in TEXTS and (not isinstance(value, str) or not value.strip()):
        raise ConfigurationError(f"{where}: the property {name} must be a non-empty string, not {_shown(value)}")


def _shown(value: Any) -> str:
    """The value for an error message. A string may be a password under the wrong name, so it is not shown."""
    return f"the given string of {len(value)} characters" if isinstance(value, str) else repr(value)


def _whole(value: Any) -> int | None:
    """The number as librdkafka reads it: an int or a string of digits; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        return None
