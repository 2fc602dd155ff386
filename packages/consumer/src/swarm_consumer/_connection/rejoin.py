"""Detects a client that lost its partitions and will never get any again. Pure.

Seen with librdkafka 2.16 and group.protocol=consumer after a crash of the broker: the client reports its partitions
lost, keeps sending heartbeats, so that the broker counts it as a member and gives its partitions to no one else, and
never takes up its assignment: join state "init" for ever, with a coordinator that answers. Nothing in its statistics
distinguishes it from a member without a partition, so the remedy is cheap for such a member: its client
is recreated, once for each loss.
"""

from __future__ import annotations

REJOIN_S = 20.0
"""How long after a loss a client with a coordinator may be outside of its group."""


class RejoinWatch:
    """The history of a client since it lost its partitions."""

    def __init__(self) -> None:
        self._lost_at: float | None = None
        self._idle_since: float | None = None

    def lost(self, now: float) -> None:
        """Note that partitions were lost."""
        self._lost_at, self._idle_since = now, None

    def settled(self) -> None:
        """Note that partitions were assigned, or that the client was recreated."""
        self._lost_at = self._idle_since = None

    def look(self, group_state: str | None, join_state: str | None, now: float) -> str | None:
        """Take a statistics document; return why the client should be recreated, once per loss."""
        if self._lost_at is None:
            return None
        if group_state != "up" or join_state != "init":
            self._idle_since = None
            return None
        if self._idle_since is None:
            self._idle_since = now
        if now - self._idle_since < REJOIN_S:
            return None
        since = now - self._lost_at
        self.settled()
        return (
            f"the client lost its partitions {since:.0f} s ago and has not rejoined its group, although the "
            "coordinator answers: it is recreated"
        )
