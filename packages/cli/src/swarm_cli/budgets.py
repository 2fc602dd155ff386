"""Budgets that span two packages, checked before anything starts: the consumer's times against the supervisor's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from swarm_cli.errors import UsageError
from swarm_cli.settings import Settings

if TYPE_CHECKING:
    from swarm_consumer.routing import SubscriptionGroup

DRAIN_TIMEOUT_S: float = Settings.rows()["drain_timeout"].default
"""That of the consumer."""
REPORT_SHARE = 0.8
"""A wait for messages may take at most this share of node_report_timeout."""
REJOIN_S = 10.0
"""Time a static member needs, on top of the restart delay, to rejoin before its session ends."""


def check(
    drain_timeout: float, shutdown_timeout: float, node_report_timeout: float, groups: Sequence[SubscriptionGroup]
) -> None:
    """Refuse times that contradict each other. Raises UsageError naming both and the difference in seconds."""
    if drain_timeout >= shutdown_timeout:
        raise UsageError(
            f"drain_timeout ({drain_timeout:g} s) must be below shutdown_timeout ({shutdown_timeout:g} s), or a node "
            f"is killed while it still drains: it is {drain_timeout - shutdown_timeout:g} s too long or more."
        )
    bound = REPORT_SHARE * node_report_timeout
    for group in groups:
        for route in group.routes:
            if route.settings.max_wait >= bound:
                raise UsageError(
                    f"max_wait of topic {route.topic!r} ({route.settings.max_wait:g} s) must be below 80 % of "
                    f"node_report_timeout ({bound:g} s): it is {route.settings.max_wait - bound:g} s too long or more."
                )


def importing(took_s: float, boot_timeout: float) -> str:
    """Refuse an import that a node cannot finish within boot_timeout. Return a warning if it might not, else "".

    Raises UsageError with both times.
    """
    both = (
        f"the application took {took_s:.0f} s to import, each node imports it again under --no-preload, and has "
        f"boot_timeout ({boot_timeout:g} s) until its first report"
    )
    remedy = "raise --boot-timeout, or remove --no-preload to import it only once"
    if took_s >= boot_timeout:
        raise UsageError(f"{both}: {remedy}.")
    return (
        f"{both}, which may be too little when all nodes import at once: {remedy}" if took_s > boot_timeout / 2 else ""
    )


def static_membership(
    node_restart_delay: float, restart_delay_max: float, groups: Sequence[SubscriptionGroup]
) -> Iterator[str]:
    """Refuse a restart delay longer than a static member's session; yield a warning if only the longest delay is.

    A static member that is back within session.timeout.ms keeps its partitions, without a rebalance. Raises
    UsageError.
    """
    for group in groups:
        if "group.instance.id" not in group.properties:
            continue
        if group.protocol == "consumer":
            continue  # the broker sets the session timeout, and the client does not know it
        session = group.session_timeout_s
        if node_restart_delay + REJOIN_S >= session:
            raise UsageError(
                f"node_restart_delay ({node_restart_delay:g} s) plus {REJOIN_S:g} s to rejoin must be below "
                f"session.timeout.ms ({session:g} s) of {group.name}, which has static members: it is "
                f"{node_restart_delay + REJOIN_S - session:g} s too long or more."
            )
        if restart_delay_max + REJOIN_S >= session:
            yield (
                f"restart_delay_max ({restart_delay_max:g} s) plus {REJOIN_S:g} s to rejoin is longer than "
                f"session.timeout.ms ({session:g} s) of {group.name}: a node that keeps dying loses its partitions to "
                f"other nodes, in a rebalance. To avoid that, set --restart-delay-max below {session - REJOIN_S:g}, or "
                "a longer session with --kafka session.timeout.ms=MILLISECONDS"
            )
