"""A connection's member of its group: noted for a successor, which removes it from the group if this process dies.

Three rules keep that sound. A member is named by the id that the broker gave it, with the instance id beside it, never
by the instance id alone: then nothing happens to a successor that has come back under it. Only members of processes
that are known to have ended are named. The wait for it is `EVICT_S` at most: without an answer the session ends.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence

import confluent_kafka

from swarm_consumer._reporting.bus import Bus
from swarm_consumer._scheduling.remembrance import Evict, Member, Remembrance
from swarm_consumer.routing.routes import SubscriptionGroup

EVICT_S = 1.0
"""The longest that a start, or a stop, waits for members to be removed."""


class Membership:
    """The member that one connection is, and those that its predecessors were. For the owner thread.

    instance_id: of a static member.
    departed: members of this subscription group whose processes have ended.
    """

    def __init__(
        self,
        group: SubscriptionGroup,
        instance_id: str | None,
        bus: Bus,
        *,
        memory: Remembrance | None = None,
        evict: Evict | None = None,
        departed: Sequence[Member] = (),
    ) -> None:
        self._group = group.name
        self._instance_id = self._usual_id = instance_id
        self._consumer_protocol = group.protocol == "consumer"
        self._bus = bus
        self._memory = memory
        self._evict = evict
        self._departed = departed
        self._had_own_id: list[Member] = []
        self._member_id = ""

    def evict_departed(self) -> None:
        """Remove the members that are dead, once, before there is a client: a group is at its quietest then.

        Under the classic protocol a static member with our own id stays: we come back under it, without a rebalance.
        """
        departed, self._departed = self._departed, ()
        kept = None if self._consumer_protocol else self._instance_id
        removed = [member for member in departed if member.member_id and (kept is None or member.instance_id != kept)]
        self._had_own_id = [member for member in removed if member.instance_id == self._usual_id]
        if removed:
            self._remove(removed, EVICT_S)

    def evict_again(self) -> None:
        """Remove what has our own id, which the broker refused to us: it had no time for that before."""
        if self._usual_id and self._had_own_id:
            self._remove(self._had_own_id, EVICT_S)

    def note(self, client: confluent_kafka.Consumer) -> None:
        """Note the member id, which is known once the group has answered."""
        if self._memory is None and self._evict is None:
            return  # what asks the client for nothing costs nothing
        member_id = client.memberid()
        if member_id and member_id != self._member_id:
            self._member_id = member_id
            self._remember(member_id)

    @property
    def is_kept_by_close(self) -> bool:
        """Whether the client's close() keeps it in the group, unless it leaves by a request of its own before."""
        return bool(self._instance_id) and not self._consumer_protocol

    @property
    def has_no_successor(self) -> bool:
        """Whether it is a static member under an id that it took for itself, under which no process comes back."""
        return bool(self._instance_id) and self._instance_id != self._usual_id

    @property
    def is_unknown(self) -> bool:
        """Whether the member id is still to be noted."""
        return not self._member_id and (self._memory is not None or self._evict is not None)

    def begin_anew(self, instance_id: str | None) -> None:
        """Expect another member id: the client is a new one."""
        self._member_id, self._instance_id = "", instance_id

    def ended(self, *, leaving: bool, sure: bool = True, deadline: float) -> None:
        """Take note of the client's close().

        sure: the broker has taken the request to leave, as far as one can tell. A coordinator that had just been
        started has forgotten such requests, and then kept the members for ever: no session ended them any more (seen
        with Kafka 4.1.1 after a SIGKILL under load). So where a node ends by a fault, its dynamic members stay noted:
        the successor removes them like those of a dead process, which does nothing to those that have left.

        It leaves the group, except for a static member: one of the classic protocol has left before, if it was to. One
        of group.protocol=consumer says "I come back" in any case (epoch -2), so that its partitions wait for its
        session: if it is to leave for good, it is removed like a dead one. If not, the broker lets its successor in at
        once, with the same partitions: to remove it first would be a rebalance.
        """
        comes_back = self._consumer_protocol and self._instance_id == self._usual_id
        if leaving or comes_back if self._instance_id else sure:
            self._remember("")
        if self._instance_id and leaving and self._consumer_protocol and self._member_id:
            within_s = min(EVICT_S, deadline - time.monotonic())
            if within_s > 0:
                self._remove([Member(self._group, self._member_id, self._instance_id)], within_s)

    def _remember(self, member_id: str) -> None:
        if self._memory is not None:
            member = Member(self._group, member_id, self._instance_id)
            self._bus.call("noting the member id", functools.partial(self._memory.joined, member))

    def _remove(self, members: list[Member], within_s: float) -> None:
        if self._evict is not None:
            call = functools.partial(self._evict, self._group, members, within_s=within_s)
            self._bus.call("removing members from the group", call)
