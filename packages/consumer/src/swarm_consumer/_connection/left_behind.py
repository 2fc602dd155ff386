"""Finds partitions that a node's predecessor had, and that neither came back nor went to another owner.

In the classic protocol a static member that comes back is given its last assignment, without a rebalance. Under
cooperative-sticky the last assignment may be the smaller one of a rebalance whose second half the predecessor did not
live to see: it had still to give partitions up, and with its death there is no member left that would ask for the
second half (seen with Kafka 4.1: no owner for as long as one watched). The predecessor's notes name these partitions.
If they stay unclaimed, this member leaves its group and joins again, which is a rebalance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import confluent_kafka
from confluent_kafka import KafkaException

from swarm_consumer._connection.kept_progress import KeptProgress
from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.remembrance import Remembered, Verdict
from swarm_consumer.events import format_partitions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from swarm_consumer.routing.routes import SubscriptionGroup

LOOKS_S = (4.0, 8.0)
"""When to look, in seconds after the client was made: others may still claim what is unclaimed at the first look."""
ASK_S = 2.0
"""Time limit of the question for the partitions of topics."""


def unclaimed(notes: Mapping[Key, Remembered], node_id: int, assigned: Collection[Key]) -> dict[Key, str]:
    """Return the partitions that an ended process of this node had last, with the tokens of its claims."""
    return {
        key: note.token
        for key, note in notes.items()
        if note.life[0] == node_id
        and not note.released
        and note.epitaph.verdict is not Verdict.UNKNOWN
        and key not in assigned
    }


class LeftBehind:
    """Looks twice after a static member's client was made. For the owner thread."""

    def __init__(
        self, group: SubscriptionGroup, kept: KeptProgress | None, node_id: int | None, *, static: bool
    ) -> None:
        self._group = group
        self._kept = kept
        self._node_id = node_id
        self._static = static and kept is not None and node_id is not None and group.protocol == "classic"
        self._looks: list[float] = []
        self._suspected: dict[Key, str] = {}

    def begin(self, now: float) -> None:
        """Note that a client was made."""
        self._looks = [now + after for after in LOOKS_S] if self._static else []
        self._suspected = {}

    def look(self, client: confluent_kafka.Consumer, now: float, assigned: Callable[[], Collection[Key]]) -> list[Key]:
        """Look if it is time. Return the partitions for which to join again; `assigned` says what this node has."""
        if not self._looks or now < self._looks[0]:
            return []
        self._looks.pop(0)
        found = self._find(client, assigned())
        if self._looks:
            self._suspected = found
            if not found:
                self._looks = []  # all that the predecessor had is claimed
            return []
        return sorted(key for key, token in found.items() if self._suspected.get(key) == token)

    def _find(self, client: confluent_kafka.Consumer, assigned: Collection[Key]) -> dict[Key, str]:
        assert self._kept is not None
        assert self._node_id is not None
        try:
            topics = client.list_topics(timeout=ASK_S).topics.values()
        except KafkaException:
            return {}
        keys = [
            (topic.topic, number)
            for topic in topics
            if self._group.route_of(topic.topic) is not None
            for number in topic.partitions
        ]
        return unclaimed(self._kept.look(keys), self._node_id, assigned)


def joined_again(keys: list[Key]) -> str:
    """Return what is said when a member leaves and joins again for these partitions."""
    named = format_partitions(tuple(keys))
    return (
        f"{named} of this node's predecessor came back to no node, because it died in the middle of a rebalance: "
        "this member leaves its group and joins again"
    )
