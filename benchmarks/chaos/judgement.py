"""What must be true of a run besides the account of its records. Pure: faults, silences and samples in, sentences out.

Each fault must be over within its documented recovery time. When one begins before the recovery from another, the
times add up: a group that waits for the session of a vanished member begins to wait anew when the next one vanishes.
"""

from collections.abc import Iterable, Sequence

from benchmarks.chaos.faults import Injected
from benchmarks.chaos.ledger import Silence
from benchmarks.chaos.sample import Sample

AROUND_S = 1.0
"""A silence may begin so much before its fault, as the clocks of who sees them go, or so much after it."""
SHORT_S = 2.0
"""Silences up to this need no fault: a busy machine makes them too."""


def deadlines(faults: Sequence[Injected]) -> list[float]:
    """Return for each fault, in order of their starts, when every partition must be at work again."""
    found: list[float] = []
    for number, fault in enumerate(faults):
        earlier = [found[other] for other in range(number) if _overlap(faults[other], fault)]
        found.append(max([fault.healed_at, *earlier]) + fault.bound_s)
    # Whoever was overtaken has as much time as who overtook it.
    return [
        max([own, *(found[other] for other in range(number + 1, len(faults)) if _overlap(fault, faults[other]))])
        for number, (fault, own) in enumerate(zip(faults, found, strict=True))
    ]


def of_faults(faults: Sequence[Injected]) -> list[str]:
    """Say which fault did not come about as it should have, and whose recovery took too long."""
    found = []
    for fault, deadline in zip(faults, deadlines(faults), strict=True):
        if fault.trouble:
            found.append(f"{fault.kind} ({fault.detail}): did not come about: {fault.trouble}")
        if fault.seen_at and not fault.recovered_at:
            found.append(f"{fault.kind} ({fault.detail}): no recovery was seen before the run ended")
        elif fault.seen_at and fault.recovered_at > deadline:
            took, bound = fault.recovered_at - fault.healed_at, deadline - fault.healed_at
            found.append(f"{fault.kind} ({fault.detail}): recovery took {took:.1f} s, the bound is {bound:.1f} s")
    return found


def of_silences(silences: Iterable[Silence], faults: Sequence[Injected], started: float) -> list[str]:
    """Say which silence of a partition no fault explains, or goes on after the deadline of the fault that does."""
    found = []
    known = list(zip(faults, deadlines(faults), strict=True))
    for silence in silences:
        start, end = silence.span.start, silence.span.end
        reached = start
        for fault, deadline in known:
            if fault.seen_at and fault.started - AROUND_S <= reached + AROUND_S:
                reached = max(reached, deadline)
        if end - start > SHORT_S and end > reached:
            excess = "no fault explains it" if reached == start else f"{end - reached:.1f} s longer than faults explain"
            from_s = start - started
            found.append(
                f"partition {silence.partition} was silent for {end - start:.1f} s from {from_s:.1f} s on: {excess}"
            )
    return found


def cause_of(start: float, end: float, faults: Sequence[Injected]) -> str:
    """Return the kind of fault that a stretch of time is due to: the last one that was not over; "" for none."""
    found = ""
    for fault in faults:
        over = max(fault.recovered_at or float("inf"), fault.healed_at)
        if fault.seen_at and fault.started - AROUND_S <= end and start <= over + AROUND_S:
            found = fault.kind
    return found


def of_samples(samples: Sequence[Sample]) -> list[str]:
    """Say what a supervisor, or its nodes, hold more and more of."""
    found = []
    for pid in dict.fromkeys(sample.pid for sample in samples):
        own = [sample for sample in samples if sample.pid == pid]
        first = own[0]
        for name, room in (("descriptors", 2), ("threads", 0), ("zombies", 0)):
            worst = max(getattr(sample, name) for sample in own)
            if worst > getattr(first, name) + room:
                found.append(f"supervisor {pid}: {name} went from {getattr(first, name)} to {worst}")
        if first.zombies:
            found.append(f"supervisor {pid}: {first.zombies} zombies")
    return found


def _overlap(earlier: Injected, later: Injected) -> bool:
    return not earlier.recovered_at or later.started < earlier.recovered_at
