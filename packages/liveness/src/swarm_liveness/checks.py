"""The checks behind /livez and /readyz, for a snapshot that you already have: `checks.ready(snapshot)`."""

from __future__ import annotations

from swarm_liveness._serving.checks import Check, live, process_live, ready, shown_state

__all__ = ["Check", "live", "process_live", "ready", "shown_state"]
