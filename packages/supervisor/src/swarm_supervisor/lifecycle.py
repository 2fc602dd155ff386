"""The life of a process as a table, to be printed: ``python -m swarm_supervisor.lifecycle``."""

from swarm_supervisor._core.lifecycle import TABLE, State, Trigger, printed

__all__ = ["TABLE", "State", "Trigger", "printed"]

if __name__ == "__main__":
    print(printed())  # noqa: T201
