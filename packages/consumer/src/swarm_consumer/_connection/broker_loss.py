"""Whether a client has lost all its brokers for good. Pure.

librdkafka (2.14 to 2.16 seen) drops every broker it knows when a Metadata answer names none, as that of a cluster does
whose brokers are all fenced for a moment, and then begins again with the configured ones. A second such answer can
cancel that new beginning: the client stays without any broker, for ever (docs/upstream/librdkafka-rebootstrap.md).

In an outage the configured brokers stay listed, in whatever state: that is how the two are told apart. So an outage
never ends a node, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterable

NOT_UP_S = 20.0
"""A client whose group has had no coordinator for so long, and that knows no broker to ask, never finds one."""
UNEXPLAINED_S = 120.0
"""The coarser net: so long without a coordinator although some broker is connected."""
SETTLED_S = 8.0
"""How long the list of brokers must have been without one: a client that begins anew lists none for a moment."""

Broker = tuple[str, str]
"""Source and state of a broker, as librdkafka's statistics name them."""


class BrokerWatch:
    """What successive statistics of one client said about its group's coordinator and its brokers."""

    def __init__(self) -> None:
        self._down_since: float | None = None  # the group has no coordinator
        self._bare_since: float | None = None  # and no broker is listed that could name one
        self._was_up = False

    def judge(self, group_state: str, brokers: Iterable[Broker], now: float) -> str | None:
        """Take one more statistics document; return why the client is lost, None while it is not.

        A client that has never had a coordinator is not judged: it waits for a cluster that is not there yet.
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
                f"the client has had no group coordinator for {down_s:.0f} s and knows no broker any more to ask for "
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
