"""The one view of a swarm that the control socket, probes, top and the page all show."""

import msgspec

from swarm_health import NodeStatistics, PartitionAccount, TopicStatistics, Totals
from swarm_supervisor.fleet import Fleet, Life, Member, Mode
from swarm_supervisor.lifecycle import State


class NodeSnapshot(msgspec.Struct, kw_only=True):
    """One node."""

    id: int
    generation: int
    pid: int | None
    """None while there is no process."""
    state: str
    """A `lifecycle.State` as text; "done" once it will not be started again."""
    uptime_s: float
    """Seconds since the fork; 0 while there is no process."""
    restarts: int
    """How many processes this node has had before this one."""
    last_report_age_s: float | None
    """Seconds since its process has reported; None while there is no process, and before the first report."""
    status: int
    """The last status: 0 healthy, -1 silent, any other unhealthy."""
    reason: str
    """What belongs to the state: why it stops, why it waits, what is wrong."""
    last_exit: str
    """How the process before this one ended, and why."""
    crash_loop: bool
    restart_in_s: float | None
    """Seconds until the next start; None if it is not waiting for one."""
    spare_pid: int | None
    spare_state: str
    """The state of the spare of a planned replacement; "" if there is none."""
    statistics: NodeStatistics | None
    """What its present process has told last, counted since the start of that process; None without a process."""
    totals: Totals = msgspec.field(default_factory=Totals)
    """What all processes of this node have done together: these figures only grow."""


class Snapshot(msgspec.Struct, kw_only=True):
    """A swarm at one moment. Can be encoded as JSON (msgspec.json.encode)."""

    pid: int
    """The supervisor."""
    name: str
    state: str
    """starting, running, degraded, quieting, quiet, stopping or stopped."""
    reason: str
    """Why it is degraded, quiet or stopping, or what a start waits for; "" otherwise."""
    wanted: int
    running: int
    """Wanted nodes that run and report healthy: the number that every view shows."""
    uptime_s: float
    restarts: int
    """Processes started in place of others, since the start."""
    rolling_restart: bool
    listener_errors: int
    nodes: list[NodeSnapshot]
    totals: Totals = msgspec.field(default_factory=Totals)
    """What the swarm has done since its start, dead processes included."""
    topics: list[TopicStatistics] = []
    """The same by group and topic."""
    partitions: list[PartitionAccount] = []
    """Every partition that a node has, or had lately: whose it is, what is known of it."""


def take_snapshot(fleet: Fleet, now: float, *, pid: int, listener_errors: int = 0) -> Snapshot:
    """Return the view of a fleet at this moment. Pure."""
    members = sorted(fleet.members.values(), key=lambda member: member.id)
    state, reason = _state(fleet, now)
    return Snapshot(
        pid=pid,
        name=fleet.settings.name,
        state=state,
        reason=reason,
        wanted=fleet.wanted,
        running=sum(_healthy(member.main) for member in fleet.wanted_members()),
        uptime_s=now - fleet.started_at,
        restarts=fleet.restarts,
        rolling_restart=fleet.rollout is not None,
        listener_errors=listener_errors,
        nodes=[_node(fleet, member, now) for member in members],
        totals=fleet.accounts.total(),
        topics=fleet.accounts.topics(),
        partitions=fleet.accounts.partitions(now),
    )


def _healthy(life: Life) -> bool:
    return life.state is State.RUNNING and life.status == 0


def _state(fleet: Fleet, now: float) -> tuple[str, str]:
    if fleet.mode in (Mode.STOPPING, Mode.STOPPED):
        return fleet.mode.value, fleet.reason
    if fleet.held:
        return "starting", fleet.held
    troubles = [
        f"node {member.id} {trouble}" for member in fleet.wanted_members() if (trouble := _trouble(fleet, member, now))
    ]
    if troubles:
        return "degraded", "; ".join(troubles[:5]) + (f" and {len(troubles) - 5} more" if len(troubles) > 5 else "")
    if fleet.mode is Mode.QUIET:
        return "quiet" if all(_is_quiet(member.main) for member in fleet.members.values()) else "quieting", fleet.reason
    return ("running" if fleet.booted else "starting"), ""


def _trouble(fleet: Fleet, member: Member, now: float) -> str:
    if member.fork_error:
        return f"could not be forked: {member.fork_error}"
    if member.failed:
        return f"has failed for good: {member.last_exit}"
    if _loops(fleet, member, now):
        return f"is in a crash loop: {member.last_exit}"
    return ""


def _loops(fleet: Fleet, member: Member, now: float) -> bool:
    life = member.main
    until = now if life.well_at is None else life.well_at  # one that has been silent since may be hung
    return member.history.looping and not life.stable(until, fleet.settings.stable_after)


def _is_quiet(life: Life) -> bool:
    # A target that tells no state of its own is taken to be quiet when it has been told.
    if life.state is not State.RUNNING:
        return life.state is State.DEAD
    return life.statistics is None or life.statistics.state in ("", "quiet")


def _node(fleet: Fleet, member: Member, now: float) -> NodeSnapshot:
    life, spare = member.main, member.spare
    waiting = life.state is State.BACKING_OFF
    return NodeSnapshot(
        id=member.id,
        generation=life.generation,
        pid=life.pid if life.alive else None,
        state="done" if life.state is State.DEAD else life.state.value,
        uptime_s=life.uptime_s(now) if life.alive else 0.0,
        restarts=member.restarts,
        last_report_age_s=None if life.last_report_at is None or not life.alive else now - life.last_report_at,
        status=life.status,
        reason=(fleet.held if waiting else "") or life.reason or life.status_reason,
        last_exit=member.last_exit,
        crash_loop=_loops(fleet, member, now),
        restart_in_s=max(0.0, life.deadline - now) if waiting and life.deadline is not None else None,
        spare_pid=spare.pid if spare is not None else None,
        spare_state=spare.state.value if spare is not None else "",
        statistics=life.statistics if life.alive else None,
        totals=fleet.accounts.node(member.id),
    )
