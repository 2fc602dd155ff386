"""What handlers did, and what of it allows an offset to move: the oracle's side of a history."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from benchmarks.histories.primitives import Present


class Broken(AssertionError):
    """A promise of the runtime does not hold in this history."""


class Passed(Broken):
    """An offset moved past a record that was not handled, marked, diverted or dropped by a rule."""


class Output:
    """Something that was produced for records: acknowledged, failed, or neither yet."""

    __slots__ = ("acknowledged", "failed", "number", "records")

    def __init__(self, number: int, records: tuple[Any, ...]) -> None:
        self.number = number
        self.records = records
        self.acknowledged = False
        self.failed = False


class Claim:
    """Records that may be passed once all of these outputs are acknowledged."""

    __slots__ = ("last_serial", "outputs", "reason", "records")

    def __init__(self, records: tuple[Any, ...], last_serial: int, outputs: tuple[Output, ...], reason: str) -> None:
        self.records = records
        self.last_serial = last_serial  # beside them: every record up to this one, -1 for none
        self.outputs = outputs
        self.reason = reason


class Journal:
    """Everything that happened, counted; and, when it is traced, told."""

    def __init__(self, traced: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.trace: list[str] | None = [] if traced else None
        self.outputs: list[Output] = []
        self.claims: dict[Any, list[Claim]] = {}
        self.logs: dict[Any, Any] = {}
        self.broken: BaseException | None = None
        self.calm = False  # faults are over: handlers handle
        self._at_work: dict[Any, str] = {}

    def note(self, what: str, *details: Any) -> None:
        """Count something, and tell it when traced."""
        self.counts[what] += 1
        if self.trace is not None and self.broken is None:
            scheduler = Present.scheduler
            who = scheduler.current.name if scheduler.current is not None else "-"
            self.trace.append(f"{scheduler.now - 1000:8.3f} {who:<16} {what} {' '.join(map(str, details))}")

    def output(self, records: tuple[Any, ...]) -> Output:
        """Note that something is going to be produced for records."""
        output = Output(len(self.outputs), records)
        self.outputs.append(output)
        return output

    def claim(
        self, key: Any, reason: str, outputs: list[Output], records: tuple[Any, ...] = (), last_serial: int = -1
    ) -> Claim:
        """Note that these records may be passed once the outputs are acknowledged."""
        claim = Claim(records, last_serial, tuple(outputs), reason)
        self.claims.setdefault(key, []).append(claim)
        return claim

    def withdraw(self, key: Any, claim: Claim) -> None:
        """Take a claim back: what it was to come from did not happen."""
        claims = self.claims.get(key, [])
        if claim in claims:
            claims.remove(claim)

    def resolve(self, key: Any) -> None:
        """Cover what claims allow by now."""
        left = []
        for claim in self.claims.get(key, ()):
            if any(output.failed for output in claim.outputs):
                continue
            if not all(output.acknowledged for output in claim.outputs):
                left.append(claim)
                continue
            for record in claim.records:
                record.covered = record.covered or claim.reason
            if claim.last_serial >= 0:
                for record in self.logs[key].records:
                    if record.serial > claim.last_serial:
                        break
                    record.covered = record.covered or claim.reason
        self.claims[key] = left

    @contextlib.contextmanager
    def alone(self, key: Any, call: str) -> Iterator[None]:
        """Enter a call of a partition's consumer: no other call of the same partition may be at work."""
        strand = Present.scheduler.current
        place = None if strand is None else strand.node, key
        dying = strand is not None and strand.dying  # its process was killed: what it still enters is not real
        if place in self._at_work and not dying:
            self.breaks(Broken(f"{call}() of {key} runs beside its {self._at_work[place]}()"))
        self._at_work[place] = call
        try:
            yield
        finally:
            self._at_work.pop(place, None)

    def breaks(self, error: BaseException) -> None:
        """Note that a promise does not hold; the first stays."""
        if self.broken is None:
            self.broken = error
            Present.scheduler.finished = True
