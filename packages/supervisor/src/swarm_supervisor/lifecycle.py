"""Prints the two tables of the supervisor: ``python -m swarm_supervisor.lifecycle``."""

from __future__ import annotations

from swarm_supervisor._core import protocol
from swarm_supervisor._core.lifecycle import TABLE, State, Trigger, printed

__all__ = ["TABLE", "State", "Trigger", "printed"]

if __name__ == "__main__":
    print(f"The life of a process: state, trigger -> next state, orders\n\n{printed()}\n")  # noqa: T201
    print(f"A planned replacement: phase, cue -> next phase, tasks\n\n{protocol.printed()}")  # noqa: T201
