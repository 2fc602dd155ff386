"""What the deaths of nodes cost, each by itself: as the supervisors told them, held to the bound of a restart. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from benchmarks.chaos.faults import Injected
from benchmarks.chaos.ledger import NEVER, Silence
from benchmarks.chaos.schedule import KINDS
from swarm_supervisor.events import End, NodeExited

SUDDEN = frozenset({End.KILLED, End.ON_ITS_OWN, End.HUNG, End.OUT_OF_MEMORY})
"""Ends of a process that gave nothing up."""
DUE_S = 0.5
"""A silence may begin so much later than its death: it counts from the moment when there is a record to handle."""

Slowness = Callable[[float, float], float | None]


@dataclass(frozen=True, slots=True)
class Death:
    """A process of a node that ended without giving its partitions up."""

    at: float
    pid: int
    node: int
    end: End
    delay_s: float | None
    """Until its successor was to be started; None: the supervisor did not say, because it ended itself."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The longest silence that a death caused."""

    death: Death
    silence_s: float | None
    """From the death until the last partition was at work again; None: no silence was long enough to be noted."""
    bound_s: float | None
    """None: something else was going on at the time, or it is unknown how busy the machine was."""

    @property
    def wrong(self) -> bool:
        """Whether it took too long."""
        return self.silence_s is not None and self.bound_s is not None and self.silence_s > self.bound_s


def deaths_of(events: Iterable[dict[str, Any]]) -> list[Death]:
    """Find the deaths among what supervisors told."""
    told = list(events)
    found = []
    for number, event in enumerate(told):
        if event.get("event") != "NodeExited":
            continue
        exited = msgspec.convert(event, NodeExited)
        if exited.end not in SUDDEN or exited.pid is None:
            continue
        delay = next(
            (
                float(later["delay_s"])
                for later in told[number + 1 :]
                if later.get("event") == "NodeRestarting" and later["node_id"] == exited.node_id
            ),
            None,
        )
        found.append(Death(exited.at, exited.pid, exited.node_id, exited.end, delay))
    return found


def verdicts(
    deaths: Sequence[Death],
    silences: Sequence[Silence],
    faults: Sequence[Injected],
    *,
    join_s: float,
    slowness: Slowness,
) -> list[Verdict]:
    """Judge each death: restart delay and `join_s`, as much longer as the machine was slower.

    A death is judged where the only fault of its time is a sudden one. Further deaths begin the time again.
    """
    return [_verdict(death, deaths, silences, faults, join_s, slowness) for death in deaths]


def _verdict(
    death: Death,
    deaths: Sequence[Death],
    silences: Sequence[Silence],
    faults: Sequence[Injected],
    join_s: float,
    slowness: Slowness,
) -> Verdict:
    over = [silence for silence in silences if silence.span.start <= death.at + DUE_S and death.at < silence.span.end]
    end = max((silence.span.end for silence in over), default=death.at)
    silence_s = end - death.at if over else None
    around = [
        fault
        for fault in faults
        if fault.started <= end and death.at <= max(fault.recovered_at or NEVER, fault.healed_at)
    ]
    alone = len(around) == 1 and KINDS[around[0].kind].sudden and around[0].seen_at > 0
    if not alone or death.delay_s is None:
        return Verdict(death, silence_s, None)
    chain = [other for other in deaths if death.at <= other.at <= end and other.delay_s is not None]
    last = max(chain, key=lambda other: other.at + (other.delay_s or 0.0))
    slower = slowness(death.at, max(end, death.at + 0.5))
    if slower is None:
        return Verdict(death, silence_s, None)
    return Verdict(death, silence_s, last.at + (last.delay_s or 0.0) + join_s * slower - death.at)


def problems(judged: Iterable[Verdict]) -> list[str]:
    """Say which partition was silent for too long after a death."""
    return [
        f"node {one.death.node} (pid {one.death.pid}, {one.death.end}): a partition was at work {one.silence_s:.2f} s "
        f"after its death, the bound is {one.bound_s:.2f} s"
        for one in judged
        if one.wrong
    ]
