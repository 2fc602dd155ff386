"""How far groups are behind: the end of each partition against what the group has committed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swarm_cli.administration.positions import Partition
from swarm_cli.administration.scope import initial_offset, partitions_of

if TYPE_CHECKING:
    from swarm_cli.administration.cluster import Cluster
    from swarm_consumer.routing import SubscriptionGroup


@dataclass(frozen=True)
class GroupLag:
    """The partitions that one consumer group reads, and from where it starts those it has committed nothing of."""

    group: str
    partitions: Sequence[Partition]
    starts: Mapping[str, str]

    def of(self, partition: Partition) -> int:
        """Records that the group has still to read; those that retention has deleted do not count."""
        committed = partition.committed
        if committed is None:
            committed = partition.end if self.starts.get(partition.topic) == "latest" else partition.start
        return max(0, partition.end - max(committed, partition.start))

    @property
    def total(self) -> int:
        """The sum over all partitions."""
        return sum(map(self.of, self.partitions))

    def as_data(self) -> dict[str, Any]:
        """The field names are part of the contract."""
        partitions = [
            {
                "topic": one.topic, "partition": one.partition, "committed": one.committed, "start": one.start,
                "end": one.end, "lag": self.of(one),
            }
            for one in self.partitions
        ]  # fmt: skip
        return {"group": self.group, "lag": self.total, "partitions": partitions}


def group_lags(
    groups: "Sequence[SubscriptionGroup]", connect: "Callable[[SubscriptionGroup], Cluster]"
) -> list[GroupLag]:
    """The lag of every consumer group among `groups`. Raises CommandError."""
    lags = []
    for name in sorted({group.group for group in groups}):
        members = [group for group in groups if group.group == name]
        with connect(members[0]) as cluster:
            partitions = cluster.positions(partitions_of(cluster, members).get(name, []))
        topics = {one.topic for one in partitions}
        lags.append(GroupLag(name, partitions, {topic: initial_offset(members, name, topic) for topic in topics}))
    return lags
