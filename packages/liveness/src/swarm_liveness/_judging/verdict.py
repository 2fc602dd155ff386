"""Facts, limits and a clock value in; a verdict with code and reason out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swarm_health import Status
from swarm_liveness._judging.ages import Stamps, ages, allowance
from swarm_liveness.settings import Limits

# Which of several findings becomes the verdict: the cause before what follows from it. A handler that hangs may keep
# its group from being polled, and a group that is not polled cannot settle. Memory is last because its stops are
# staggered by the supervisor, while all others are carried out at once.
PRECEDENCE: tuple[Status, ...] = (Status.CONSUMING, Status.POLLING, Status.STABILITY, Status.MEMORY)

# The first statistics come one statistics.interval.ms (5 s by default) after the client was made.
BLIND_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    code: int
    reason: str
    hangs: bool = False
    """Whether something takes too long: the stacks show what."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all checks say together."""

    code: int = Status.HEALTHY
    """0, or the code of the finding that counts."""
    reason: str = ""
    """One sentence; empty when healthy."""
    findings: tuple[Finding, ...] = ()
    """All that is wrong, the one that counts first."""
    notes: tuple[str, ...] = ()
    """What could not be judged, and why."""

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return self.code == Status.HEALTHY


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a verdict rests on."""

    stamps: Stamps
    fatal_error: str | None = None
    """The client's fatal error."""
    complaint: tuple[int, str] | None = None
    """Code and reason that the application itself gave."""
    memory: str | None = None
    """Why the memory is over its limit, or None (`memory_watch.finding` says)."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and when it will next change if nothing moves."""

    verdict: Verdict
    next_expiry: float | None
    """The soonest deadline of an age that is not over yet (monotonic seconds), or None."""


def judge(facts: Facts, limits: Limits, now: float) -> Judgement:
    """Judge the facts at `now` (monotonic seconds)."""
    findings: list[Finding] = []
    next_expiry: float | None = None
    expired = []
    for age in ages(facts.stamps, limits):
        if age.expired(now):
            expired.append(age)
        elif next_expiry is None or age.deadline < next_expiry:
            next_expiry = age.deadline
    if facts.complaint is not None:
        # Whoever says so knows the cause; what the checks find may follow from it.
        findings.append(Finding(*facts.complaint))
    if facts.fatal_error is not None:
        # A client with a fatal error never polls again: no TTL is waited for.
        findings.append(Finding(Status.POLLING, f"the client reported a fatal error: {facts.fatal_error}"))
    # Within one code the oldest first: it is the likeliest cause of the others.
    expired.sort(key=lambda age: (PRECEDENCE.index(age.code), age.since))
    findings += [Finding(age.code, age.reason(now), hangs=True) for age in expired]
    if facts.memory is not None and allowance(facts.stamps.phase).memory:
        findings.append(Finding(Status.MEMORY, facts.memory))
    return Judgement(_verdict(findings, _notes(facts.stamps, now)), next_expiry)


def _verdict(findings: Sequence[Finding], notes: tuple[str, ...]) -> Verdict:
    if not findings:
        return Verdict(notes=notes)
    first = findings[0]
    more = len(findings) - 1
    reason = f"{first.reason}; {more} more finding{'s' if more > 1 else ''}" if more else first.reason
    return Verdict(first.code, reason, tuple(findings), notes)


def _notes(stamps: Stamps, now: float) -> tuple[str, ...]:
    """Stability needs the client's statistics; say so where a group that is polled has had none for long enough."""
    if not allowance(stamps.phase).stability:
        return ()
    blind = sorted(
        poll.subscription_group
        for poll in stamps.polls
        if poll.join_state is None
        and poll.last_poll is not None
        and now - stamps.polled_since.get(poll.subscription_group, now) >= BLIND_AFTER_S
    )
    if not blind:
        return ()
    names = ", ".join(repr(name) for name in blind)
    return (
        f"stability of {names} is not judged: its client has given no statistics for {BLIND_AFTER_S:g} s (set "
        "statistics.interval.ms above 0, and to less than that)",
    )
