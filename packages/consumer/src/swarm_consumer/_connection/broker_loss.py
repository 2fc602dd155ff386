"""Whether a client has lost all its brokers for good. Pure.

librdkafka (seen in 2.14 to 2.16) drops every broker it knows when a Metadata answer names none, as when all
brokers of a cluster are fenced for a moment, and then starts again with the configured ones. A second such answer can
cancel that new start: the client stays without any broker for ever (docs/upstream/librdkafka-rebootstrap.md).

In an outage the configured brokers stay listed in some state, which distinguishes the two cases. So an outage
never ends a node, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterable

NOT_UP_S = 20.0
"""A client without a group coordinator for this many seconds, and without a broker to ask, never finds one."""
UNEXPLAINED_S = 120.0
"""A coarser limit: seconds without a coordinator although some broker is connected."""
SETTLED_S = 8.0
"""How long the broker list must have been empty: a client that starts again lists none for a moment."""

Broker = tuple[str, str]
"""Source and state of a broker, as librdkafka's statistics name them."""


class BrokerWatch:
    """The history of a client's statistics about its group's coordinator and its brokers."""

    def __init__(self) -> None:
        self._down_since: float | None = None  # the group has no coordinator
        self._bare_since: float | None = None  # and no broker is listed that could name a coordinator
        self._was_up = False

    def judge(self, group_state: str, brokers: Iterable[Broker], now: float) -> str | None:
        """Take the next statistics document; return why the client is lost, or None if it is not.

        A client that has never had a coordinator is not judged: it waits for a cluster to appear.
        """
        if group_state == "up":
            self._was_up = True
            self._down_since = self._bare_since = None
            return None
        if not self._was_up:
            return None
        brokers = tuple(brokers)
        if self._down_since is None:
            self._down_since = now
        if any(map(_can_be_asked, brokers)):
            self._bare_since = None
        elif self._bare_since is None:
            self._bare_since = now
        down_s = now - self._down_since
        if self._bare_since is not None and down_s >= NOT_UP_S and now - self._bare_since >= SETTLED_S:
            return (
                f"the client has had no group coordinator for {down_s:.0f} s and no longer knows a broker to ask for "
                f"one (group state {group_state})"
            )
        if down_s >= UNEXPLAINED_S and any(source != "logical" and state == "UP" for source, state in brokers):
            return (
                f"the client has found no group coordinator for {down_s:.0f} s although a broker is connected (group "
                f"state {group_state})"
            )
        return None


def _can_be_asked(broker: Broker) -> bool:
    """Whether a broker is one that the client connects to: a configured one, or a learned one that is not dead."""
    source, state = broker
    return source == "configured" or (source == "learned" and state != "INIT")
