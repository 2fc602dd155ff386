"""The ledger: accounts for every record, from outside the swarm. Pure: no clock, no file, no Kafka.

It is told what was produced, what nodes wrote down as they handled it, and which commits were seen at the broker, and
says what is wrong. Two things that look alike are told apart:

- A *replay* goes back at the beginning of a batch and then follows the order again. At-least-once allows it, within a
  bound: what was in flight, and what was finished since the last commit. Where a process died whose notes survive
  and are believed, only the batch that it had at work.
- A *reordering* is a record that is handled after a later one of its key, without the later one being handled again
  behind it; or a step other than +1 inside a batch. Nothing allows it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from benchmarks.chaos.records import BatchBegun, Continued, Handled, NoteRefused, Numbered

NEVER = float("inf")
GAP_S = 0.25
"""Silences of a partition shorter than this are not written down."""


SETTLED_S = 2.0
"""An owner needs so long until a commit of its own makes its notes sure, on a busy machine too."""

LOADED_S = 15.0
"""A broker that was killed has read what it knows of groups by then, on a busy machine too."""


class Cause(StrEnum):
    """Why a partition went back."""

    KEPT = "a death, its notes believed"
    """Only the batch at work may be repeated."""
    REFUSED = "a death, its notes refused"
    YOUNG = "a death, its notes too young"
    """The owner had the partition for less than `SETTLED_S`, or nothing could be committed at the time."""
    GONE = "a death, no notes"
    """They were not kept, ended with the supervisor, or were spoilt on purpose."""
    OTHER = "a hand-over, a retry, an outage"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, in monotonic seconds."""

    start: float
    end: float

    @property
    def length_s(self) -> float:
        """How long it is, in seconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Bound:
    """What a replay may go back by, beyond the batch that was in flight."""

    uncommitted_s: float
    """Work finished longer than this before is committed: auto.commit.interval.ms, and the time a commit takes."""
    held: int
    """How many messages an owner that was cut off may have had at hand: it may still handle them after the hand-over.
    """


@dataclass(slots=True)
class Replay:
    """Records that were handled again, from the beginning of a batch on."""

    at: float
    pid: int
    partition: int
    first: int
    """The offset it goes back to."""
    before: int
    """The highest offset that had been handled."""
    uncommitted_s: float
    """How long before the last batch of the partition the record at `first` had been handled; 0: it was in it."""
    committed: int
    """The commit that had been seen at the broker: the next offset."""
    late: bool = False
    """It is the rest of what a former owner had at hand."""
    records: int = 0
    wrong: str = ""
    """Why it is out of bounds; "" while it is not."""
    former: int = 0
    """The process that had the partition before."""
    held_s: float = 0.0
    """For how long that one had handled it."""
    outage: bool = False
    """Nothing could be committed at some time since the former owner had its last batch."""
    cause: Cause = Cause.OTHER


@dataclass(frozen=True, slots=True)
class Silence:
    """A partition in which nothing was handled although there was something to handle."""

    partition: int
    span: Span


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that must not happen, with where and when."""

    at: float
    partition: int
    offset: int
    what: str

    def __str__(self) -> str:
        return f"partition {self.partition} offset {self.offset}: {self.what}"


@dataclass(slots=True)
class Account:
    """What the ledger has to say."""

    produced: int
    handled: int
    """Records that were handled at least once."""
    duplicates: int
    """Handled again, all in all."""
    lost: list[Incident]
    corrupted: list[Incident]
    reordered: list[Incident]
    out_of_bounds: list[Incident]
    """Duplicates that no replay within its bound explains, and commits that went back."""
    replays: list[Replay]
    silences: list[Silence]
    times: dict[int, int]
    """How often records were handled -> how many records."""
    refusals: dict[str, int]
    """Why notes were not believed -> how often."""
    continued: int
    """How often a partition continued at a note beyond what was committed."""
    letters: int
    """Records that were given up because processes died with them."""
    stale_answers: int
    """How often a broker that had just started named a commit long before the last one, and that one a moment later."""
    by_incarnation: dict[str, int]
    """Records handled by each process: "node.generation (pid)"."""

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.corrupted or self.reordered or self.out_of_bounds)


@dataclass(slots=True)
class _Partition:
    high: int = -1
    last_at: float | None = None
    owner: int = 0
    batch_at: float = 0.0
    batch_first: int = 0
    committed: int = 0
    doubt: Incident | None = None
    """The broker has named an earlier commit, just after its start."""
    handled_at: dict[int, float] = field(default_factory=dict)
    handled_by: dict[int, int] = field(default_factory=dict)
    times: Counter[int] = field(default_factory=Counter)
    content: dict[int, Numbered] = field(default_factory=dict)
    silences: list[tuple[float, float, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Writer:
    """One process at one partition."""

    last: int = -1
    since: float = 0.0
    """When it had its first batch since another process had the partition."""
    in_batch: dict[str, int] = field(default_factory=dict)
    replay: Replay | None = None


class Ledger:
    """Everything that is known of every record."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self._produced: dict[int, dict[int, tuple[Numbered, float]]] = defaultdict(dict)
        self._partitions: dict[int, _Partition] = defaultdict(_Partition)
        self._writers: dict[tuple[int, int], _Writer] = defaultdict(_Writer)
        self._frontier: dict[str, int] = {}
        self._skipped: dict[str, set[int]] = defaultdict(set)
        self._names: dict[int, str] = {}
        self._count: Counter[int] = Counter()
        self._replays: list[Replay] = []
        self._reordered: list[Incident] = []
        self._out_of_bounds: list[Incident] = []
        self._stale_answers = 0
        self._broker_started = -NEVER
        self._corrupted: list[Incident] = []
        self._no_commits: list[Span] = []
        self._suspended: dict[int, list[Span]] = defaultdict(list)
        self._deaths: dict[int, tuple[float, bool]] = {}
        self._refused: dict[tuple[int, int], float] = {}
        self._refusals: Counter[str] = Counter()
        self._continued = 0
        self._spoilt: set[int] = set()
        self._letters: set[tuple[int, int]] = set()

    # -- what is told ----------------------------------------------------------------------------------------------

    def produced(self, partition: int, offset: int, record: Numbered, at: float) -> None:
        """Note that the broker has acknowledged a record."""
        if offset in self._produced[partition]:
            self._corrupted.append(Incident(at, partition, offset, "two records were acknowledged at one offset"))
        self._produced[partition][offset] = (record, at)

    def committed(self, partition: int, offset: int, at: float) -> None:
        """Note a commit (the next offset) that was seen at the broker."""
        known = self._partitions[partition]
        if offset < known.committed:
            # After an outage librdkafka sends unanswered commits again, and an older one may come last.
            since = Span(known.handled_at.get(offset, 0.0), at)
            if since.length_s > self.bound.uncommitted_s + _overlap(self._no_commits, since):
                what = f"the commit went back from {known.committed} to {offset}, handled {since.length_s:.1f} s before"
                known.doubt = known.doubt or Incident(at, partition, offset, what)
                if at - self._broker_started < LOADED_S:
                    return  # the broker may not have read all of its log yet: what it says later decides
                self._out_of_bounds.append(known.doubt)
        elif known.doubt is not None:
            self._stale_answers += 1
        known.doubt = None
        known.committed = offset

    def broker_started(self, at: float) -> None:
        """Note when the broker, which was killed, takes requests again: at the latest, as long as it is not known."""
        self._broker_started = at

    def commits_stop(self, at: float) -> None:
        """Note that nothing can be committed from now on: no broker, or no network."""
        self._no_commits.append(Span(at, NEVER))

    def commits_resume(self, at: float) -> None:
        """Note when commits can be made again."""
        self._no_commits = [span if span.end < NEVER else Span(span.start, at) for span in self._no_commits]

    def stands_still(self, pid: int, at: float) -> None:
        """Note that a process is stopped: what it knew of the group then is what it acts on when it goes on."""
        self._suspended[pid].append(Span(at, NEVER))

    def goes_on(self, pid: int, at: float) -> None:
        """Note that a stopped process goes on."""
        spans = self._suspended[pid]
        self._suspended[pid] = [span if span.end < NEVER else Span(span.start, at) for span in spans]

    def died(self, pid: int, at: float, *, kept: bool) -> None:
        """Note that a process ended without giving its partitions up; kept: its notes outlive it."""
        self._deaths[pid] = at, kept

    def spoilt(self, pids: Iterable[int]) -> None:
        """Note that what these processes have written, and write, may be destroyed."""
        self._spoilt.update(pids)

    def continues(self, told: Continued) -> None:
        """Note that a new owner believes a note."""
        self._continued += 1

    def refuses(self, told: NoteRefused) -> None:
        """Note that a new owner does not believe a note."""
        self._refusals[told.reason] += 1
        self._refused[told.pid, told.partition] = told.at

    @property
    def letters(self) -> set[tuple[int, int]]:
        """Where the records were that are dead letters."""
        return self._letters

    def lettered(self, partition: int, offset: int) -> None:
        """Note that a record was given up, and is a dead letter."""
        self._letters.add((partition, offset))

    def batch(self, begun: BatchBegun) -> None:
        """Note that a node was given a batch."""
        self._names.setdefault(begun.pid, f"{begun.node}.{begun.generation} ({begun.pid})")
        partition = self._partitions[begun.partition]
        writer = self._writers[begun.pid, begun.partition]
        writer.in_batch.clear()
        if begun.first > partition.high:
            writer.replay = None
        elif writer.replay is None or begun.first != writer.last + 1:
            writer.replay = self._replay(begun, partition, writer)
            self._replays.append(writer.replay)
        elif writer.replay.late:
            self._check_late(writer.replay, begun.last)
        if partition.owner != begun.pid:
            writer.since = begun.at
        partition.owner = begun.pid
        partition.batch_at, partition.batch_first = begun.at, begun.first

    def handled(self, done: Handled) -> None:
        """Note that a node has handled a record."""
        partition = self._partitions[done.partition]
        writer = self._writers[done.pid, done.partition]
        offset, record = done.offset, done.record
        if partition.last_at is not None and done.at - partition.last_at >= GAP_S:
            partition.silences.append((partition.last_at, done.at, partition.high + 1))
        self._count[done.pid] += 1
        partition.times[offset] += 1
        known = partition.content.setdefault(offset, record)
        if known != record:
            self._corrupted.append(Incident(done.at, done.partition, offset, f"was {known}, and later {record}"))
        doubled = self._in_order(done, writer)
        self._in_order_of_its_key(done, partition, writer, doubled)
        partition.handled_at[offset] = done.at
        partition.handled_by[offset] = done.pid
        partition.high = max(partition.high, offset)
        partition.last_at = max(done.at, partition.last_at or done.at)
        writer.last = offset

    # -- what is asked ---------------------------------------------------------------------------------------------

    def high(self, partition: int) -> int:
        """Return the highest offset that was handled; -1: none."""
        return self._partitions[partition].high

    def progress(self) -> tuple[int, int]:
        """Return how many records were produced, and how many handled at least once."""
        return (
            sum(map(len, self._produced.values())),
            sum(len(partition.content) for partition in self._partitions.values())
            + sum(offset not in self._partitions[partition].content for partition, offset in self._letters),
        )

    def acknowledged(self) -> Iterator[tuple[int, int, Numbered]]:
        """Yield (partition, offset, record) of all that was produced."""
        for partition, records in self._produced.items():
            for offset, (record, _) in records.items():
                yield partition, offset, record

    def account(self) -> Account:
        """Judge all that was told."""
        lost, corrupted = [], list(self._corrupted)
        for number, records in self._produced.items():
            content = self._partitions[number].content
            for offset, (record, at) in records.items():
                if offset not in content:
                    if (number, offset) in self._letters:
                        continue
                    lost.append(Incident(at, number, offset, f"{record.key} {record.sequence} was never handled"))
                elif content[offset] != record:
                    corrupted.append(Incident(at, number, offset, f"{record} was handled as {content[offset]}"))
        for number, partition in self._partitions.items():
            for offset in partition.content.keys() - self._produced[number].keys():
                corrupted.append(Incident(0.0, number, offset, "was handled and never acknowledged to the producer"))
        for number, offset in self._letters:
            if offset in self._partitions[number].content:
                corrupted.append(Incident(0.0, number, offset, "is a dead letter, and was handled too"))
        for replay in self._replays:
            self._judge(replay)
        times = Counter(count for partition in self._partitions.values() for count in partition.times.values())
        wrong = [
            Incident(replay.at, replay.partition, replay.first, f"replay by pid {replay.pid}: {replay.wrong}")
            for replay in self._replays
            if replay.wrong and replay.records
        ]
        doubts = [known.doubt for known in self._partitions.values() if known.doubt is not None]
        return Account(
            produced=sum(map(len, self._produced.values())),
            handled=sum(times.values()),
            duplicates=sum((count - 1) * records for count, records in times.items()),
            lost=lost,
            corrupted=corrupted,
            reordered=list(self._reordered),
            out_of_bounds=[*self._out_of_bounds, *doubts, *wrong],
            replays=[replay for replay in self._replays if replay.records],
            silences=self._silences(),
            times=dict(sorted(times.items())),
            refusals=dict(self._refusals.most_common()),
            continued=self._continued,
            stale_answers=self._stale_answers,
            letters=len(self._letters),
            by_incarnation={self._names.get(pid, f"? ({pid})"): count for pid, count in self._count.items()},
        )

    # --------------------------------------------------------------------------------------------------------------

    def _in_order(self, done: Handled, writer: _Writer) -> bool:
        """Check the order inside a batch; whether this record was handled in it before."""
        key, sequence = done.record.key, done.record.sequence
        last = writer.in_batch.get(key)
        writer.in_batch[key] = sequence
        if last is None or sequence == last + 1:
            return False
        if sequence == last:
            what = f"{key} {sequence} was handled twice in one batch by pid {done.pid}"
            self._out_of_bounds.append(Incident(done.at, done.partition, done.offset, what))
            return True
        if sequence < last:
            what = f"{key} {sequence} came after {key} {last} in one batch of pid {done.pid}"
            self._reordered.append(Incident(done.at, done.partition, done.offset, what))
        return False

    def _in_order_of_its_key(self, done: Handled, partition: _Partition, writer: _Writer, doubled: bool) -> None:
        key, sequence = done.record.key, done.record.sequence
        frontier = self._frontier.get(key, -1)
        if sequence > frontier:
            self._skipped[key].update(range(frontier + 1, sequence))
            self._frontier[key] = sequence
        elif sequence in self._skipped[key]:
            self._skipped[key].discard(sequence)
            if writer.replay is None:  # a replay behind it handles the later ones again
                what = f"{key} {sequence} was handled for the first time after {key} {frontier}"
                self._reordered.append(Incident(done.at, done.partition, done.offset, what))
        elif writer.replay is None and partition.handled_by.get(done.offset, done.pid) != done.pid:
            # Another process has taken over since this batch began: the rest of it was in flight.
            replay = Replay(done.at, done.pid, done.partition, done.offset, partition.high, 0.0, partition.committed)
            writer.replay = replay
            replay.late = True
            replay.records = 1
            self._replays.append(replay)
        elif writer.replay is not None:
            writer.replay.records += 1
        elif not doubled:
            what = f"{key} {sequence} was handled again in the middle of a batch of pid {done.pid}"
            self._out_of_bounds.append(Incident(done.at, done.partition, done.offset, what))

    def _check_late(self, replay: Replay, last: int) -> None:
        if last - replay.first >= self.bound.held and not replay.wrong:
            replay.wrong = f"a former owner went on with more than the {self.bound.held} messages it had at hand"

    def _replay(self, begun: BatchBegun, partition: _Partition, writer: _Writer) -> Replay:
        before = partition.handled_at.get(begun.first, begun.at)
        uncommitted = Span(before, max(before, partition.batch_at))
        late = partition.owner != begun.pid and writer.last >= 0 and begun.first == writer.last + 1
        replay = Replay(
            at=begun.at,
            pid=begun.pid,
            partition=begun.partition,
            first=begun.first,
            before=partition.high,
            uncommitted_s=0.0 if begun.first >= partition.batch_first else uncommitted.length_s,
            committed=partition.committed,
            late=late,
        )
        replay.former = partition.owner
        replay.held_s = partition.batch_at - self._writers[partition.owner, begun.partition].since
        replay.outage = bool(_overlap(self._no_commits, Span(partition.batch_at - SETTLED_S, begun.at)))
        if late:
            self._check_late(replay, begun.last)
        elif begun.first < partition.committed and not self._stood_still(begun):
            replay.wrong = f"{partition.committed} was committed, as seen at the broker, and it goes back behind that"
        elif replay.uncommitted_s > self.bound.uncommitted_s + _overlap(self._no_commits, uncommitted):
            replay.wrong = (
                f"goes back to work finished {replay.uncommitted_s:.1f} s before the last batch; commits come every "
                f"{self.bound.uncommitted_s:.1f} s"
            )
        return replay

    def _judge(self, replay: Replay) -> None:
        """Find out why a partition went back, and hold it to the batch at work if its notes must have been believed."""
        died_at, kept = self._deaths.get(replay.former, (NEVER, False))
        if died_at > replay.at or replay.former == replay.pid:
            return  # as told when it happened: no one died
        if not kept or replay.former in self._spoilt:
            replay.cause = Cause.GONE
        elif self._refused.get((replay.pid, replay.partition), 0.0) > died_at:
            replay.cause = Cause.REFUSED
        elif replay.held_s < SETTLED_S or replay.outage:
            replay.cause = Cause.YOUNG
        else:
            replay.cause = Cause.KEPT
            if replay.uncommitted_s and not replay.wrong:
                replay.wrong = (
                    f"goes back behind the batch that pid {replay.former} had at work, to work finished "
                    f"{replay.uncommitted_s:.1f} s before it, although nothing refused its notes"
                )

    def _stood_still(self, begun: BatchBegun) -> bool:
        return any(span.start <= begun.at <= span.end + self.bound.uncommitted_s for span in self._suspended[begun.pid])

    def _silences(self) -> list[Silence]:
        found = []
        for number, partition in self._partitions.items():
            for start, end, following in partition.silences:
                produced = self._produced[number].get(following)
                there = produced[1] if produced is not None else start
                span = Span(max(start, there), end)
                if span.length_s >= GAP_S:
                    found.append(Silence(number, span))
        return sorted(found, key=lambda silence: -silence.span.length_s)


def _overlap(spans: Iterable[Span], span: Span) -> float:
    """Seconds of `span` that lie in any of `spans`."""
    total, reached = 0.0, span.start
    for other in sorted(spans, key=lambda each: each.start):
        start, end = max(other.start, reached), min(other.end, span.end)
        if end > start:
            total += end - start
            reached = end
    return total
