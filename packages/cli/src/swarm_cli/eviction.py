"""The removal of nodes that died from their consumer groups: where it is needed, whether it is possible, who does it.

A successor removes its predecessor's member before it joins (`swarm_consumer.eviction`). It is on wherever it is needed
and the extra is installed; there is no setting for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarm_cli.membership import protocols
from swarm_cli.settings import Settings

if TYPE_CHECKING:
    from swarm_consumer import App, Selection
    from swarm_consumer.eviction import Access, Evictor
    from swarm_consumer.routing import SubscriptionGroup

EXTRA = "swarm-cli[evict]"
NOT_NEEDED = "not needed: a static member comes back under its id"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How the nodes of a swarm are members of their groups."""

    static: frozenset[str] = frozenset()
    """The group protocols for which the swarm itself gives its nodes static ids."""
    remembered: bool = True
    """Whether nodes leave their member ids behind for a successor."""

    @classmethod
    def of(cls, settings: Settings) -> Terms:
        """The terms of a swarm with these settings."""
        return cls(static=protocols(settings), remembered=settings.progress_memory != "off")

    def are_static(self, group: SubscriptionGroup) -> bool:
        """Whether the members of a group are static ones."""
        return "group.instance.id" in group.properties or group.protocol in self.static


def states(app: App, groups: Iterable[SubscriptionGroup], terms: Terms) -> Mapping[str, str]:
    """Say of each subscription group, in words, whether members that died are removed from it."""
    return {group.name: _state(app, group, terms) for group in groups}


def remarks(app: App, groups: Iterable[SubscriptionGroup], terms: Terms) -> Iterator[tuple[int, str]]:
    """One sentence, with its level, for each group in which a node that is gone is waited for."""
    for group in groups:
        reason = _obstacle(app, group)
        if not reason:
            continue
        if terms.are_static(group):
            if group.protocol == "consumer":
                yield (
                    logging.WARNING,
                    f"a node that is scaled away keeps its partitions of {group.name} until its session ends, because "
                    "under group.protocol=consumer librdkafka cannot take a static member out of its group, and "
                    f"{reason}",
                )
        elif terms.remembered:
            yield (
                logging.INFO,
                f"a node that is killed keeps its partitions of {group.name} until its session ends, because its "
                f"successor cannot take it out of the group: {reason}",
            )


def evictor(app: App, selection: Selection, node_id: int) -> Evictor | None:
    """Return what removes members from the groups of a node; None if there is nothing to remove them with."""
    from swarm_consumer.eviction import Evictor, missing

    if missing():
        return None
    reach = {group.name: _access(app, group, node_id) for group in selection.apply(app.subscription_groups())}
    found = {name: access for name, access in reach.items() if not isinstance(access, str)}
    return Evictor(found) if found else None


def is_due_at_a_stop(app: App, groups: Iterable[SubscriptionGroup], terms: Terms) -> bool:
    """Whether a node removes its own member when it is scaled away, while its time to stop runs.

    Then the library is loaded before the fork. A successor, which starts, loads it only if there is a member to remove:
    most nodes never need its 10 MB.
    """
    return any(
        terms.are_static(group) and group.protocol == "consumer" and not _obstacle(app, group) for group in groups
    )


def preload() -> None:
    """Import the library before the first fork. An error of the import is told by the node that needs it."""
    from swarm_consumer.eviction import preload as load

    try:
        load()
    except Exception as error:  # noqa: BLE001  the library's own
        logging.getLogger("swarm_cli").warning("kafka-python cannot be imported: %s", error)


def _state(app: App, group: SubscriptionGroup, terms: Terms) -> str:
    is_static = terms.are_static(group)
    if is_static and group.protocol == "classic":
        return NOT_NEEDED
    if reason := _obstacle(app, group):
        return f"off: {reason}"
    if terms.remembered:
        return "on: a successor removes the member of a node that died"
    if is_static:
        return "on, but only for nodes that are scaled away: without progress memory no successor knows the member"
    return "off: without progress memory no successor knows the member of a node that died"


def _obstacle(app: App, group: SubscriptionGroup) -> str:
    """Why no member can be removed from the group; "" if it is possible."""
    from swarm_consumer.eviction import missing

    if reason := missing(EXTRA):
        return reason
    access = _access(app, group, None)
    return access if isinstance(access, str) else ""


def _access(app: App, group: SubscriptionGroup, node_id: int | None) -> Access | str:
    """How to reach the group's coordinator, or why that is not possible."""
    from swarm_consumer.admin import ClientProperties
    from swarm_consumer.eviction import Unmapped, access

    try:
        return access(ClientProperties(group, app.client_id, node_id))
    except Unmapped as error:
        return str(error)
