"""How far groups are behind: the end of each partition against what the group has committed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from swarm_consumer.admin.cluster import Cluster
from swarm_consumer.admin.positions import PartitionOffsets
from swarm_consumer.admin.subscriptions import initial_offset, partitions_of
from swarm_consumer.routing.routes import SubscriptionGroup


@dataclass(frozen=True)
class GroupLag:
    """The partitions that a consumer group reads; `starts` has the initial_offset of each topic."""

    group: str
    partitions: Sequence[PartitionOffsets]
    starts: Mapping[str, str]

    def of(self, partition: PartitionOffsets) -> int:
        """Return how many records the group has still to read; those that retention has deleted do not count."""
        committed = partition.committed
        if committed is None:
            committed = partition.end if self.starts.get(partition.topic) == "latest" else partition.start
        return max(0, partition.end - max(committed, partition.start))

    @property
    def total(self) -> int:
        """The sum over all partitions."""
        return sum(map(self.of, self.partitions))


def group_lags(
    groups: Sequence[SubscriptionGroup], connect: Callable[[SubscriptionGroup], Cluster] = Cluster.of_group
) -> list[GroupLag]:
    """Return the lag of every consumer group among `groups` (those of ``App.subscription_groups()``).

    connect: makes the cluster that a group is asked with; it is closed afterwards. Raises AdminError.
    """
    lags = []
    for name in sorted({group.consumer_group for group in groups}):
        members = [group for group in groups if group.consumer_group == name]
        with connect(members[0]) as cluster:
            partitions = cluster.group(name).offsets(partitions_of(cluster, members).get(name, []))
        topics = {one.topic for one in partitions}
        lags.append(GroupLag(name, partitions, {topic: initial_offset(members, name, topic) for topic in topics}))
    return lags
