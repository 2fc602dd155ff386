"""What /livez and /readyz say of a snapshot, for those who have one: `swarm_liveness.checks.ready(snapshot)`."""

from swarm_liveness._serving.checks import Check, live, process_live, ready, shown_state

__all__ = ["Check", "live", "process_live", "ready", "shown_state"]
