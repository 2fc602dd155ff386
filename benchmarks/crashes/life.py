"""One process of the swarm: the real partitions, ledger and commit turns, driven in steps that a kill may separate.

What the connection does with its client is repeated here in short: `rebalances.assign`, `revoke` and `lose`,
`commits.send` and `report`, `seeks.seek`, and the fetching of `intake`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from benchmarks.crashes import handling
from benchmarks.crashes.broker import Kept, Request
from benchmarks.crashes.log import KEY, SCOPE
from swarm_consumer._scheduling.commit_turns import CommitTurns
from swarm_consumer._scheduling.going_back import go_back
from swarm_consumer._scheduling.lane import Lane, LaneState
from swarm_consumer._scheduling.ledger import Committable, Key, Ledger
from swarm_consumer._scheduling.partition import Partition
from swarm_consumer._scheduling.partitions import Partitions
from swarm_consumer._scheduling.remembrance import Place, Remembered, Remembrance, is_token
from swarm_consumer._scheduling.run import Run
from swarm_consumer._scheduling.take_over import Refusal

if TYPE_CHECKING:
    from benchmarks.crashes.history import History

JudgeEnd = Callable[[Remembered, int | None], Refusal | None]
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
        self.given: dict[int, Any] = {}
        """Under manual marking: the last record that a handler was given at an offset."""
        self.at = self.cuts = 0
        self.at_epoch: int | None = None
        self.log = self.fetched = self.broker.log
        """Which incarnation the positions mean, and which one the client fetches."""
        self.crossed = -1, self.log
        """Up to this offset the positions mean an earlier one."""
        self.found: Kept | None = None
        self.placed: tuple[int, int | None] | None = None
        self.unanswered = False
        self.decided_cuts = 0
        self.new_here = False
        """Nothing was fetched since it was assigned."""
        self.promised: tuple[Life | None, int | None] = None, None

    def _claim(self, key: Key) -> Place | None:
        return self.memory.claim(SCOPE, key, positions=not self.history.transactions)

    # -- one step ------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Do one thing of those that are possible now."""
        stage, rng = self.stage, self.rng
        if self.run is not None and (stage is not Stage.OPEN or rng() < 0.5):
            handling.handle(self, self.run)
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
            self.commit()
        elif partition.pending_seek is not None and self.run is None:
            if history.now_s >= partition.seek_at or rng() < 0.5:
                handling.seek(self, partition)
        elif self.lane.state is LaneState.READY:
            handling.take(self, self.lane)
        elif self.lane.state is LaneState.WAITING:
            self.partitions.wake(history.now_s + 60.0)
        elif self.run is None and history.has("back") and rng() < 0.15:
            go_back(self.partitions, partition, history.now_s)
        elif self.run is None and history.manual and rng() < 0.4:
            handling.mark_by_hand(self, partition)
        else:
            handling.fetch(self, partition)

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
        self.placed, self.decided_cuts = None, self.broker.log.cuts
        self.stage = Stage.JUDGED
        note = None if self.unanswered else self.memory.recall(SCOPE, [KEY]).get(KEY)
        if note is None:
            return
        found, history = self.found, self.history
        offset, metadata = (None, None) if found is None else (found.offset, found.metadata)
        why = history.judge(note, offset, metadata, history.now)
        if why is None:
            is_silent = history.has("unanswered") and self.rng() < 0.2
            why = history.judge_end(note, None if is_silent else self.broker.log.end)
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
        self.new_here = True
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
        self.fetched, self.crossed = self.log, (-1, self.log)
        if at_once:
            self.commit_now()
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
            handling.handle(self, self.run)
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

    # -- commits -------------------------------------------------------------------------------------------------

    def commit_now(self) -> None:
        """Commit the position at once, moved or not."""
        self.turns.moved((one.topic, one.partition) for one in self.partitions.ledger.take_committable())
        self.partitions.ledger.committing(KEY)
        self.turns.at_once([KEY], self.history.now_s)
        if self.rng() < 0.7:  # otherwise killed before it is sent, or the thread is slow
            self.commit()

    def commit(self) -> None:
        """Commit what is due."""
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
        kept = self.kept(one.offset, one.metadata, one.leader_epoch)
        epoch = self.partition.epoch if self.partition is not None else 0
        self.history.flying.append((self, Request(self.member, kept, places, self.again, epoch)))

    def kept(self, offset: int, metadata: str | None, epoch: int | None) -> Kept:
        """Return what a commit is to keep; up to where the client crossed into a new topic it means the old one."""
        log = self.crossed[1] if offset <= self.crossed[0] else self.log
        return Kept(offset, metadata, epoch, log, self.cuts)

    def _read_answer(self) -> None:
        request, taken = self.answers.pop(0)
        self.turns.answered(request.places, () if taken else (KEY,), self.history.now_s)
        if taken:
            self.partitions.ledger.taken(KEY, request.kept.offset, request.kept.metadata)
            if self.partition is not None and request.epoch == self.partition.epoch:
                self.sure_epoch = request.epoch
