"""One process of the swarm: the real partitions, ledger and commit turns, driven in steps that a kill may separate.

What the connection does with its client is repeated here in short: `rebalances.assign`, `revoke` and `lose`,
`commits.send` and `report`, `seeks.seek`, and the fetching of `intake`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from benchmarks.crashes.broker import Kept, Request
from swarm_consumer._scheduling.commit_turns import CommitTurns
from swarm_consumer._scheduling.going_back import Beginning, go_back
from swarm_consumer._scheduling.lane import Lane, LaneState
from swarm_consumer._scheduling.ledger import Committable, Key, Ledger
from swarm_consumer._scheduling.partition import Partition
from swarm_consumer._scheduling.partitions import Partitions
from swarm_consumer._scheduling.remembrance import Place, Remembered, Remembrance, is_token
from swarm_consumer._scheduling.run import Run
from swarm_consumer._scheduling.take_over import Refusal

if TYPE_CHECKING:
    from benchmarks.crashes.history import History

KEY = ("flights", 0)
SCOPE = "broker\0group"
Judge = Callable[[Remembered, int | None, str | None, int], Refusal | None]


class Stage(Enum):
    """What a life has of the partition."""

    AWAY = auto()
    JOINED = auto()  # assigned, nothing is known yet
    ASKED = auto()  # the committed offset is known
    JUDGED = auto()  # it is decided where to start
    OPEN = auto()
    LEAVING = auto()  # given up, and the last commit is under way


class Life:
    """A process of one node, until it is killed."""

    def __init__(self, history: History, node: int, generation: int, memory: Remembrance) -> None:
        self.history, self.broker, self.rng = history, history.broker, history.rng.random
        self.node, self.generation, self.memory = node, generation, memory
        self.partitions = Partitions(Ledger())
        self.partitions.claim = self._claim
        self.turns = CommitTurns(0.05, history.now_s)
        self.stage = Stage.AWAY
        self.member: object | None = None
        self.dead = self.stopped = self.wants_to_leave = False
        self.run: Run | None = None
        self.worked = 0  # how many records of the run the handler has finished
        self.partition: Partition | None = None
        self.lane: Lane | None = None
        self.answers: list[tuple[Request, bool]] = []  # of the broker, not read yet
        self.sure_epoch: int | None = None  # the epoch under which a commit was seen
        self.released = False
        self.again: tuple[int, int] | None = None
        self.at = self.cuts = 0
        self.at_epoch: int | None = None
        self.log = self.fetched = self.broker.log
        """Which incarnation the positions mean, and which one the client fetches."""
        self.found: Kept | None = None
        self.placed: tuple[int, int | None] | None = None
        self.unanswered = False
        self.promised: tuple[Life | None, int | None] = None, None

    def _claim(self, key: Key) -> Place | None:
        return self.memory.claim(SCOPE, key, positions=not self.history.transactions)

    # -- one step ------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Do one thing of those that are possible now."""
        stage, rng = self.stage, self.rng
        if self.run is not None and (stage is not Stage.OPEN or rng() < 0.5):
            self._handle(self.run)
        elif self.answers and rng() < 0.4:
            self._read_answer()
        elif stage is Stage.OPEN:
            self._own()
        elif stage is Stage.AWAY:
            self._join()
        elif stage is Stage.JOINED:
            self.found, self.promised = self.broker.committed, (self.history.last, self.history.promised())
            self.unanswered = self.history.has("unanswered") and rng() < 0.2
            self.stage = Stage.ASKED
        elif stage is Stage.ASKED:
            self._decide()
        elif stage is Stage.JUDGED:
            self._open()
        else:
            self._left()

    def _own(self) -> None:
        history, partition, rng = self.history, self.partition, self.rng
        assert partition is not None
        assert self.lane is not None
        if self.member is not self.broker.owner and rng() < 0.3:
            self._lose()
        elif self.wants_to_leave:
            self._revoke()
        elif rng() < 0.3:
            self._commit()
        elif partition.pending_seek is not None and self.run is None:
            if history.now_s >= partition.seek_at or rng() < 0.5:
                self._seek(partition)
        elif self.lane.state is LaneState.READY:
            self._take(self.lane)
        elif self.lane.state is LaneState.WAITING:
            self.partitions.wake(history.now_s + 60.0)
        elif self.run is None and history.has("back") and rng() < 0.15:
            go_back(self.partitions, partition, history.now_s)
        elif self.run is None and history.manual and rng() < 0.4:
            self._mark_by_hand(partition)
        else:
            self._fetch(partition)

    # -- assignment ----------------------------------------------------------------------------------------------

    def _join(self) -> None:
        broker, owner = self.broker, self.history.owner
        if broker.owner is not None and (owner is None or not (owner.dead or owner.stopped)):
            return  # a live one; the others are dropped after their session, or take their static id over
        self.member = broker.owner = object()
        self.history.owner = self
        self.wants_to_leave = False
        self.stage = Stage.JOINED

    def _decide(self) -> None:
        self.placed = None
        self.stage = Stage.JUDGED
        note = None if self.unanswered else self.memory.recall(SCOPE, [KEY]).get(KEY)
        if note is None:
            return
        found, history = self.found, self.history
        offset, metadata = (None, None) if found is None else (found.offset, found.metadata)
        why = history.judge(note, offset, metadata, history.now)
        self.broker.counts["taken over" if why is None else why.name] += 1
        if why is None:
            assert note.position is not None, "a note without a position is taken over"
            self.placed = note.position, note.leader_epoch

    def _open(self) -> None:
        history, found, placed = self.history, self.found, self.placed
        before, promised = self.promised
        if before is not history.last or history.promised() is None:
            promised = None  # someone else was there meanwhile, or it was given up
        history.last = self
        partition = self.partition = self.partitions.assign(KEY, history.route, history.now_s)
        (self.lane,) = partition.lanes
        self.stage, self.released, self.sure_epoch, self.again = Stage.OPEN, False, None, None
        start = placed[0] if placed is not None else found.offset if found is not None else None
        sure = not history.transactions
        partition.start_unknown = self.unanswered or (start is None and sure)
        at_once = False
        if self.unanswered:
            found = self.broker.committed  # the client asks by itself
            self.at, self.at_epoch = (0, None) if found is None else (found.offset, found.epoch)
        else:
            self.at, self.at_epoch = placed or ((0, None) if found is None else (found.offset, found.epoch))
            replaceable = found is not None and (not found.metadata or is_token(found.metadata))
            at_once = placed is not None or (sure and replaceable)
            if start is not None:
                self.partitions.begin(partition, start, self.at_epoch, commit=at_once)
        self.log, self.cuts = self.broker.log, self.broker.log.cuts
        if found is not None:
            self.log, self.cuts = found.log, found.cuts
        self.fetched = self.log
        if at_once:
            self._commit_now()
        if self.member is not self.broker.owner:
            return  # it was replaced meanwhile, and nothing of what it does counts
        self.broker.start_at(self.at, self.at_epoch, found)
        if found is not None and self.at < found.offset:
            history.broken(f"an owner starts at {self.at}, although {found.offset} is committed")
        if promised is not None and self.at < promised:
            history.broken(f"an owner starts at {self.at}, and the one before was at {promised}")

    def _lose(self) -> None:
        self.partitions.close(KEY, tell=False)
        self.partitions.ledger.release(KEY)
        self.turns.forget([KEY])
        self.stage, self.member = Stage.AWAY, None

    def _revoke(self) -> None:
        if self.run is not None and self.rng() < 0.8:
            self._handle(self.run)
            return
        if self.rng() < 0.8:
            self.history.deliver_all(self)
        ledger = self.partitions.ledger
        moved = ledger.take_committable()
        self.turns.moved((one.topic, one.partition) for one in moved)
        left = self.turns.wanted([KEY]) or self.turns.under_way(KEY)
        last = ledger.present(KEY) if left else None
        self.turns.forget([KEY])
        self.partitions.close(KEY, tell=False)
        ledger.release(KEY, gracefully=self.run is None)
        self.released = self.run is None
        self.stage = Stage.LEAVING
        if last is not None:
            self._send(last)

    def _left(self) -> None:
        """The last commit is answered, or it is given up."""
        self.history.deliver_all(self)
        if self.broker.owner is self.member:
            self.broker.owner = None
        self.stage, self.member = Stage.AWAY, None

    # -- records -------------------------------------------------------------------------------------------------

    def _fetch(self, partition: Partition) -> None:
        log = self.broker.log
        if self.fetched is not log:
            self.fetched = log
            if self.at <= log.end:  # nothing shows the client that these are other records
                self.broker.counts["exposed: a client continues in a new topic"] += log.excuse(self.at)
                self.at_epoch = None
        if not log.holds(self.at, self.at_epoch):
            self.at, self.at_epoch = 0, None
        elif self.at_epoch is None and self.cuts != log.cuts:
            self.broker.counts["exposed: cut, without an epoch"] += log.excuse(self.at)
        records = log.records[self.at : self.at + 1 + int(self.rng() * 5)]
        if not records:
            return
        self.at, self.at_epoch = self.at + len(records), records[-1].leader_epoch()
        if self.log is not log:
            self.log, self.cuts, self.again = log, log.cuts, None
        self.partitions.receive(partition, records)  # type: ignore[arg-type]
        if partition.went_back:
            partition.went_back = False
            self.cuts = log.cuts
            self._commit_now()

    def _take(self, lane: Lane) -> None:
        self.run = self.partitions.take(lane, self.history.now_s)
        self.worked = 0

    def _handle(self, run: Run) -> None:
        history, rng, records = self.history, self.rng, run.records
        if rng() < 0.6 and self.worked < len(records):
            until = min(len(records), self.worked + 1 + int(rng() * 3))
            self._work(records, until)
            return
        if self.worked and history.has("partial") and rng() < 0.4:
            self._mark(run, records[int(rng() * self.worked)])
            return
        failed = diverted = False
        if history.transactions and rng() < 0.7:
            if not self._transaction(run):
                return
        elif history.has("fail") and rng() < 0.2:
            failed = True
        elif history.has("letters") and len(records) == 1 and rng() < 0.3:
            failed = diverted = True
            self._work(records, 1)
        else:
            if self.worked < len(records):
                self._work(records, len(records))
                return  # a kill may come before its end is noted
            if history.has("seek") and rng() < 0.3:
                run.seek = int(rng() * (self.broker.log.end + 3))
        self.run = None
        self.partitions.finish(run, failed, history.now_s, diverted=diverted)

    def _work(self, records: list[Any], until: int) -> None:
        for record in records[self.worked : until]:
            self.broker.log.handled(record, self.history.now)
        self.worked = until

    def _mark(self, run: Run, record: object) -> None:
        metadata = "page 7" if self.history.has("metadata") and self.rng() < 0.5 else None
        ledger = self.partitions.ledger
        ledger.mark(KEY, run.epoch, record.offset() + 1, metadata, record.leader_epoch())  # type: ignore[attr-defined]

    def _mark_by_hand(self, partition: Partition) -> None:
        """With manual marking: what a handler has seen before is done when it says so."""
        entry = self.partitions.ledger._entries[KEY]
        if entry.begun is None or entry.delivered is None:
            return
        log, until = self.log, entry.begun + int(self.rng() * (entry.delivered - entry.begun)) + 1
        if until <= min(entry.delivered, log.end):
            for record in log.records[entry.begun : until]:
                log.handled(record, self.history.now)
            self.partitions.ledger.mark(KEY, partition.epoch, until, None, log.records[until - 1].leader_epoch())

    def _transaction(self, run: Run) -> bool:
        """Commit the run's position in a transaction, once no commit outside of one is under way."""
        self._work(run.records, len(run.records))
        ledger, turns, record = self.partitions.ledger, self.turns, run.records[-1]
        if not ledger.owns(KEY, run.epoch):
            return True
        turns.moved((one.topic, one.partition) for one in ledger.take_committable())
        if turns.wanted([KEY]) or turns.under_way(KEY):
            turns.at_once([KEY], self.history.now_s)
            self._commit()
            return False
        ledger.plain_marks_arrived(KEY)
        if self.member is not self.broker.owner:
            return True
        offset, epoch = (record.offset() or 0) + 1, record.leader_epoch()
        self.broker.take(Request(self.member, Kept(offset, None, epoch, self.log, self.cuts), frozenset(), self.again))
        self.again = None
        if self.rng() < 0.2:
            self.history.kill(self)  # the broker has committed, and no one here knows
            return False
        ledger.committed(KEY, run.epoch, offset, None, epoch)
        return True

    def _seek(self, partition: Partition) -> None:
        target, log = partition.pending_seek, self.broker.log
        place = 0 if target > log.end else int(target)
        self.at, self.at_epoch, self.cuts = place, None, log.cuts
        self.log = self.fetched = log
        if not isinstance(target, Beginning):
            self.again = place, self.history.now
            if self.member is self.broker.owner:
                log.excuse(place)
        self.partitions.sought(partition, None if isinstance(target, Beginning) else place)
        self._commit_now()

    # -- commits -------------------------------------------------------------------------------------------------

    def _commit_now(self) -> None:
        self.turns.moved((one.topic, one.partition) for one in self.partitions.ledger.take_committable())
        self.partitions.ledger.committing(KEY)
        self.turns.at_once([KEY], self.history.now_s)
        if self.rng() < 0.7:  # otherwise killed before it is sent, or the thread is slow
            self._commit()

    def _commit(self) -> None:
        ledger, turns = self.partitions.ledger, self.turns
        turns.moved((one.topic, one.partition) for one in ledger.take_committable())
        for key in turns.due(self.history.now_s):
            if (present := ledger.present(key)) is not None:
                ledger.committing(key)
                self._send(present)
            else:
                turns.forget([key])

    def _send(self, one: Committable) -> None:
        places = frozenset([(KEY, one.offset)])
        self.turns.sent(places, self.history.now_s)
        kept = Kept(one.offset, one.metadata, one.leader_epoch, self.log, self.cuts)
        epoch = self.partition.epoch if self.partition is not None else 0
        self.history.flying.append((self, Request(self.member, kept, places, self.again, epoch)))

    def _read_answer(self) -> None:
        request, taken = self.answers.pop(0)
        self.turns.answered(request.places, () if taken else (KEY,), self.history.now_s)
        if taken:
            self.partitions.ledger.taken(KEY, request.kept.offset, request.kept.metadata)
            if self.partition is not None and request.epoch == self.partition.epoch:
                self.sure_epoch = request.epoch
