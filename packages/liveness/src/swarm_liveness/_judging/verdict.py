"""Facts, limits and a clock value in; a verdict with code and reason out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swarm_health import Status
from swarm_liveness._judging.ages import Stamps, ages, allowance
from swarm_liveness.settings import Limits

# Which of several findings becomes the verdict: a cause comes before its consequences. A handler that hangs may keep
# its group from being polled, and a group that is not polled cannot settle. Memory comes last because the supervisor
# staggers the stops for memory, while it carries out all others at once.
PRECEDENCE: tuple[Status, ...] = (Status.CONSUMING, Status.POLLING, Status.STABILITY, Status.MEMORY)

# The first statistics arrive one statistics.interval.ms (5 s by default) after the client is created.
BLIND_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    code: int
    reason: str
    hangs: bool = False
    """Whether something takes too long. If so, the stacks of all threads show where."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of all checks."""

    code: int = Status.HEALTHY
    """0, or the code of the first finding."""
    reason: str = ""
    """One sentence; empty when healthy."""
    findings: tuple[Finding, ...] = ()
    """Everything that is wrong, the most important first."""
    notes: tuple[str, ...] = ()
    """What could not be checked, and why."""

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return self.code == Status.HEALTHY


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that a verdict depends on."""

    stamps: Stamps
    fatal_error: str | None = None
    """The client's fatal error."""
    complaint: tuple[int, str] | None = None
    """The code and reason that the application itself reported."""
    memory: str | None = None
    """Why the memory is over its limit (from `memory_watch.finding`), or None."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and when it will change if nothing else happens."""

    verdict: Verdict
    next_expiry: float | None
    """The earliest TTL that is not over yet (monotonic seconds), or None."""


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
        # The application knows the cause; what the checks find may follow from it.
        findings.append(Finding(*facts.complaint))
    if facts.fatal_error is not None:
        # A client with a fatal error never polls again, so there is no TTL to wait for.
        findings.append(Finding(Status.POLLING, f"the client reported a fatal error: {facts.fatal_error}"))
    # Within one code the oldest comes first: it is the likeliest cause of the others.
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
    """Name the groups that are polled but whose clients have sent no statistics for long enough to judge stability."""
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
        f"stability of {names} is not checked: its client has sent no statistics for {BLIND_AFTER_S:g} s (set "
        f"statistics.interval.ms to a value above 0 and below {1000 * BLIND_AFTER_S:g})",
    )
