"""Questions to a cluster, and with which properties its clients ask."""

from swarm_consumer._connection.client_properties import ClientProperties
from swarm_consumer.admin.cluster_check import ClusterReport, check_cluster

__all__ = ["ClientProperties", "ClusterReport", "check_cluster"]
