"""The age of everything that must not take too long. Each unit has its own, so none hides another. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from swarm_health import Status
from swarm_liveness.protocols import PollStamp, RunStamp
from swarm_liveness.settings import Limits


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is checked in a phase of the runtime, and how much longer things may take in it."""

    polling: bool = True
    consuming: bool = True
    stability: bool = True
    memory: bool = True
    polling_extra_s: float = 0.0


# The phases of a runtime. A phase that is not in the table (of your own runtime) is checked like "running".
#   starting   clients are created and connected one after another: the first poll may take a minute longer
#   quieting, quiet   nothing new is handled, but the group is still polled to keep the membership
#   stopping   clients are closed, so they are not polled and leave the group: the drain and shutdown timeouts limit
#              that; a hook that hangs is still reported
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
# statistics). These three can last forever through no fault of this process: in "init" a client is in no group, for
# example because the broker is unreachable, and in "wait-metadata" its topics do not exist yet.
SETTLED_JOIN_STATES = frozenset({"steady", "init", "wait-metadata"})
# In these states partitions are being given back, which waits for the handlers that work on them.
REVOKING_JOIN_STATES = frozenset({"wait-unassign-call", "wait-unassign-to-complete", "wait-incr-unassign-to-complete"})

STABILITY_FACTOR = 2.0
# A join state that no poll has confirmed for this share of the polling TTL is not judged.
STALE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Age:
    """One thing that has a TTL."""

    code: Status
    """The status once the TTL is over."""
    subject: str
    """The unit and what it does, as the sentence up to "for": "consume of flights/3 has been running"."""
    since: float
    """When the age began, monotonic seconds."""
    ttl_s: float
    """The largest age allowed, in seconds."""
    ttl_name: str
    """The setting that the TTL comes from."""

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
"""One poll, or one run of a hook: what it belongs to, and its timestamp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamps:
    """What a runtime shows at one moment, and what is remembered about it."""

    phase: str = "running"
    polls: Sequence[PollStamp] = ()
    runs: Sequence[RunStamp] = ()
    first_seen: Mapping[str, float] = field(default_factory=dict)
    """When each group that has not been polled yet was first seen (monotonic seconds)."""
    started: float = 0.0
    """When the watch began (monotonic seconds)."""
    forgiven: Mapping[Unit, float] = field(default_factory=dict)
    """Units that were in progress while the whole process stood still, and when that ended."""
    polled_since: Mapping[str, float] = field(default_factory=dict)
    """When each group was first found polled (monotonic seconds)."""


def poll_unit(poll: PollStamp) -> Unit:
    """The latest poll of a group."""
    return ("poll", poll.subscription_group, -1, -1.0 if poll.last_poll is None else poll.last_poll)


def run_unit(run: RunStamp) -> Unit:
    """One run of a hook."""
    return (run.action, run.topic, run.partition, run.started)


def forgive(stamps: Stamps, now: float) -> dict[Unit, float]:
    """The units that are forgiven after the whole process stood still until `now`: all in progress, each only once.

    A handler that waits in C code while it holds the GIL looks like a process that stood still. If that happens again,
    a poll or a run that has not moved since is not forgiven a second time: otherwise it would stay hidden forever.
    """
    units = [poll_unit(poll) for poll in stamps.polls] + [run_unit(run) for run in stamps.runs]
    return {unit: stamps.forgiven.get(unit, now) for unit in units}


def allowance(phase: str) -> Allowance:
    """What is checked in a phase."""
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
    """How long a hook has been running. The topic's TTL overrides consuming_ttl, which overrides max.poll.interval.ms.

    A stop of the whole process is not the hook's fault: its age begins at the end of the stop at the earliest.
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
        one = last == run.first_offset
        offsets = f" (offset {last})" if one else f" (offsets {run.first_offset} to {last})"
    return f"{run.action} of {run.topic}/{run.partition}{offsets}"


def poll_age(poll: PollStamp, stamps: Stamps, limits: Limits) -> Age:
    """How long ago a group was polled.

    A stop of the whole process (SIGSTOP, a paused machine) is not the polling thread's fault: its age begins at the end
    of the stop at the earliest.
    """
    ttl, name = poll.max_poll_interval_s, "max.poll.interval.ms"
    revoking = poll.join_state in REVOKING_JOIN_STATES
    # While partitions are given back, the polling thread may wait for a handler: then the broker's own limit counts.
    if limits.polling_ttl is not None and not (revoking and limits.polling_ttl < ttl):
        ttl, name = limits.polling_ttl, "polling_ttl"
    if poll.last_poll is None:
        since = stamps.first_seen.get(poll.subscription_group, stamps.started)
        what = "has been waiting for its first poll"
        ttl += allowance(stamps.phase).polling_extra_s
    else:
        since = poll.last_poll
        what = "has not been polled"
    since = max(since, stamps.forgiven.get(poll_unit(poll), since))
    return Age(Status.POLLING, f"subscription group {poll.subscription_group!r} {what}", since, ttl, name)


def stability_age(poll: PollStamp, limits: Limits) -> Age | None:
    """How long a group has been in one unsettled join state; None if it is settled or unknown.

    Statistics arrive through polls. Without polls the known join state is as old as the last poll, and may have changed
    since. So it counts only if a poll confirmed it shortly before its TTL was over; if none did, the missing polls are
    the problem, and they have an age of their own.
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
