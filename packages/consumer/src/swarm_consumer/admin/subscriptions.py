"""What the groups of an application read in a cluster, and from where they start."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from swarm_consumer.admin.cluster import Cluster
from swarm_consumer.errors import AdminError
from swarm_consumer.routing.routes import SubscriptionGroup


def partitions_of(cluster: Cluster, groups: Sequence[SubscriptionGroup]) -> dict[str, list[tuple[str, int]]]:
    """Return the (topic, partition) pairs that each consumer group reads, by its name; patterns are looked up.

    Raises AdminError, "no-topic" for a topic that the cluster does not have.
    """
    present = cluster.partitions()
    found: dict[str, set[tuple[str, int]]] = {}
    for group in groups:
        for route in group.routes:
            names = _topics(route.topic, present)
            if not names and not route.is_pattern:
                raise AdminError(
                    f"topic {route.topic!r} of group {group.consumer_group!r} does not exist at {cluster.servers}: "
                    "create it, or leave it out.",
                    "no-topic",
                )
            for name in names:
                found.setdefault(group.consumer_group, set()).update((name, number) for number in range(present[name]))
    return {group: sorted(partitions) for group, partitions in sorted(found.items())}


def initial_offset(groups: Sequence[SubscriptionGroup], group: str, topic: str) -> str:
    """Return where a group starts to read a topic of which it has committed nothing: earliest, latest or error."""
    for each in groups:
        if each.consumer_group == group and (route := each.route_of(topic)) is not None:
            return route.settings.initial_offset
    return "earliest"


def _topics(topic: str, present: Collection[str]) -> list[str]:
    if topic.startswith("^"):
        return [name for name in present if re.match(topic, name) and not name.startswith("__")]
    return [topic] if topic in present else []
