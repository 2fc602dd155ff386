"""A random history of crashes, decided by its seed: who does what, and what goes wrong, step by step."""

from __future__ import annotations

import random
from collections.abc import Callable

from benchmarks.crashes.broker import Broken, Broker, Request
from benchmarks.crashes.faults import FAULTS, outside_step
from benchmarks.crashes.life import Judge, JudgeEnd, Life, Stage
from benchmarks.crashes.log import KEY
from benchmarks.crashes.mapped import Mapped
from benchmarks.crashes.notes import Notes
from swarm_consumer import App, Batch, Consumer
from swarm_consumer._scheduling.remembrance import Remembrance
from swarm_consumer._scheduling.take_over import refusal, refusal_by_end
from swarm_consumer.routing.routes import Route

HARMLESS = ("kill", "torn", "stop", "revoke", "expire", "letters", "answer lost", "partial")
"""After these alone, only what was in hand is handled again."""
OTHERS = (
    "reset", "reset keeps metadata", "outsider", "recreate", "late", "cut", "revert", "metadata", "manual", "seek",
    "transactions", "back", "full", "gap", "reboot", "supervisor", "unanswered", "fail", "commit lost", "scribble",
    "two machines", "latest",
)  # fmt: skip
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
        judge_end: JudgeEnd = refusal_by_end,
        wrap: Wrap | None = None,
        features: frozenset[str] | None = None,
        without: frozenset[str] = frozenset(),
        promising: bool | None = None,
        traced: bool = False,
    ) -> None:
        self.seed, self.judge, self.judge_end, self.wrap = seed, judge, judge_end, wrap
        self.rng = rng = random.Random(seed)
        pick = rng.random
        drawn = {one for one in HARMLESS if pick() < 0.6}
        # None of the others, a few of them, or many: with many at once, each has little room.
        if (how_many := pick()) > 0.9:
            drawn |= {one for one in OTHERS if pick() < 0.3}
        elif how_many > 0.3:
            drawn |= {OTHERS[int(pick() * len(OTHERS))] for _ in range(1 + int(pick() * 4))}
        self.features = (frozenset(drawn) if features is None else features) - without
        is_promising = wrap is None if promising is None else promising
        self.harmless = is_promising and self.features.issubset(HARMLESS)
        self.has = self.features.__contains__
        self.transactions, self.manual = self.has("transactions"), self.has("manual")
        self.route = ROUTES[(1, 2, 4)[int(pick() * 3)], self.manual]
        self.now = 10**12
        self.broker = Broker()
        self.broker.log.append(int(pick() * 12))
        mapped = pick() < 0.35 or self.has("scribble")
        self.notes: Notes | Mapped = Mapped(self.clock, rng) if mapped else Notes(self.clock)
        self.elsewhere = Notes(self.clock, 1) if self.has("two machines") else self.notes
        self.flying: list[tuple[Life, Request]] = []
        self.generations = [0, 0]
        self.lives: list[Life | None] = [None, None]
        self.owner: Life | None = None  # whom the broker's owner belongs to; None: a consumer elsewhere
        self.last: Life | None = None  # who has opened the partition last
        self.outside: list[int] | None = None  # the offset of a consumer elsewhere
        self.trace: list[str] | None = [] if traced else None
        self.faults = [fault for name, fault in FAULTS.items() if self.has(name)]

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
            fault(self)
            self.tell(fault.__name__)
        elif self.outside is not None and what < 0.4:
            outside_step(self, self.outside)
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
        memory = self.elsewhere if life.node else self.notes
        if self.has("torn") and life.partition is not None and life.stage is Stage.OPEN:
            memory.tear(life.partition.place, self.rng.random())
        memory.died(life.node, life.generation)
        if self.lives[life.node] is life:
            self.lives[life.node] = None
