"""The state behind all supervision decisions: nodes, their lives, operations in progress. Plain values, no process."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from swarm_health import Accounts, NodeStatistics, Status
from swarm_supervisor._core.deadlines import NEVER, Deadlines
from swarm_supervisor._core.lifecycle import TABLE, State, Transition, Trigger, durations
from swarm_supervisor._core.messages import Exited
from swarm_supervisor._core.repeats import Repeats
from swarm_supervisor._core.restart_policy import RestartHistory
from swarm_supervisor.settings import Settings

_EXACT_S = 1.0
"""Deadlines within this time are reported exactly. Later ones may be reported too early, but never too late."""


class Cause(Enum):
    """Why a life is being ended."""

    SILENT = "silent"
    UNHEALTHY = "unhealthy"
    MEMORY = "memory"
    SHUTDOWN = "shutdown"
    SCALED_DOWN = "scaled down"
    REPLACED = "replaced"
    RECYCLED = "recycled"
    """It asked for a fresh process, and there is no spare."""
    ABORTED = "aborted"
    """A spare that is not needed or not usable."""
    OPERATOR = "operator"
    """It got a signal from outside."""


UNPLANNED = frozenset({Cause.SILENT, Cause.UNHEALTHY, Cause.MEMORY})
_HUNG_SINCE: dict[int, Callable[[NodeStatistics], float | None]] = {
    Status.CONSUMING: lambda statistics: statistics.in_flight_age_s,
    Status.POLLING: lambda statistics: statistics.poll_age_s,
}
"""The age, in the statistics, of the thing that an unhealthy status is about."""


class Mode(Enum):
    """The state of the whole swarm."""

    RUNNING = "running"
    QUIET = "quiet"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Kind(Enum):
    """Why a node is replaced."""

    RESTART = "restart"
    MEMORY = "memory"
    RECYCLE = "recycle"
    """It asked for it with `node.recycle`."""


@dataclass(slots=True, eq=False)
class Life:
    """One process of a node, from before its fork until it is reaped."""

    node_id: int
    generation: int
    spare: bool = False
    state: State = State.BACKING_OFF
    deadline: float | None = None
    excused: bool = False
    """Its deadline was postponed because the supervisor was away; that is done once."""
    scheduled: float = NEVER
    pid: int | None = None
    forked_at: float = 0.0
    boot_at: float = 0.0
    healthy_at: float | None = None
    last_report_at: float | None = None
    well_at: float | None = None
    """Its last healthy report before it was told to stop."""
    status: int = 0
    status_reason: str = ""
    cause: Cause | None = None
    reason: str = ""
    """Why it is being ended or, before its fork, why it is started."""
    said: str = ""
    recycle: str = ""
    """Why it asks for a fresh process in its place; "" if it does not."""
    kills: int = 0
    told_to_leave: bool | None = None
    """Whether it was told that no successor comes soon; None: nothing yet."""
    told_of_removal: bool = False
    """It was told that its node is scaled away."""
    explained: str = ""
    """How a listener explained its end; "" if none did."""
    concluded: bool = False
    """It has ended, and what follows is decided."""
    statistics: NodeStatistics | None = None
    statistics_at: float = 0.0
    exit: Exited | None = None

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self.state is not State.DEAD and self.state is not State.BACKING_OFF

    @property
    def hangs(self) -> bool:
        """Whether it has reported that a part of it hangs."""
        return self.cause is Cause.UNHEALTHY and self.status in _HUNG_SINCE

    def uptime_s(self, now: float) -> float:
        """Seconds since the fork."""
        return now - self.forked_at if self.pid is not None else 0.0

    def stable(self, until: float, stable_after: float) -> bool:
        """Whether it was healthy for stable_after seconds up to a moment: now, or `well_until`."""
        return self.healthy_at is not None and until - self.healthy_at >= stable_after

    def well_until(self, now: float) -> float:
        """Until when it was healthy, as far as known: the time that it hung before it was blamed does not count."""
        if self.cause not in UNPLANNED or self.well_at is None:
            return now
        # A node reports healthy until its handler's TTL is over, so the time of the hung batch was not healthy.
        hung_since = _HUNG_SINCE.get(self.status)
        age = None if hung_since is None or self.statistics is None else hung_since(self.statistics)
        return self.well_at if age is None else min(self.well_at, self.statistics_at - age)


@dataclass(slots=True, eq=False)
class Replacement:
    """A planned replacement in progress."""

    kind: Kind
    reason: str
    old: Life
    old_ended_at: float | None = None


@dataclass(slots=True, eq=False)
class Member:
    """A node id with its lives: the main one, and the spare of a replacement."""

    id: int
    main: Life
    spare: Life | None = None
    restarts: int = 0
    history: RestartHistory = field(default_factory=RestartHistory)
    replacement: Replacement | None = None
    fork_error: str = ""
    """Why the last fork failed; "" after a successful one."""
    fork_failures: int = 0
    """How many forks have failed since then."""
    last_exit: str = ""
    failed: bool = False
    """It has ended for good with an exit code other than 0."""

    def life(self, generation: int) -> Life | None:
        """The life of a generation, unless it is over, so that a stale event finds nothing."""
        for life in (self.main, self.spare):
            if life is not None and life.generation == generation and life.state is not State.DEAD:
                return life
        return None

    def ended(self, generation: int) -> Life | None:
        """The life of a generation that has ended, while it is not decided what follows."""
        for life in (self.main, self.spare):
            ended = life is not None and life.state is State.DEAD and not life.concluded
            if ended and life is not None and life.generation == generation:
                return life
        return None


@dataclass(slots=True, eq=False)
class Request:
    """A replacement that has not started."""

    node_id: int
    generation: int
    """Void once the node has a newer generation."""
    kind: Kind
    reason: str
    bare: bool = False
    """Without a spare, because none could be forked."""


@dataclass(slots=True, eq=False)
class Rollout:
    """The progress of a rolling restart."""

    replaced: int = 0
    aborted: str = ""


@dataclass(slots=True, eq=False)
class Budget:
    """The total time that a shutdown may take."""

    deadline: float | None = None
    excused: bool = False
    scheduled: float = NEVER


@dataclass(slots=True, eq=False)
class Fleet:
    """Everything that supervision decisions depend on, except the time and the happening."""

    settings: Settings
    wanted: int
    started_at: float
    members: dict[int, Member] = field(default_factory=dict)
    mode: Mode = Mode.RUNNING
    reason: str = ""
    exit_code: int = 0
    held: str = ""
    """What the start is waiting for before it forks any node; "" if nothing."""
    booted: bool = False
    """Whether all wanted nodes have run at the same time once, not counting those that are done."""
    queue: deque[Request] = field(default_factory=deque)
    rollout: Rollout | None = None
    deadlines: Deadlines = field(default_factory=Deadlines)
    budget: Budget = field(default_factory=Budget)
    table: Mapping[tuple[State, Trigger], Transition] = field(default_factory=lambda: TABLE)
    durations: dict[State, float | None] = field(init=False)
    random: Callable[[], float] = random.random
    changed: bool = False
    """Whether a life has changed its state during this step."""
    generations: dict[int, int] = field(default_factory=dict)
    """The newest generation of every node id that ever existed, including spares."""
    restarts: int = 0
    """Number of lives that followed another one, since the start."""
    absences: Repeats = field(default_factory=Repeats)
    """How often in a row the supervisor was away, by the listener that blocked it ("" for none)."""
    explained: int = 0
    """Number of ends that a listener explained."""
    stale: int = 0
    """Number of events for a life that was already over."""
    accounts: Accounts = field(default_factory=Accounts)
    """The work that nodes have reported, including removed nodes."""

    def __post_init__(self) -> None:
        """Give every wanted node its first life, due now."""
        self.durations = durations(self.settings)
        for node_id in range(self.wanted):
            self.add(node_id, self.started_at)

    def add(self, node_id: int, now: float) -> Member:
        """Add a node to be forked now."""
        member = self.members[node_id] = Member(node_id, Life(node_id, self.next_generation(node_id)))
        member.main.reason = "first start"
        self.deadlines.set(member.main, now)
        return member

    def next_generation(self, node_id: int) -> int:
        """Return the next generation of a node id. None is used twice, even if the id is scaled away and back."""
        self.generations[node_id] = generation = self.generations.get(node_id, 0) + 1
        return generation

    def new_life(self, member: Member, due: float, reason: str) -> Life:
        """Give a node whose main life is over another one, due at a given time."""
        member.restarts += 1
        member.failed = False
        self.restarts += 1
        member.main = life = Life(member.id, self.next_generation(member.id), reason=reason)
        self.deadlines.set(life, due)
        return life

    def lives(self) -> Iterator[Life]:
        """All lives that are not over, in order of their node ids."""
        for member in self.members.values():
            if member.main.state is not State.DEAD:
                yield member.main
            if member.spare is not None and member.spare.state is not State.DEAD:
                yield member.spare

    def wanted_members(self) -> Iterator[Member]:
        """The nodes that should run. Nodes removed by a scale-down still drain."""
        return (member for member in self.members.values() if member.id < self.wanted)


def next_deadline(fleet: Fleet, now: float) -> float | None:
    """When to call `decisions.step` with the next `Tick` if nothing happens, or a little earlier; None: never."""
    return fleet.deadlines.next(now + _EXACT_S)
