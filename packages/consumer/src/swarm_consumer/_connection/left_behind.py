"""Finds partitions that no member of the group has, because a static member died in the middle of a rebalance.

In the classic protocol a static member that comes back is given its last assignment, without a rebalance. Under
cooperative-sticky the last assignment may be the smaller one of a rebalance whose second half the predecessor did not
live to see: it had still to give partitions up, and with its death there is no member left that would ask for the
second half (seen with Kafka 4.1: no owner for as long as one watched). So a member that has just come looks for such
partitions, leaves its group and joins again, which is a rebalance.

It asks the coordinator, because the owner may be a node of another swarm, of which no note is kept here. It asks only
if notes leave a doubt: a partition whose last note is of a process that may live needs no question. And it joins again
once for each partition, whatever becomes of it: a partition that stays without an owner must not disturb all others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import confluent_kafka
from confluent_kafka import KafkaException

from swarm_consumer._connection.kept_progress import KeptProgress
from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.remembrance import Epitaph, Remembered
from swarm_consumer.events import format_partitions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from swarm_consumer.routing.routes import SubscriptionGroup

FIRST_S = 4.0
"""When to look first, in seconds after the client was made."""
OWN_S = 4.0
"""How long what an own predecessor had must then be without an owner."""
REJOIN_S = 8.0
"""How long others may take to join again, once their handlers have ended: meanwhile what they gave up has no owner."""
STAGGER_S = 1.0
"""How much later each next node takes it up: when a whole swarm was killed, one of them is enough."""
MOST_STAGGERED = 30
TRIES = 6
"""How often in a row to ask without an answer, with growing pauses."""
ASK_S = 2.0
"""Time limit of the question for the partitions of topics."""


def may_be_held(note: Remembered | None) -> bool:
    """Whether the process that wrote the last note of a partition may have it still."""
    return note is not None and not note.released and note.epitaph == Epitaph()


def was_own(note: Remembered | None, node_id: int | None) -> bool:
    """Whether an ended process of this node had the partition last."""
    return note is not None and not note.released and note.epitaph != Epitaph() and note.life[0] == node_id


class LeftBehind:
    """Looks a few times after a static member's client was made. For the owner thread.

    ask: returns the partitions that the members of the group have; None if that is not known now.
    revocation_s: how long a member may take to give partitions up.
    """

    def __init__(
        self,
        group: SubscriptionGroup,
        kept: KeptProgress | None,
        node_id: int | None,
        ask: Callable[[], Collection[Key] | None],
        *,
        applies: bool,
        revocation_s: float,
    ) -> None:
        self._group = group
        self._kept = kept
        self._node_id = node_id
        self._ask = ask
        self._applies = applies
        self._others_s = revocation_s + REJOIN_S + STAGGER_S * min(node_id or 0, MOST_STAGGERED)
        self._next = math.inf
        self._failures = 0
        self._since: dict[Key, float] = {}
        """Since when each partition is known to have no owner."""
        self._tried: set[Key] = set()

    def begin(self, now: float) -> None:
        """Note that a client was made."""
        self._next = now + FIRST_S if self._applies else math.inf
        self._failures, self._since = 0, {}

    def look(self, client: confluent_kafka.Consumer, now: float, assigned: Callable[[], Collection[Key]]) -> list[Key]:
        """Look if it is time. Return the partitions for which to join again; `assigned` says what this node has."""
        if now < self._next:
            return []
        found = self._unowned(client, assigned())
        if found is None:
            self._failures += 1
            self._next = now + FIRST_S * 2**self._failures if self._failures < TRIES else math.inf
            return []
        self._failures, self._since = 0, {key: self._since.get(key, now) for key in found}
        ends = {key: self._since[key] + (OWN_S if own else self._others_s) for key, own in found.items()}
        over = sorted(key for key, end in ends.items() if end <= now)
        self._next = min(ends.values(), default=math.inf)
        self._tried.update(over)
        return over

    def _unowned(self, client: confluent_kafka.Consumer, assigned: Collection[Key]) -> dict[Key, bool] | None:
        """Return partitions that no member has, and whether a predecessor of this node had them; None if unknown."""
        try:
            topics = client.list_topics(timeout=ASK_S).topics.values()
        except KafkaException:
            return None
        keys = [
            (topic.topic, number)
            for topic in topics
            if any(route.covers(topic.topic) for route in self._group.routes)
            for number in topic.partitions
        ]
        notes = self._kept.look(keys) if self._kept is not None else {}
        doubtful = [key for key in keys if key not in assigned and key not in self._tried]
        doubtful = [key for key in doubtful if not may_be_held(notes.get(key))]
        if not doubtful:
            return {}
        owned = self._ask()
        if owned is None:
            return None
        # Brokers match patterns in another way: a topic of which no member has anything may be none of theirs.
        known = {topic for topic, _ in (*owned, *assigned)} | {route.topic for route in self._group.routes}
        unowned = [key for key in doubtful if key not in owned and key[0] in known]
        return {key: was_own(notes.get(key), self._node_id) for key in unowned}


def joined_again(keys: list[Key]) -> str:
    """Return what is said when a member leaves and joins again for these partitions."""
    named = format_partitions(tuple(keys))
    return (
        f"no member of the group has {named}, because a static member died in the middle of a rebalance: this one "
        "leaves the group and joins again"
    )
