"""The snapshot of a fleet, shown by the control socket, probes, top and the page. Pure."""

from __future__ import annotations

from swarm_supervisor._core.fleet import Fleet, Life, Member, Mode
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._snapshot import NodeSnapshot, Snapshot


def take_snapshot(fleet: Fleet, now: float, *, pid: int, listener_errors: int = 0) -> Snapshot:
    """Return the snapshot of a fleet. Pure."""
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
        report_timeout_s=fleet.settings.node_report_timeout,
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
    until = now if life.well_at is None else life.well_at  # a node that has been silent since then may be hung
    return member.history.looping and not life.stable(until, fleet.settings.stable_after)


def _is_quiet(life: Life) -> bool:
    # A target without a state of its own counts as quiet once it has been told.
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
