"""The state of all supervision decisions: nodes, their lives, what is under way. Plain values, no process."""

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
"""Deadlines that are nearer than this are told exactly. Of others it is enough that none is missed."""


class Cause(Enum):
    """Why a life is being ended."""

    SILENT = "silent"
    UNHEALTHY = "unhealthy"
    MEMORY = "memory"
    SHUTDOWN = "shutdown"
    SCALED_DOWN = "scaled down"
    REPLACED = "replaced"
    RECYCLED = "recycled"
    """It has asked for a fresh process, and there is no spare at hand."""
    ABORTED = "aborted"
    """A spare that is not needed, or not fit."""
    OPERATOR = "operator"
    """Somebody has sent it a signal."""


UNPLANNED = frozenset({Cause.SILENT, Cause.UNHEALTHY, Cause.MEMORY})
_HUNG_SINCE: dict[int, Callable[[NodeStatistics], float | None]] = {
    Status.CONSUMING: lambda statistics: statistics.in_flight_age_s,
    Status.POLLING: lambda statistics: statistics.poll_age_s,
}
"""The age, at the moment of the statistics, of what an unhealthy status is about."""


class Mode(Enum):
    """What the swarm as a whole is up to."""

    RUNNING = "running"
    QUIET = "quiet"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Kind(Enum):
    """Why a node is replaced."""

    RESTART = "restart"
    MEMORY = "memory"
    RECYCLE = "recycle"
    """It has asked for it: `node.recycle`."""


@dataclass(slots=True, eq=False)
class Life:
    """One process of a node, from before its fork until it is reaped."""

    node_id: int
    generation: int
    born_at: float
    spare: bool = False
    state: State = State.BACKING_OFF
    deadline: float | None = None
    excused: bool = False
    """Its deadline has been put off, since the supervisor was away: that is done once."""
    scheduled: float = NEVER
    pid: int | None = None
    forked_at: float = 0.0
    boot_at: float = 0.0
    healthy_at: float | None = None
    last_report_at: float | None = None
    well_at: float | None = None
    """Its last good report, before it was told to stop."""
    status: int = 0
    status_reason: str = ""
    cause: Cause | None = None
    reason: str = ""
    """Why it is being ended; before its fork: why it is started."""
    said: str = ""
    recycle: str = ""
    """Why it wants a fresh process in its place; "" if it does not."""
    kills: int = 0
    statistics: NodeStatistics | None = None
    statistics_at: float = 0.0
    exit: Exited | None = None

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self.state is not State.DEAD and self.state is not State.BACKING_OFF

    def uptime_s(self, now: float) -> float:
        """Seconds since the fork."""
        return now - self.forked_at if self.pid is not None else 0.0

    def stable(self, until: float, stable_after: float) -> bool:
        """Whether it was healthy for stable_after seconds until a moment: now, or `well_until`."""
        return self.healthy_at is not None and until - self.healthy_at >= stable_after

    def well_until(self, now: float) -> float:
        """Until when it was well, as far as is known: what a life hung for before it was blamed was no healthy time."""
        if self.cause not in UNPLANNED or self.well_at is None:
            return now
        # A node beats for a handler until its TTL is over: what the batch that hung has taken was no healthy time.
        hung_since = _HUNG_SINCE.get(self.status)
        age = None if hung_since is None or self.statistics is None else hung_since(self.statistics)
        return self.well_at if age is None else min(self.well_at, self.statistics_at - age)


@dataclass(slots=True, eq=False)
class Replacement:
    """A planned replacement that is under way."""

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
    """Why the last fork failed; "" since the last one that went well."""
    fork_failures: int = 0
    """How many failed since then."""
    last_exit: str = ""
    failed: bool = False
    """It has ended for good, and not with exit code 0."""

    def life(self, generation: int) -> Life | None:
        """The life of a generation, unless it is over: a stale event finds nothing."""
        for life in (self.main, self.spare):
            if life is not None and life.generation == generation and life.state is not State.DEAD:
                return life
        return None


@dataclass(slots=True, eq=False)
class Request:
    """A replacement that has not begun."""

    node_id: int
    generation: int
    """Void once the node has a newer one."""
    kind: Kind
    reason: str
    bare: bool = False
    """Without a spare, which could not be had."""


@dataclass(slots=True, eq=False)
class Rollout:
    """What a rolling restart has done so far."""

    replaced: int = 0
    aborted: str = ""


@dataclass(slots=True, eq=False)
class Budget:
    """The time that a shutdown may take in all."""

    deadline: float | None = None
    excused: bool = False
    scheduled: float = NEVER


@dataclass(slots=True, eq=False)
class Fleet:
    """Everything that supervision decisions depend on, but the time and what happens."""

    settings: Settings
    wanted: int
    started_at: float
    members: dict[int, Member] = field(default_factory=dict)
    mode: Mode = Mode.RUNNING
    reason: str = ""
    exit_code: int = 0
    held: str = ""
    """What is awaited before any node is forked; "" if nothing is."""
    booted: bool = False
    """All wanted nodes have been running at the same time, once; those that are done do not count."""
    queue: deque[Request] = field(default_factory=deque)
    rollout: Rollout | None = None
    deadlines: Deadlines = field(default_factory=Deadlines)
    budget: Budget = field(default_factory=Budget)
    table: Mapping[tuple[State, Trigger], Transition] = field(default_factory=lambda: TABLE)
    durations: dict[State, float | None] = field(init=False)
    random: Callable[[], float] = random.random
    changed: bool = False
    """A life has entered another state during this step."""
    generations: dict[int, int] = field(default_factory=dict)
    """The newest generation of every node id that there ever was, spares included."""
    restarts: int = 0
    """Lives that followed another one, since the start."""
    absences: Repeats = field(default_factory=Repeats)
    """How often in a row the supervisor was away; by the listener that kept it, "" for none."""
    stale: int = 0
    """Events that came for a life that was over."""
    accounts: Accounts = field(default_factory=Accounts)
    """What the nodes have told of their work, those that are no more included."""

    def __post_init__(self) -> None:
        """Give every wanted node a first life, due now."""
        self.durations = durations(self.settings)
        for node_id in range(self.wanted):
            self.add(node_id, self.started_at)

    def add(self, node_id: int, now: float) -> Member:
        """Add a node that is to be forked now."""
        member = self.members[node_id] = Member(node_id, Life(node_id, self.next_generation(node_id), now))
        member.main.reason = "first start"
        self.deadlines.set(member.main, now)
        return member

    def next_generation(self, node_id: int) -> int:
        """Count a generation of a node id: never given out twice, even if the id is scaled away and back."""
        self.generations[node_id] = generation = self.generations.get(node_id, 0) + 1
        return generation

    def new_life(self, member: Member, due: float, now: float, reason: str) -> Life:
        """Give a node, whose main life is over, another one that is due then."""
        member.restarts += 1
        member.failed = False
        self.restarts += 1
        member.main = life = Life(member.id, self.next_generation(member.id), now, reason=reason)
        self.deadlines.set(life, due)
        return life

    def lives(self) -> Iterator[Life]:
        """All lives that are not over, in the order of their node ids."""
        for member in self.members.values():
            if member.main.state is not State.DEAD:
                yield member.main
            if member.spare is not None and member.spare.state is not State.DEAD:
                yield member.spare

    def wanted_members(self) -> Iterator[Member]:
        """The nodes that are to run: those of a scale-down still drain."""
        return (member for member in self.members.values() if member.id < self.wanted)


def next_deadline(fleet: Fleet, now: float) -> float | None:
    """When to call `decisions.step` with a `Tick` again if nothing happens, or a little sooner; None: never."""
    return fleet.deadlines.next(now + _EXACT_S)
