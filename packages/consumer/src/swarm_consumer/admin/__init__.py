"""Administration: questions to a cluster and changes of it. Topics, committed offsets, lag, the check before a run.

Its clients have threads: use it in a process of its own or after the fork. Names are imported on first use, since the
check alone needs no admin client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm_consumer.admin.cluster import Cluster as Cluster
    from swarm_consumer.admin.cluster_check import ClusterReport as ClusterReport
    from swarm_consumer.admin.cluster_check import check_cluster as check_cluster
    from swarm_consumer.admin.group_offsets import GroupOffsets as GroupOffsets
    from swarm_consumer.admin.lag import GroupLag as GroupLag
    from swarm_consumer.admin.lag import group_lags as group_lags
    from swarm_consumer.admin.positions import Move as Move
    from swarm_consumer.admin.positions import PartitionOffsets as PartitionOffsets
    from swarm_consumer.admin.positions import Position as Position
    from swarm_consumer.admin.subscriptions import initial_offset as initial_offset
    from swarm_consumer.admin.subscriptions import partitions_of as partitions_of
    from swarm_consumer.admin.topic_plan import AddPartitions as AddPartitions
    from swarm_consumer.admin.topic_plan import ConfigureTopic as ConfigureTopic
    from swarm_consumer.admin.topic_plan import CreateTopic as CreateTopic
    from swarm_consumer.admin.topic_plan import DeleteTopic as DeleteTopic
    from swarm_consumer.admin.topic_plan import TopicChange as TopicChange
    from swarm_consumer.admin.topic_plan import TopicPlan as TopicPlan
    from swarm_consumer.admin.topic_plan import TopicState as TopicState
    from swarm_consumer.admin.topic_plan import plan_deletions as plan_deletions
    from swarm_consumer.admin.topic_plan import plan_topics as plan_topics
    from swarm_consumer.errors import AdminError as AdminError
    from swarm_consumer.routing.client_properties import ClientProperties as ClientProperties

_MODULES = {
    "AddPartitions": "admin.topic_plan",
    "AdminError": "errors",
    "ClientProperties": "routing.client_properties",
    "Cluster": "admin.cluster",
    "ClusterReport": "admin.cluster_check",
    "ConfigureTopic": "admin.topic_plan",
    "CreateTopic": "admin.topic_plan",
    "DeleteTopic": "admin.topic_plan",
    "GroupLag": "admin.lag",
    "GroupOffsets": "admin.group_offsets",
    "Move": "admin.positions",
    "PartitionOffsets": "admin.positions",
    "Position": "admin.positions",
    "TopicChange": "admin.topic_plan",
    "TopicPlan": "admin.topic_plan",
    "TopicState": "admin.topic_plan",
    "check_cluster": "admin.cluster_check",
    "group_lags": "admin.lag",
    "initial_offset": "admin.subscriptions",
    "partitions_of": "admin.subscriptions",
    "plan_deletions": "admin.topic_plan",
    "plan_topics": "admin.topic_plan",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"swarm_consumer.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_MODULES)
