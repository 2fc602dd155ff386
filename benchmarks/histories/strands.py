"""Simulated threads: greenlets over a simulated clock, one at a time, the next chosen at random.

A history decides by its seed alone where a thread is left for another: at each lock, queue, wait and sleep. Time passes
only when nothing can run, then at once up to the next deadline. Where nothing can run and no deadline is left, the
threads wait for each other for ever: `Hang`.
"""

import heapq
import itertools
import random
from asyncio.events import _get_running_loop, _set_running_loop
from collections.abc import Callable

from greenlet import GreenletExit, getcurrent, greenlet

MOST_EXITS = 30
"""How often a strand that is being killed may catch its end before it is left behind."""


class Hang(Exception):
    """Every thread waits, and nothing will ever come."""


class Endless(Exception):
    """The history took more steps than any does that gets on."""


class Strand:
    """A simulated thread of one node (None: of the world around it)."""

    __slots__ = ("dying", "ended", "error", "exits", "greenlet", "joiners", "name", "node", "parked", "token", "woken")

    def __init__(self, name: str, node: object) -> None:
        self.name = name
        self.node = node
        self.token = 0  # counts the waits: a deadline of an earlier one is void
        self.parked = False
        self.woken = False
        self.ended = False
        self.dying = False
        self.exits = 0
        self.error: BaseException | None = None
        self.joiners: list[Strand] = []
        self.greenlet: greenlet = None  # type: ignore[assignment]


class Scheduler:
    """Runs strands, one at a time, by the clock `now`."""

    def __init__(self, rng: random.Random, preemption: float, most_steps: int) -> None:
        self.rng = rng
        self.preemption = preemption
        self.now = 1000.0
        self.steps = 0
        self.glances = 0  # at the clock, since the strand began to run
        self.spins = 0  # how often one looked at nothing else
        self.most_steps = most_steps
        self.hub = getcurrent()
        self.current: Strand | None = None
        self.ready: list[Strand] = []
        self.timers: list[tuple[float, int, Strand, int]] = []
        self.strands: list[Strand] = []
        self.left_behind: list[Strand] = []
        self.finished = False
        self._doomed: list[object] = []
        self._numbers = itertools.count()

    # -- called by strands ---------------------------------------------------------------------------------------

    def spawn(self, target: Callable[[], object], name: str, node: object = None) -> Strand:
        """Begin a strand; one of the same node as the strand that asks, where none is given."""
        if node is None and self.current is not None:
            node = self.current.node
        strand = Strand(name, node)
        # Of a killed process nothing starts: what its unwinding threads still start unwinds as well.
        strand.dying = self.current is not None and self.current.dying and node is self.current.node
        strand.greenlet = greenlet(lambda: self._body(strand, target), self.hub)
        self.strands.append(strand)
        self.ready.append(strand)
        return strand

    def block(self, timeout: float | None = None) -> bool:
        """Leave the strand until `wake` (True) or for `timeout` seconds (False)."""
        me = self.current
        assert me is not None, "only a strand can wait"
        if me.dying:
            self.exit(me)
        me.token += 1
        if timeout is not None and timeout != float("inf"):
            heapq.heappush(self.timers, (self.now + max(0.0, timeout), next(self._numbers), me, me.token))
        me.parked = True
        self._leave()
        return me.woken

    def pause(self) -> None:
        """Let another strand run, if there is one."""
        me = self.current
        if me is None or me.dying or (not self.ready and not self._doomed):
            return
        self.ready.append(me)
        self._leave()

    def preempt(self) -> None:
        """Let another strand run, sometimes."""
        if self.ready and self.rng.random() < self.preemption:
            self.pause()

    def wake(self, strand: Strand) -> None:
        """End a strand's wait."""
        if strand.parked:
            strand.parked = False
            strand.woken = True
            self.ready.append(strand)

    def kill(self, node: object) -> None:
        """End all strands of a node where they are, as SIGKILL does."""
        self._doomed.append(node)
        self.pause()

    def exit(self, strand: Strand) -> None:
        """End a strand that is being killed, wherever it tries to wait."""
        strand.exits += 1
        if strand.exits > MOST_EXITS:  # it catches everything and goes on: it stays where it is
            self.left_behind.append(strand)
            while True:
                self.hub.switch()
        raise GreenletExit

    # -- the hub -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run strands until `finished`. Raises Hang and Endless."""
        ready, timers, rng = self.ready, self.timers, self.rng
        while not self.finished:
            if self._doomed:
                self._kill()
            if ready:
                index = int(rng.random() * len(ready)) if len(ready) > 1 else 0
                strand = ready[index]
                ready[index] = ready[-1]
                ready.pop()
                if strand.ended or strand.dying:
                    continue
                self.steps += 1
                if self.steps > self.most_steps:
                    raise Endless(f"{self.steps} steps, and no end: {self.describe()}")
                self.current = strand
                self.glances = 0
                strand.greenlet.switch()
                self.current = None
                continue
            while timers:
                at, _, strand, token = heapq.heappop(timers)
                if strand.parked and strand.token == token:
                    self.now = max(self.now, at)
                    strand.parked = False
                    strand.woken = False
                    ready.append(strand)
                    break
            else:
                raise Hang(f"every thread waits for ever: {self.describe()}")

    def end(self) -> None:
        """Kill what is left."""
        self._doomed += {strand.node for strand in self.strands}
        self._kill()

    def describe(self) -> str:
        """Where each strand is, innermost frames first."""
        return "; ".join(f"{strand.name}: {_where(strand)}" for strand in self.strands if not strand.ended)

    def _leave(self) -> None:
        me = self.current
        loop = _get_running_loop()  # it is the OS thread's, of which there is but one
        if loop is None:
            self.hub.switch()
        else:
            _set_running_loop(None)
            self.hub.switch()
            _set_running_loop(loop)
        self.current = me

    def _body(self, strand: Strand, target: Callable[[], object]) -> None:
        try:
            target()
        except GreenletExit:
            pass
        except BaseException as error:  # noqa: BLE001  as a thread that dies
            strand.error = error
        finally:
            strand.ended = True
            self.strands.remove(strand)
            for joiner in strand.joiners:
                self.wake(joiner)

    def _kill(self) -> None:
        doomed, self._doomed = self._doomed, []
        for strand in [strand for strand in self.strands if strand.node in doomed]:
            strand.dying = True
            strand.parked = False
            if strand.greenlet:
                self.current = strand
                strand.greenlet.throw(GreenletExit)
                self.current = None
            elif strand in self.strands:
                self.strands.remove(strand)
            strand.ended = True


def _where(strand: Strand) -> str:
    frame = strand.greenlet.gr_frame
    places = []
    while frame is not None and len(places) < 4:
        name = frame.f_code.co_filename.rpartition("/")[2]
        if name != "strands.py":
            places.append(f"{name}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(places)
