"""The end of a connection: runs are finished, progress is committed, the client is closed. On the owner thread."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import confluent_kafka

from swarm_consumer._connection import commits
from swarm_consumer._connection.intake import BUSY_POLL_S, Intake
from swarm_consumer._connection.rebalances import Rebalances
from swarm_consumer.events import DrainOverrun

if TYPE_CHECKING:
    from swarm_consumer._connection.connection import Connection

FATAL_DRAIN_S = 5.0
"""Time for running handlers after the client has died."""
LAST_ANSWER_S = 1.0
"""How long a stop waits for the answer to a commit in flight."""
JOIN_S = 1.0
"""How long a static member that leaves for good waits until it has joined, which takes a tenth of that."""
LEAVE_S = 2.0
"""How long a member that leaves for good waits for its partitions to be revoked."""
LEFT_S = 2.0
"""How long a static one waits after that, until its request to leave is on its way: as a rule, milliseconds."""
ORDER_S = 1.0
"""How long a connection that ends by its own fault waits for the runtime to say whether to leave."""

_abandoned: list[confluent_kafka.Consumer] = []
"""Stuck clients. Their close() and destructor never return, so they are kept until the process ends."""


class Ending:
    """Ends one connection: `drain`, then `close`."""

    def __init__(self, connection: Connection, intake: Intake, rebalances: Rebalances) -> None:
        self._connection = connection
        self._intake = intake
        self._rebalances = rebalances
        self.can_leave = True
        """False once the client has had a fatal error: the group hears nothing more from it."""
        self.static_in_vain = False
        """The broker knows no static members, and yet the client's close() would not leave the group."""

    def drain(
        self, client: confluent_kafka.Consumer | None, housekeep: Callable[[confluent_kafka.Consumer], None]
    ) -> None:
        """Finish running work, run the shutdown hooks, commit; polls continue, which keeps the membership.

        Without a client, which was closed to be recreated, only handlers that outlived it are awaited.
        """
        connection = self._connection
        if connection.fatal is not None:
            with connection._lock:
                connection.partitions.frozen = True
                if not connection.stopping:
                    connection.end_by(time.monotonic() + FATAL_DRAIN_S)
        begun = time.monotonic()
        deadline = connection.work_deadline
        while time.monotonic() < deadline:
            with connection._lock:
                if not connection.partitions.at_work:
                    break
            connection.last_poll = time.monotonic()
            if connection.fatal is None and client is not None:
                self._intake.pause_all(client)
                self._intake.poll(client, BUSY_POLL_S)
                housekeep(client)
            else:
                with connection._lock:
                    soon = min(deadline, time.monotonic() + 0.1)
                    self._rebalances.wait_while(client, lambda: connection.partitions.at_work, soon)
        if client is not None:
            self._rebalances.hooks(client, list(connection.partitions.by_key.values()), "shutdown", deadline)
            self.commit_the_rest(client, min(deadline, time.monotonic() + LAST_ANSWER_S))
        with connection._lock:
            unfinished = connection.partitions.running()
        if unfinished:
            connection.overrun = True
            run = unfinished[0]
            connection.bus.emit(
                DrainOverrun(
                    subscription_group=connection.subscription_group,
                    reason=f"{run.topic}[{run.partition}] offsets {run.first_offset} to {run.last_offset}: "
                    f"{run.action} did not return within {time.monotonic() - begun:.1f} s",
                )
            )

    def commit_the_rest(self, client: confluent_kafka.Consumer, until: float) -> None:
        """Commit what is done while answers can be polled and refusals tried again: in close() neither is possible."""
        connection, again = self._connection, 0.0
        commits.collect(connection)
        while connection.fatal is None and (now := time.monotonic()) < until:
            with connection._lock:
                under_way = connection.turns.is_under_way()
                left = connection.turns.wanted(list(connection.partitions.by_key))
                if left and not under_way and now >= again:
                    connection.turns.at_once(left, now)
                    again = now + commits.RETRY_S
            if not left and not under_way:
                break
            commits.commit_due(connection, client)
            self._intake.poll(client, BUSY_POLL_S)

    def close(self, client: confluent_kafka.Consumer, *, stuck: bool) -> None:
        """Commit what is left, leave the group if that was ordered, and close the client; leave a stuck one behind."""
        connection = self._connection
        self._rebalances.closing = True
        try:
            if stuck:
                _abandoned.append(client)
                return
            # Each is contained alone: a client that is not closed keeps its threads, and its partitions for a session.
            where = f"closing the client of {connection.subscription_group}"
            leaving = bool(connection.bus.call(where, functools.partial(self._hand_back, client)))
            connection.bus.call(where, functools.partial(self._close, client, leaving=leaving))
        finally:
            with connection._lock:
                for key in list(connection.partitions.by_key):
                    connection.partitions.close(key)
                    connection.partitions.ledger.release(key)
            if connection.kept is not None:
                connection.kept.tell()  # there is no turn after this one

    def _hand_back(self, client: confluent_kafka.Consumer) -> bool:
        """Commit what is left, and leave the group if that was ordered; return whether it was."""
        connection = self._connection
        # Before the order to leave: librdkafka may leave the group first and call back for the revocation then.
        with connection._lock:
            last = commits.take_last(connection, list(connection.partitions.by_key))
        commits.send(connection, client, last)
        leaving = self.leaves()
        if leaving:
            self.leave(client)
        return leaving

    def _close(self, client: confluent_kafka.Consumer, *, leaving: bool) -> None:
        client.close()  # errors of our callbacks are raised here, too
        self.tell_membership(leaving=leaving)

    def tell_membership(self, *, leaving: bool) -> None:
        """Note that the client was closed by the order of a stop, which may have been to leave its group."""
        if self.can_leave:
            connection = self._connection
            connection.membership.ended(leaving=leaving, sure=not connection.failed, deadline=connection.deadline)

    def leave(self, client: confluent_kafka.Consumer) -> None:
        """Leave the group, before the deadline of a stop if there is one: close() alone would keep a static member."""
        connection = self._connection
        if connection.membership.is_kept_by_close and not self._rebalances.assigned_once:
            # Who has not joined could not leave, and what its predecessor had would wait for the session.
            self._poll_while(client, lambda: not client.memberid(), JOIN_S)
        client.unsubscribe()
        self._poll_while(client, lambda: connection.partitions.by_key, LEAVE_S)
        if connection.membership.is_kept_by_close:
            # The request to leave is sent by librdkafka's own thread once it knows that the partitions are given back.
            # It strikes the member id out with it. A close() that comes before it keeps the member in the group.
            self._poll_while(client, client.memberid, LEFT_S)

    def _poll_while(self, client: confluent_kafka.Consumer, condition: Callable[[], object], longest_s: float) -> None:
        connection, until = self._connection, time.monotonic() + longest_s
        while condition() and (now := time.monotonic()) < until:
            if connection.stopping and now >= connection.deadline:
                return
            connection.last_poll = now
            client.poll(BUSY_POLL_S)

    def leaves(self) -> bool:
        """Whether to leave the group for good, as far as the client still can."""
        connection, until = self._connection, time.monotonic() + ORDER_S
        with connection._lock:
            # A connection that ends by its own fault is here before the runtime, which that has just woken.
            while self.can_leave and not connection.stopping and (remaining := until - time.monotonic()) > 0:
                connection._changed.wait(remaining)
        for_good = connection.leaving or self.static_in_vain or connection.membership.has_no_successor
        return self.can_leave and for_good
