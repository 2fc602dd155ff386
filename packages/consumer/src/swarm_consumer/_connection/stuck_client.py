"""Detects from statistics a client that is stuck for good; then the node must restart. Pure."""

from __future__ import annotations

from swarm_consumer._connection.broker_loss import BrokerWatch
from swarm_consumer._connection.client_statistics import ClientStatistics

LET_GO_S = 15.0
"""A client that has not released its partitions after this many seconds never will: it only waits for brokers."""
LETTING_GO = frozenset(("wait-unassign-to-complete", "wait-incr-unassign-to-complete"))


class StuckClientWatch:
    """Watches the statistics of one client; a stuck client stays stuck."""

    def __init__(self) -> None:
        self.stuck = False
        self._brokers = BrokerWatch()

    def look(self, statistics: ClientStatistics, now: float) -> str | None:
        """Return why the client is stuck, once; None otherwise."""
        reason = None if self.stuck else self._letting_go(statistics, now) or self._without_brokers(statistics, now)
        self.stuck = self.stuck or reason is not None
        return reason

    @staticmethod
    def _letting_go(statistics: ClientStatistics, now: float) -> str | None:
        """Return whether the client waits for ever in a rebalance.

        Seen with librdkafka 2.16: while all brokers of a cluster are fenced, metadata names none. The client drops
        those it knows, their threads do not end while something refers to them, it does not look for others before they
        have ended, and the rebalance waits for commits that were sent to them. Its issue 5301 is of the same kind.
        """
        state, since = statistics.join_state, statistics.join_state_since
        if state not in LETTING_GO or since is None or now - since < LET_GO_S:
            return None
        return f"the client has not released its partitions for {now - since:.0f} s (join state {state})"

    def _without_brokers(self, statistics: ClientStatistics, now: float) -> str | None:
        if statistics.group_state is None:
            return None
        return self._brokers.judge(statistics.group_state, statistics.brokers, now)
