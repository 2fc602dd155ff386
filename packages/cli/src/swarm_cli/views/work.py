"""The work and the lag of each group and topic: the same rows for `status` and `top`. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from swarm_cli.views.figures import Sum, count, duration, plural, printable, summed
from swarm_cli.views.table import Column

if TYPE_CHECKING:
    from swarm_health import PartitionAccount
    from swarm_supervisor import Snapshot

COLUMNS = (
    Column("GROUP"),
    Column("TOPIC"),
    Column("PARTITIONS", figures=True, rank=4),
    Column("LAG", figures=True),
    Column("OLDEST", figures=True, rank=1),
    Column("MESSAGES", figures=True, rank=2),
    Column("ERRORS", figures=True, rank=3),
    Column("REMARK"),
)
MOST_NAMED = 5


class Work(NamedTuple):
    """A topic of a group, over all nodes."""

    group: str
    topic: str
    partitions: int
    lag: Sum
    oldest_s: float | None
    """Age of the oldest waiting record."""
    messages: int
    errors: int
    unowned: int
    """Number of partitions without an owner."""
    remark: str
    """Partitions without an owner, and for how long."""


def work(snapshot: Snapshot) -> list[Work]:
    """All topics of all groups, sorted."""
    parts: dict[tuple[str, str], list[PartitionAccount]] = {}
    for one in snapshot.partitions:
        parts.setdefault((one.group, one.topic), []).append(one)
    counts = {(one.group, one.topic): (one.messages, one.errors) for one in snapshot.topics}
    rows = []
    for place in sorted(parts.keys() | counts.keys()):
        mine = parts.get(place, [])
        messages, errors = counts.get(place, (0, 0))
        ages = [one.lag_s for one in mine if one.lag_s is not None]
        unowned = sum(one.node is None for one in mine)
        oldest = max(ages, default=None)
        rows.append(Work(*place, len(mine), lag_of(mine), oldest, messages, errors, unowned, _unowned(mine)))
    return rows


def row(one: Work) -> tuple[str, ...]:
    """A topic in the columns above."""
    return (
        printable(one.group),
        printable(one.topic),
        count(one.partitions),
        summed(one.lag),
        duration(one.oldest_s),
        count(one.messages),
        count(one.errors),
        one.remark,
    )


def style(one: Work) -> str:
    """The colour of a topic's line; "" for a healthy one."""
    return "yellow" if one.remark else ""


def lag_of(partitions: Iterable[PartitionAccount]) -> Sum:
    """The lag of several partitions: the known part, and the number of partitions with unknown lag."""
    return Sum.of(one.lag for one in partitions)


def _unowned(partitions: list[PartitionAccount]) -> str:
    lost = [one for one in partitions if one.node is None]
    if not lost:
        return ""
    named = ", ".join(str(one.partition) for one in lost[:MOST_NAMED])
    more = f" and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
    since = max(one.unowned_s or 0.0 for one in lost)
    return f"{plural(len(lost), 'partition')} without owner for {duration(since)}: {named}{more}"
