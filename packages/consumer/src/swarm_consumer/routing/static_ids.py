"""Static member ids: whether a client gets one, and which. Pure.

A static member that is back before its session ends has its partitions back, without a rebalance. An application asks
for it with a ``group.instance.id`` of its own; a host of several of its processes can give it one (`StaticIds`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from swarm_consumer.routing.routes import SubscriptionGroup, instance_id

LONGEST_ID = 244
"""The most characters of a static id: brokers take 249, and five may be appended (`change_static_id`)."""
_REFUSED = re.compile(r"[^a-zA-Z0-9._-]")
"""What brokers refuse in a static id."""


@dataclass(frozen=True, slots=True)
class StaticIds:
    """Static ids for the clients of one process, except where the application has its own ``group.instance.id``."""

    prefix: str
    """No other swarm may use it at the same time."""
    protocols: frozenset[str] = frozenset({"classic"})
    """The group protocols that it is for."""
    where: str = "StaticIds"
    """Where it was set, for error messages."""

    def covers(self, group: SubscriptionGroup) -> bool:
        """Whether the clients of a group get an id of these."""
        return "group.instance.id" not in group.properties and group.protocol in self.protocols

    def of(self, group: SubscriptionGroup, node_id: int | None) -> str:
        """Return the id of a group's client in one node, made of what brokers take."""
        return fitting(instance_id(self.prefix, node_id, group.name), LONGEST_ID)


def fitting(text: str, longest: int) -> str:
    """Return the text as a part of a static id: where something is replaced or cut off, a digest keeps it unique."""
    cleaned = _REFUSED.sub("-", text)
    if cleaned == text and len(text) <= longest:
        return text
    return f"{cleaned[: longest - 9]}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
