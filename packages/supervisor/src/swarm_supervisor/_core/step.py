"""One step of the core: the fleet at a moment, and what is to be done about it. Pure."""

from swarm_supervisor._core.fleet import Fleet
from swarm_supervisor._core.messages import Action, Emit
from swarm_supervisor.events import Event


class Step:
    """What a decision needs, and where it leaves what follows from it. Made by `decisions.step` for one happening."""

    __slots__ = ("actions", "fleet", "now")

    def __init__(self, fleet: Fleet, now: float) -> None:
        """``now`` is in monotonic seconds; it stands still during the step."""
        self.fleet = fleet
        self.now = now
        self.actions: list[Action] = []
        """What the shell has to do, in order."""

    def emit(self, event: Event) -> None:
        """Have the listeners told."""
        self.actions.append(Emit(event))

    def order(self, action: Action) -> None:
        """Have the shell do something."""
        self.actions.append(action)
