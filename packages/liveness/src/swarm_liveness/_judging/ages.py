"""How old everything is that must not grow old: one age for each unit, so that no live part hides a dead one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from swarm_health import Status
from swarm_liveness.protocols import PollStamp, RunStamp
from swarm_liveness.settings import Limits


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is judged in a phase of the runtime, and how much longer things may take in it."""

    polling: bool = True
    consuming: bool = True
    stability: bool = True
    memory: bool = True
    polling_extra_s: float = 0.0


# The phases of a runtime. A phase that is not in the table (a runtime of your own) is judged like "running".
#   starting   clients are made and connected one after another: a minute more until the first poll
#   quieting, quiet   nothing new is handled, but the group is still polled to keep the membership
#   stopping   clients are closed, which polls nothing and leaves the group: the drain and shutdown budgets judge that;
#              a hook that hangs is still named
PHASES: Mapping[str, Allowance] = MappingProxyType(
    {
        "starting": Allowance(polling_extra_s=60.0),
        "running": Allowance(),
        "quieting": Allowance(),
        "quiet": Allowance(),
        "stopping": Allowance(polling=False, stability=False, memory=False),
        "stopped": Allowance(polling=False, consuming=False, stability=False, memory=False),
    }
)

# Join states of librdkafka (rdkafka_cgrp.c, rd_kafka_cgrp_join_state_names; the values of cgrp.join_state in its
# statistics). These three can last for ever without a fault of this process: "init" is a client that is in no group,
# as while the broker is away, and "wait-metadata" one whose topics do not exist yet.
SETTLED_JOIN_STATES = frozenset({"steady", "init", "wait-metadata"})
# In these the partitions are being given back, which waits for the handlers that work on them.
REVOKING_JOIN_STATES = frozenset({"wait-unassign-call", "wait-unassign-to-complete", "wait-incr-unassign-to-complete"})

STABILITY_FACTOR = 2.0
# A join state that no poll has confirmed for this part of the polling TTL is not judged.
STALE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Age:
    """One thing that is running against its TTL."""

    code: Status
    """What it is when the TTL is over."""
    subject: str
    """The unit and what it has been doing, up to "for": "consume of flights/3 has been running"."""
    since: float
    """Start of the age, monotonic seconds."""
    ttl_s: float
    """Seconds it may reach."""
    ttl_name: str
    """Which setting says so."""

    @property
    def deadline(self) -> float:
        """When the TTL is over, monotonic seconds."""
        return self.since + self.ttl_s

    def seconds(self, now: float) -> float:
        """The age at `now`; never negative."""
        return max(0.0, now - self.since)

    def expired(self, now: float) -> bool:
        """Whether the TTL is over at `now`."""
        return now >= self.deadline

    def reason(self, now: float) -> str:
        """The sentence for logs and status."""
        return f"{self.subject} for {self.seconds(now):.1f} s ({self.ttl_name} {self.ttl_s:g} s)"


Unit = tuple[str, str, int, float]
"""One poll, or one run of a hook: what it is of, and its stamp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamps:
    """What a runtime shows of itself at one moment, and what the listener knows about that."""

    phase: str = "running"
    polls: Sequence[PollStamp] = ()
    runs: Sequence[RunStamp] = ()
    first_seen: Mapping[str, float] = field(default_factory=dict)
    """Since when each group that has not been polled yet has been known (monotonic seconds)."""
    started: float = 0.0
    """When the listener started (monotonic seconds)."""
    forgiven: Mapping[Unit, float] = field(default_factory=dict)
    """Units that were not to blame for a time in which the whole process stood still, and when that ended."""
    polled_since: Mapping[str, float] = field(default_factory=dict)
    """When each group was first seen to have been polled (monotonic seconds)."""


def poll_unit(poll: PollStamp) -> Unit:
    """The latest poll of a group."""
    return ("poll", poll.subscription_group, -1, -1.0 if poll.last_poll is None else poll.last_poll)


def run_unit(run: RunStamp) -> Unit:
    """One run of a hook."""
    return (run.action, run.topic, run.partition, run.started)


def forgive(stamps: Stamps, now: float) -> dict[Unit, float]:
    """Which units are forgiven after the whole process stood still until `now`: what there is, and each unit once.

    A handler that waits in C code with the GIL held looks like a process that stood still. If it does so again and
    again, a poll or a run that has not moved since is not forgiven a second time: it would be hidden for ever.
    """
    units = [poll_unit(poll) for poll in stamps.polls] + [run_unit(run) for run in stamps.runs]
    return {unit: stamps.forgiven.get(unit, now) for unit in units}


def allowance(phase: str) -> Allowance:
    """What is judged in a phase."""
    return PHASES.get(phase, PHASES["running"])


def ages(stamps: Stamps, limits: Limits) -> Iterator[Age]:
    """Every age that counts in this phase: consuming, then polling, then stability."""
    allowed = allowance(stamps.phase)
    if allowed.consuming:
        yield from (run_age(run, limits, stamps) for run in stamps.runs)
    if allowed.polling:
        yield from (poll_age(poll, stamps, limits) for poll in stamps.polls)
    if allowed.stability:
        for poll in stamps.polls:
            age = stability_age(poll, limits)
            if age is not None:
                yield age


def run_age(run: RunStamp, limits: Limits, stamps: Stamps) -> Age:
    """How long a hook has been running. The topic's TTL wins over consuming_ttl, that over max.poll.interval.ms.

    A stop of the whole process is no fault of the hook: its age begins at the end of that at the earliest.
    """
    if run.ttl_s is not None:
        ttl, name = run.ttl_s, "the topic's ttl"
    elif limits.consuming_ttl is not None:
        ttl, name = limits.consuming_ttl, "consuming_ttl"
    else:
        ttl, name = run.max_poll_interval_s, "max.poll.interval.ms"
    since = max(run.started, stamps.forgiven.get(run_unit(run), run.started))
    return Age(Status.CONSUMING, f"{describe_run(run)} has been running", since, ttl, name)


def describe_run(run: RunStamp) -> str:
    """A hook by topic, partition and offset range: "consume of flights/3 (offsets 100 to 199)"."""
    offsets = ""
    if run.first_offset is not None:
        last = run.first_offset if run.last_offset is None else run.last_offset
        offsets = f" (offsets {run.first_offset} to {last})"
    return f"{run.action} of {run.topic}/{run.partition}{offsets}"


def poll_age(poll: PollStamp, stamps: Stamps, limits: Limits) -> Age:
    """How long ago a group was polled.

    A stop of the whole process (SIGSTOP, a paused machine) is no fault of the polling thread: its age begins at the end
    of that at the earliest.
    """
    ttl, name = poll.max_poll_interval_s, "max.poll.interval.ms"
    revoking = poll.join_state in REVOKING_JOIN_STATES
    # While partitions are given back the polling thread may wait for a handler: what the broker tolerates counts then.
    if limits.polling_ttl is not None and not (revoking and limits.polling_ttl < ttl):
        ttl, name = limits.polling_ttl, "polling_ttl"
    if poll.last_poll is None:
        since = stamps.first_seen.get(poll.subscription_group, stamps.started)
        what = "has not been polled at all"
        ttl += allowance(stamps.phase).polling_extra_s
    else:
        since = poll.last_poll
        what = "has not been polled"
    since = max(since, stamps.forgiven.get(poll_unit(poll), since))
    return Age(Status.POLLING, f"subscription group {poll.subscription_group!r} {what}", since, ttl, name)


def stability_age(poll: PollStamp, limits: Limits) -> Age | None:
    """How long a group has stood in one unsteady join state; None when it is settled or not known.

    Statistics arrive through polls: of a group that is not polled the join state is as old as its last poll, and may
    have changed since. It counts if a poll confirmed it not long before its TTL was over; if none did, the polls are
    the trouble, and their own age tells it.
    """
    if poll.join_state is None or poll.join_state_since is None or poll.join_state in SETTLED_JOIN_STATES:
        return None
    if poll.last_poll is None:
        return None
    if limits.stability_ttl is not None:
        ttl, name = limits.stability_ttl, "stability_ttl"
    else:
        ttl, name = STABILITY_FACTOR * poll.max_poll_interval_s, "twice max.poll.interval.ms"
    polling_ttl = poll.max_poll_interval_s if limits.polling_ttl is None else limits.polling_ttl
    if poll.last_poll < poll.join_state_since + ttl - STALE_SHARE * polling_ttl:
        return None
    subject = f"subscription group {poll.subscription_group!r} has been in join state {poll.join_state}"
    return Age(Status.STABILITY, subject, poll.join_state_since, ttl, name)
