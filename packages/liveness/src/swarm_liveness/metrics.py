"""Prometheus metrics of a whole swarm, for your own registry. Needs the extra swarm-liveness[metrics]."""

from __future__ import annotations

from swarm_liveness._integrations.swarm_events import SwarmEvents
from swarm_liveness._serving.metrics import SwarmCollector

__all__ = ["SwarmCollector", "SwarmEvents"]
