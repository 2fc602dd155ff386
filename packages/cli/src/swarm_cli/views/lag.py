"""The lag of a group as JSON: the field names are part of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarm_consumer.admin import GroupLag


def as_data(lag: GroupLag) -> dict[str, Any]:
    """``{"group", "lag", "partitions": [{"topic", "partition", "committed", "start", "end", "lag"}]}``."""
    partitions = [
        {
            "topic": one.topic, "partition": one.partition, "committed": one.committed, "start": one.start,
            "end": one.end, "lag": lag.of(one),
        }
        for one in lag.partitions
    ]  # fmt: skip
    return {"group": lag.group, "lag": lag.total, "partitions": partitions}
