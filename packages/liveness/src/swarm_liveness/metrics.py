"""Prometheus metrics of a whole swarm, for a registry of your own. Needs the extra: swarm-liveness[metrics]."""

from swarm_liveness._integrations.swarm_events import SwarmEvents
from swarm_liveness._serving.metrics import SwarmCollector

__all__ = ["SwarmCollector", "SwarmEvents"]
