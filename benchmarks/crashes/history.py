"""A random history of crashes, decided by its seed: who does what, and what goes wrong, step by step."""

from __future__ import annotations

import random
from collections.abc import Callable

from benchmarks.crashes.broker import Broken, Broker, Kept, Request
from benchmarks.crashes.life import KEY, Judge, Life, Stage
from benchmarks.crashes.mapped import Mapped
from benchmarks.crashes.notes import Notes
from swarm_consumer import App, Batch, Consumer
from swarm_consumer._scheduling.remembrance import CLAIM_PREFIX, Remembrance
from swarm_consumer._scheduling.take_over import refusal
from swarm_consumer.routing.routes import Route

HARMLESS = ("kill", "stop", "revoke", "expire", "letters", "answer lost", "partial")
"""After these alone, only what was in hand is handled again."""
OTHERS = (
    "reset", "reset keeps metadata", "outsider", "recreate", "late", "cut", "revert", "metadata", "manual", "seek",
    "transactions", "back", "full", "gap", "reboot", "supervisor", "unanswered", "fail", "commit lost", "scribble",
    "two machines",
)  # fmt: skip
MINUTES_11 = 660 * 10**9
Wrap = Callable[[Remembrance], Remembrance]


class _Handler(Consumer):
    def consume(self, messages: Batch[object]) -> None:
        """Never called: the history says what a handler does."""


def _routes() -> dict[tuple[int, bool], Route]:
    found = {}
    for most in (1, 2, 4):
        for manual in (False, True):
            app = App("crashes", {"bootstrap.servers": "nowhere:1"})
            app.topic(KEY[0], max_messages=most, retry_backoff=1.0, manual_marking=manual)(_Handler)
            found[most, manual] = app.routes[0]
    return found


ROUTES = _routes()


class History:
    """One broker, two nodes, and everyone else."""

    def __init__(
        self,
        seed: int,
        *,
        judge: Judge = refusal,
        wrap: Wrap | None = None,
        features: frozenset[str] | None = None,
        without: frozenset[str] = frozenset(),
        promising: bool | None = None,
        traced: bool = False,
    ) -> None:
        self.seed, self.judge, self.wrap = seed, judge, wrap
        self.rng = rng = random.Random(seed)
        pick = rng.random
        harmless = pick() < 0.3
        drawn = {one for one in HARMLESS if pick() < 0.6}
        drawn |= {one for one in OTHERS if pick() < 0.3 and not harmless}
        self.features = (frozenset(drawn) if features is None else features) - without
        is_promising = wrap is None if promising is None else promising
        self.harmless = is_promising and self.features.issubset(HARMLESS)
        self.has = self.features.__contains__
        self.transactions, self.manual = self.has("transactions"), self.has("manual")
        self.route = ROUTES[(1, 2, 4)[int(pick() * 3)], self.manual]
        self.now = 10**12
        self.broker = Broker()
        self.broker.log.append(int(pick() * 12))
        mapped = pick() < 0.5 or self.has("scribble")
        self.notes: Notes | Mapped = Mapped(self.clock, rng) if mapped else Notes(self.clock)
        self.elsewhere = Notes(self.clock, 1) if self.has("two machines") else self.notes
        self.flying: list[tuple[Life, Request]] = []
        self.generations = [0, 0]
        self.lives: list[Life | None] = [None, None]
        self.owner: Life | None = None  # whom the broker's owner belongs to; None: a consumer elsewhere
        self.last: Life | None = None  # who has opened the partition last
        self.outside: list[int] | None = None  # the offset of a consumer elsewhere
        self.trace: list[str] | None = [] if traced else None
        self.faults = [getattr(self, f"_{one.replace(' ', '_')}") for one in FAULTS if self.has(one)]

    def clock(self) -> int:
        """Monotonic nanoseconds."""
        return self.now

    @property
    def now_s(self) -> float:
        """Monotonic seconds."""
        return self.now / 1e9

    def run(self) -> Broken | None:
        """Run it; return what it broke."""
        pick = self.rng.random
        try:
            for _ in range(40 + int(pick() * 160)):
                self.now += 1 + int(pick() * 30_000_000)
                self._step(pick())
        except Broken as error:
            return error
        except (AssertionError, TypeError) as error:
            return Broken(f"{type(error).__name__}: {error}")
        return None

    def _step(self, what: float) -> None:
        pick = self.rng.random
        if what < 0.05:
            self.broker.log.append(1 + int(pick() * 5))
        elif what < 0.13:
            self._deliver()
        elif what < 0.17 and self.faults:
            fault = self.faults[int(pick() * len(self.faults))]
            fault()
            self.tell(fault.__name__)
        elif self.outside is not None and what < 0.4:
            self._outside_step(self.outside)
        else:
            node = int(pick() * 2)
            if self.owner is not None and self.lives[self.owner.node] is self.owner and pick() < 0.7:
                node = self.owner.node
            life = self.lives[node]
            if life is None:
                self._fork(node)
            elif not life.stopped:
                if self.trace is not None:
                    self.tell(f"{life.node}.{life.generation} {life.stage.name}")
                life.step()

    def tell(self, what: str) -> None:
        """Keep the course, if it is wanted."""
        if self.trace is not None:
            kept, note = self.broker.committed, self.notes.newest()
            committed = None if kept is None else (kept.offset, kept.metadata)
            noted = None if note is None else (note.life, note.token[-12:], note.position, note.committed)
            self.trace.append(f"{what}: end {self.broker.log.end}, committed {committed}, newest note {noted}")

    def broken(self, why: str) -> None:
        """End the history."""
        raise Broken(why)

    def promised(self) -> int | None:
        """Where the next owner has to start at least, after nothing but deaths; None if nothing is promised."""
        last = self.last
        if not self.harmless or last is None or last.released or last.partition is None:
            return None
        if last.sure_epoch != last.partition.epoch:
            return None  # no commit was seen
        if (note := self.notes.newest()) is None or note.life != (last.node, last.generation):
            self.broker.counts["a note was hidden: by a process that has lost the partition"] += 1
            return None
        return last.partitions.ledger.position(KEY)

    # -- the network -----------------------------------------------------------------------------------------------

    def _deliver(self) -> None:
        if self.flying:
            life, _ = self.flying[int(self.rng.random() * len(self.flying))]
            self._deliver_first(life)

    def deliver_all(self, life: Life) -> None:
        """Let everything of a life that is under way arrive."""
        while any(one is life for one, _ in self.flying):
            self._deliver_first(life)

    def _deliver_first(self, life: Life) -> None:
        at = next(index for index, (one, _) in enumerate(self.flying) if one is life)
        _, request = self.flying.pop(at)
        pick = self.rng.random
        if self.has("commit lost") and pick() < 0.2:
            taken = False
        else:
            taken = self.broker.take(request)
            if self.has("answer lost") and pick() < 0.1:
                return
        if not life.dead:
            life.answers.append((request, taken))

    # -- faults ----------------------------------------------------------------------------------------------------

    def _fork(self, node: int) -> None:
        self.generations[node] += 1
        memory = (self.elsewhere if node else self.notes).of_life(node, self.generations[node])
        self.lives[node] = Life(self, node, self.generations[node], memory if self.wrap is None else self.wrap(memory))

    def kill(self, life: Life) -> None:
        """End a life at once; what it has sent may still arrive, until it is fenced."""
        life.dead = True
        (self.elsewhere if life.node else self.notes).died(life.node, life.generation)
        if self.lives[life.node] is life:
            self.lives[life.node] = None

    def _some_life(self) -> Life | None:
        owner = self.owner
        if owner is not None and not owner.dead and self.rng.random() < 0.8:
            return owner
        return self.lives[int(self.rng.random() * 2)]

    def _kill(self) -> None:
        if (life := self._some_life()) is not None:
            self.kill(life)

    def _stop(self) -> None:
        life = self._some_life()
        if life is not None:
            life.stopped = not life.stopped
        for one in self.lives:
            if one is not None and one.stopped and self.rng.random() < 0.3:
                one.stopped = False

    def _revoke(self) -> None:
        if self.owner is not None and self.owner.stage is Stage.OPEN:
            self.owner.wants_to_leave = True

    def _expire(self) -> None:
        """A session ends although its member lives; it learns that later."""
        if self.owner is not None:
            self.broker.owner = None

    def _is_empty(self) -> bool:
        """Whether the group has no member; dead and stopped ones are dropped."""
        if self.outside is not None:
            return False
        if self.broker.owner is not None and (self.owner is None or self.owner.dead or self.owner.stopped):
            self.broker.owner = None
        return self.broker.owner is None

    def _reset(self) -> None:
        if self._is_empty():
            target = int(self.rng.random() * (self.broker.log.end + 1))
            self.broker.reset(target, self.now, (None, "")[int(self.rng.random() * 2)])

    def _reset_keeps_metadata(self) -> None:
        """With a tool that writes back what it has read, to below what the last owner has seen."""
        note, kept = self.notes.newest(), self.broker.committed
        if kept is not None and note is not None and note.committed and self._is_empty():
            target = int(self.rng.random() * note.committed)
            if target <= self.broker.log.end:
                self.broker.reset(target, self.now, kept.metadata)

    def _outsider(self) -> None:
        if self._is_empty():
            kept = self.broker.committed
            start = 0 if kept is None or not self.broker.log.holds(kept.offset, kept.epoch) else kept.offset
            self.broker.start_at(start, None if kept is None else kept.epoch, kept)
            self.outside, self.broker.owner, self.owner = [start], object(), None

    def _outside_step(self, at: list[int]) -> None:
        broker, pick = self.broker, self.rng.random
        log = broker.log
        metadata = (None, "", "outside", f"{CLAIM_PREFIX}other")[int(pick() * 4)]
        if at[0] > log.end:
            at[0] = 0
        if pick() < 0.3:
            self.outside, broker.owner = None, None
        elif pick() < 0.2:
            at[0] = int(pick() * (log.end + 1))  # forwards or back
            broker.reset(at[0], self.now, metadata)
        else:
            until = min(log.end, at[0] + int(pick() * 4))
            log.excuse(at[0])  # it may have met a new topic without knowing
            for record in log.records[at[0] : until]:
                log.handled(record, self.now)
            at[0] = until
            if pick() < 0.6:
                epoch = log.records[until - 1].leader_epoch() if until else None
                broker.keep(Kept(until, metadata, epoch, log, log.cuts))

    def _recreate(self) -> None:
        self.broker.recreate(int(self.rng.random() * 30))
        if not self.has("late"):
            self.broker.forget()

    def _late(self) -> None:
        """The broker drops the offsets of a topic that is gone."""
        kept = self.broker.committed
        if kept is not None and kept.log is not self.broker.log:
            self.broker.forget()

    def _cut(self) -> None:
        log = self.broker.log
        log.cut(int(self.rng.random() * (log.end + 1)))
        log.append(int(self.rng.random() * 8))

    def _revert(self) -> None:
        """The broker loses its last commit."""
        broker = self.broker
        if broker.earlier:
            broker.committed = broker.earlier.pop()
            if broker.committed.log is broker.log:
                broker.log.excuse(broker.committed.offset)

    def _full(self) -> None:
        self.notes.full = not self.notes.full

    def _gap(self) -> None:
        self.now += MINUTES_11

    def _reboot(self) -> None:
        self._all_die()
        self.now = 10**9
        if isinstance(self.notes, Mapped) or self.rng.random() < 0.5:
            self.notes.wipe()

    def _scribble(self) -> None:
        self.notes.scribble()

    def _supervisor(self) -> None:
        self._all_die()
        self.generations = [0, 0]
        if self.rng.random() < 0.5:  # the memory was not in a file
            self.notes.wipe()
        else:
            self.notes.another_supervisor()

    def _all_die(self) -> None:
        for life in self.lives:
            if life is not None:
                self.kill(life)


FAULTS = (
    "kill", "stop", "revoke", "expire", "reset", "reset keeps metadata", "outsider", "recreate", "late", "cut",
    "revert", "full", "gap", "reboot", "supervisor", "scribble",
)  # fmt: skip
"""Features that are events; the others are how lives and the network behave."""
