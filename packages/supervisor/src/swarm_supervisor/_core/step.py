"""One step of the core: the fleet at a moment, and the resulting actions. Pure."""

from __future__ import annotations

from swarm_supervisor._core.fleet import Fleet
from swarm_supervisor._core.messages import Action, Emit
from swarm_supervisor.events import Event


class Step:
    """The input of a decision and the place for its results. Made by `decisions.step` for one happening."""

    __slots__ = ("actions", "fleet", "now")

    def __init__(self, fleet: Fleet, now: float) -> None:
        """``now`` is in monotonic seconds and does not change during the step."""
        self.fleet = fleet
        self.now = now
        self.actions: list[Action] = []
        """The actions for the shell, in order."""

    def emit(self, event: Event) -> None:
        """Order the shell to notify the listeners."""
        self.actions.append(Emit(event))

    def order(self, action: Action) -> None:
        """Order an action from the shell."""
        self.actions.append(action)
