"""What a node knows from its fork on about its end: whether a successor would come soon. Pure.

A node that stops gracefully gives back what its id holds (a place in a group, a lock), unless a successor comes soon to
take it over: then giving it back costs more than it saves. The supervisor says which it is before each TERM that it
sends (`leaving`). For any other end, the node decides by this.
"""

from __future__ import annotations

import msgspec

from swarm_supervisor.settings import DO_NOT_RESTART

SOON_S = 1.0
"""A successor that starts within this time comes soon. Others need about as long to take over what was given back."""


class Prospect(msgspec.Struct, frozen=True, kw_only=True):
    """What follows an end that the supervisor did not order, as known at the fork. All times are in seconds."""

    restart: str = "always"
    stable_after: float = 60.0
    own_delays: tuple[float, float] = (0.0, 0.0)
    """The delay of the restart if the process ends on its own: before it is stable, and afterwards."""
    term_delays: tuple[float, float] = (0.0, 0.0)
    """The same if it gets a signal from outside."""
    recycle_after: float = 0.0
    """From this time on, a process that has asked for a fresh one gets it at once."""

    def ends_for_good(self, code: int, healthy_s: float | None, *, signalled: bool, recycles: bool) -> bool:
        """Whether no process takes over soon from one that ends with an exit code.

        ``healthy_s``: for how many seconds it has been healthy; None: never.
        """
        if code == DO_NOT_RESTART:
            return True
        if recycles and code == 0 and not signalled:
            earned = healthy_s is not None and healthy_s >= self.recycle_after
            return not earned and self.recycle_after > SOON_S
        if self.restart == "never" or (self.restart == "on-failure" and code == 0):
            return True
        stable = healthy_s is not None and healthy_s >= self.stable_after
        return (self.term_delays if signalled else self.own_delays)[stable] > SOON_S
