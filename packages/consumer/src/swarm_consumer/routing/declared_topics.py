"""A topic's form in the cluster, declared beside its handler. Tools compare and create it; a run never does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swarm_consumer.declaring.checks import check_number, check_topic
from swarm_consumer.errors import ConfigurationError

MOST_PARTITIONS = 100_000


@dataclass(frozen=True, kw_only=True)
class DeclaredTopic:
    """A topic as declared by the application."""

    name: str
    partitions: int = 1
    """The minimum; partitions are never removed."""
    replication: int | None = None
    """Replicas of each partition of a new topic; None: the broker's default."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Topic configurations, such as ``cleanup.policy``; others are left alone."""


def declared_topic(name: str, partitions: int, replication: int | None, config: Mapping[str, Any]) -> DeclaredTopic:
    """Return a checked declaration; raises ConfigurationError for impossible values."""
    where = f"topic {name!r}"
    check_topic(name)
    if name.startswith("^"):
        raise ConfigurationError(f"{where} is a pattern: only a topic with a name can be declared")
    check_number(partitions, 1, MOST_PARTITIONS, "partitions", where, whole=True)
    if replication is not None:
        check_number(replication, 1, 32767, "replication", where, whole=True)
    values = {}
    for key, value in config.items():
        if not isinstance(key, str) or not isinstance(value, str | int | float):
            raise ConfigurationError(
                f"{where}: config must map names to strings, numbers or booleans, not {key!r} to {value!r}"
            )
        values[key] = str(value).lower() if isinstance(value, bool) else str(value)
    return DeclaredTopic(name=name, partitions=partitions, replication=replication, config=values)
