"""A snapshot as text: one line for the swarm, one for each node. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarm_cli.views.figures import Sum, count, duration, megabytes, plural, printable, summed
from swarm_cli.views.table import Column
from swarm_cli.views.work import lag_of

if TYPE_CHECKING:
    from swarm_supervisor import NodeSnapshot, Snapshot

COLUMNS = (
    Column("NODE", figures=True),
    Column("STATE"),
    Column("PID", figures=True),
    Column("UP", figures=True, rank=4),
    Column("BEAT", figures=True, rank=6),
    Column("RESTARTS", figures=True, rank=1),
    Column("MESSAGES", figures=True),
    Column("ERRORS", figures=True, rank=5),
    Column("LAG", figures=True),
    Column("IN FLIGHT", figures=True, rank=3),
    Column("USS MB", figures=True, rank=2),
    Column("REMARK"),
)


def headline(snapshot: Snapshot) -> str:
    """The swarm in one line."""
    parts = [
        f"{snapshot.name} (pid {snapshot.pid}): {snapshot.state}",
        f"{snapshot.running} of {plural(snapshot.wanted, 'node')} healthy",
        f"up {duration(snapshot.uptime_s)}",
        plural(snapshot.restarts, "restart"),
        f"{plural(snapshot.totals.messages, 'message')} handled",
    ]
    if snapshot.rolling_restart:
        parts.append("rolling restart in progress")
    return printable(", ".join(parts) + (f". {snapshot.reason}" if snapshot.reason else ""))


def row(node: NodeSnapshot, snapshot: Snapshot) -> tuple[str, ...]:
    """A node in the columns above. Messages and errors include those of its earlier processes."""
    numbers = node.statistics
    return (
        str(node.id),
        state(node),
        "-" if node.pid is None else str(node.pid),
        duration(node.uptime_s) if node.pid is not None else "-",
        duration(node.last_report_age_s),
        count(node.restarts),
        count(node.totals.messages),
        count(node.totals.errors),
        summed(lag(snapshot, node)),
        duration(numbers.in_flight_age_s if numbers else None),
        megabytes(numbers.uss_mb if numbers else None),
        remark(node),
    )


def state(node: NodeSnapshot) -> str:
    """The state of the process and, if it is "running", the runtime's own state where it differs."""
    phase = node.statistics.state if node.statistics is not None else ""
    return phase if node.state == "running" and phase else node.state


def lag(snapshot: Snapshot, node: NodeSnapshot) -> Sum:
    """The lag summed over all partitions of a node."""
    return lag_of(one for one in snapshot.partitions if one.node == node.id)


def remark(node: NodeSnapshot) -> str:
    """Why the node is not well, and how its previous process ended."""
    parts = []
    if node.status != 0 and not node.reason:
        parts.append(f"status {node.status}")
    if node.reason and (
        node.status != 0 or node.state != "running"
    ):  # otherwise it is the reason why this process was started
        parts.append(node.reason)
    if node.crash_loop:
        parts.append("crash loop")
    if node.restart_in_s is not None:
        parts.append(f"starts in {duration(node.restart_in_s)}")
    if node.spare_state:
        parts.append(f"its successor (pid {node.spare_pid or '-'}) is {node.spare_state}")
    if node.last_exit:
        parts.append(f"before: {node.last_exit}")
    return printable("; ".join(parts))


def style(node: NodeSnapshot) -> str:
    """The colour of a node's line; "" for a healthy node."""
    if node.crash_loop or node.status != 0:
        return "red"
    return "" if node.state == "running" else "yellow"
