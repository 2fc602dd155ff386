"""A simulated machine for the pure core: processes that misbehave, operators, a clock, and the invariants.

The world decides what happens, the core decides what is done about it, and `Auditor` holds the core to its promises
with a bookkeeping of its own. All invariants are stated in `Auditor`, and nowhere else.
"""

import heapq
import json
import math
import random
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from swarm_supervisor._core import messages as m
from swarm_supervisor._core.decisions import FORK_RETRY_S, step
from swarm_supervisor._core.fleet import Fleet, Life, Mode, next_deadline
from swarm_supervisor._core.lifecycle import KILL_AGAIN_AFTER_S, TABLE, State, Transition, Trigger
from swarm_supervisor._core.prospect import SOON_S, Prospect
from swarm_supervisor._core.view import take_snapshot
from swarm_supervisor.events import (
    CrashLoop,
    NodeEnded,
    NodeExited,
    NodeRestarting,
    NodeRunning,
    NodeStopping,
    NodeTerminating,
    Stopped,
)
from swarm_supervisor.settings import Settings

EPSILON = 1e-6
NOT_RESTARTED = 125


class Violation(AssertionError):
    """The core has broken a promise."""


class CountingTable(dict[tuple[State, Trigger], Transition]):
    """The lifecycle table; it counts how often each cell is entered."""

    def __init__(self, table: Mapping[tuple[State, Trigger], Transition] = TABLE) -> None:
        super().__init__(table)
        self.entered: dict[tuple[State, Trigger], int] = dict.fromkeys(TABLE, 0)

    def __getitem__(self, cell: tuple[State, Trigger]) -> Transition:
        self.entered[cell] += 1
        return dict.__getitem__(self, cell)


class Process:
    """A simulated process of a node."""

    __slots__ = (
        "alive", "announced", "answers_dump", "beats", "dumped", "excused_until", "explained", "generation",
        "healthy_at",
        "kill_at", "kill_told", "killed", "killed_at", "last_report", "left", "memory", "node_id", "obeys_term",
        "pid", "prospect", "recycles", "removed", "silent_since", "slow_to_die", "spare", "stop_at", "stop_planned",
        "stop_status", "stopping", "termed", "told", "well_at", "working",
    )  # fmt: skip

    def __init__(self, node_id: int, generation: int, pid: int, spare: bool, prospect: Prospect) -> None:
        self.prospect, self.told, self.removed = prospect, "", False
        self.explained = False
        self.node_id, self.generation, self.pid, self.spare = node_id, generation, pid, spare
        self.alive = True
        self.working = not spare
        self.beats = True
        self.obeys_term = True
        self.answers_dump = True
        self.slow_to_die = False
        self.killed = self.termed = self.dumped = False
        self.memory = False
        self.announced = self.kill_told = self.left = False
        self.healthy_at: float | None = None
        self.last_report: float | None = None
        self.well_at: float | None = None
        self.excused_until = 0.0
        self.recycles = False
        self.silent_since: float | None = None
        self.stopping = False
        self.stop_at: float | None = None
        self.stop_status = 0
        self.stop_planned = False
        self.kill_at: float | None = None
        self.killed_at = 0.0


class Auditor:
    """The invariants of supervision, checked from outside with books of their own.

    1. Never two generations of one node id at work at the same time; a spare is not at work before it is told to go.
    2. Never a restart after an unplanned exit before its delay, doubled for every exit in a row, unless an operator
       asked for it.
    3. Every node that is stopping is dead or killed by its deadline; a kill that has no effect is repeated.
    4. No signal, order or dump for a process that has been reaped, or was never there.
    5. Planned ends never count as crashes; unplanned ones always do.
    6. There is a next deadline as long as anything waits for one, and it is the earliest.
    7. Silence, and a boot that takes too long, are noticed at their deadline, and not before.
    8. A rolling restart never takes down more than max_unavailable; memory takes one node at a time.
    9. Every stop is announced before the signal, every kill before the kill, every death after it.
    10. Whatever has happened: when faults end, all wanted nodes run again; when the swarm stops, it ends in time with
        nothing left alive and the right exit code.
    11. The swarm ends when nothing is left to run. What is shown says "running" again when all nodes run.
    12. A spare that is warm takes over however the old process has ended, unless the node is done.
    13. A process that is told to stop is told before whether a successor comes soon. What it is told, and what it
        concludes for an end that was not ordered, is no lie: if it stays, a successor comes within about a second.
    14. An end that a listener explains is counted nowhere; those that are not explained are counted as ever.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.at_work: dict[int, Process] = {}
        self.spares: dict[int, Process] = {}
        self.row: Counter[int] = Counter()
        self.not_before: dict[int, float] = {}
        self.memory_stops: set[int] = set()
        self.finished: int | None = None
        self.stopped_events = 0
        self.kills_in_shutdown = False
        self.shutdown_at: float | None = None
        self.slack = 0.0
        self.slept_until = 0.0
        self.crash_loops = 0
        self.stamps: dict[int, list[float]] = {}
        self.looping: set[int] = set()

    def fail(self, text: str) -> None:
        raise Violation(text)

    def forked(self, process: Process, now: float) -> None:
        node_id = process.node_id
        if process.spare:
            if node_id in self.spares:
                self.fail(f"invariant 1: two spares of node {node_id}")
            self.spares[node_id] = process
            return
        self.goes_to_work(process, now)

    def goes_to_work(self, process: Process, now: float) -> None:
        node_id = process.node_id
        if node_id in self.at_work:
            self.fail(f"invariant 1: two generations of node {node_id} at work")
        if now < self.not_before.get(node_id, 0.0) - EPSILON:
            self.fail(f"invariant 2: node {node_id} at {now}, not before {self.not_before[node_id]}")
        self.not_before.pop(node_id, None)
        self.at_work[node_id] = process

    def gone(self, process: Process, now: float) -> None:
        if self.at_work.get(process.node_id) is process:
            del self.at_work[process.node_id]
        if self.spares.get(process.node_id) is process:
            del self.spares[process.node_id]

    def died(
        self, process: Process, event: NodeExited, unplanned: bool, counted: bool, explained: bool, now: float
    ) -> None:
        """A process at work has been told dead; decide by our own books what may follow."""
        if event.planned == unplanned:
            self.fail(f"invariant 5: {event} while unplanned is {unplanned}")
        if not counted:
            return
        settings, node_id = self.settings, process.node_id
        # What it hung or drained for once it was blamed is no healthy time.
        until = now if process.stop_status == 0 or process.well_at is None else process.well_at
        stable = process.healthy_at is not None and until - process.healthy_at >= settings.stable_after
        shortest = settings.node_restart_delay if settings.first_restart_delay is None else settings.first_restart_delay
        if stable:
            self.row[node_id] = 0
            self.looping.discard(node_id)
        if explained:
            recent = [stamp for stamp in self.stamps.get(node_id, []) if stamp > now - settings.restart_window]
            if max(self.row[node_id], len(recent)) < settings.max_restarts:
                self.looping.discard(node_id)
            least = max(settings.node_restart_delay, settings.restart_delay_max * 0.9)
            self.not_before[node_id] = now + (least if node_id in self.looping else shortest)
            return
        self.row[node_id] += 1
        stamps = self.stamps.setdefault(node_id, [])
        stamps.append(now)
        recent = [stamp for stamp in stamps if stamp > now - settings.restart_window][-settings.max_restarts :]
        self.stamps[node_id] = recent
        doublings = self.row[node_id] - (1 if shortest == settings.node_restart_delay else 2)
        least = settings.node_restart_delay * 2.0 ** min(doublings, 50)
        if max(self.row[node_id], len(recent)) >= settings.max_restarts:
            least = settings.restart_delay_max
            self.looping.add(node_id)
        elif self.row[node_id] == 1:
            self.not_before[node_id] = now + shortest
            return
        else:
            self.looping.discard(node_id)
        least = max(settings.node_restart_delay, min(least, settings.restart_delay_max * 0.9))
        self.not_before[node_id] = now + least

    def check_deadlines(self, fleet: Fleet, now: float) -> None:
        """Invariant 6, in full; O(nodes), so it is done now and then."""
        due = [life.deadline for life in fleet.lives() if life.deadline is not None]
        if fleet.budget.deadline is not None:
            due.append(fleet.budget.deadline)
        first, told = min(due, default=None), next_deadline(fleet, now)
        if told != first and (told is None or not now + 1.0 < told < (math.inf if first is None else first)):
            self.fail(f"invariant 6: the next deadline is told as {told}, and is {first}")
        if fleet.deadlines.next() != first:
            self.fail(f"invariant 6: the next deadline is {fleet.deadlines.next()}, not {first}")
        for life in fleet.lives():
            if life.deadline is None and life.state is not State.WARM:
                self.fail(f"invariant 6: a life that is {life.state.value} has no deadline")
        for member in fleet.members.values():
            if member.main.state in (State.WARMING, State.WARM):
                self.fail(f"invariant 6: node {member.id} waits for a go that was given")
            spare = member.spare
            if spare is not None and spare.state in (State.WARMING, State.WARM) and member.replacement is None:
                self.fail(f"invariant 10: node {member.id} has a spare for nothing")
        if fleet.mode is Mode.STOPPING and fleet.budget.deadline is None:
            self.fail("invariant 6: a shutdown without a budget")
        if fleet.mode in (Mode.RUNNING, Mode.QUIET) and all(
            member.main.state is State.DEAD and member.spare is None for member in fleet.members.values()
        ):
            self.fail("invariant 11: nothing is left to run, and the swarm does not end")


class World:
    """Processes, operators and time."""

    def __init__(
        self,
        settings: Settings,
        nodes: int,
        seed: int,
        *,
        table: Mapping[tuple[State, Trigger], Transition] = TABLE,
        fault_every_s: float = 300.0,
    ) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.settings = settings
        self.now = 0.0
        self.fleet = Fleet(settings, nodes, 0.0, table=table, random=self.random.random)
        self.auditor = Auditor(settings)
        self.processes: dict[tuple[int, int], Process] = {}
        self.dead: list[tuple[int, int]] = []
        self.queue: list[tuple[float, int, Any, tuple[Any, ...]]] = []
        self.serial = 0
        self.pid = 1000
        self.faults = 0
        self.kinds: Counter[str] = Counter()
        self.node_seconds = 0.0
        self.fault_every_s = fault_every_s
        self.calm = False
        self.steps = 0
        self.forced = False
        self.explains = (0.0, 0.0, 0.3)[seed % 3]
        self.known: set[int] = set()
        self.given_out: set[tuple[int, int]] = set()
        self.events: list[Any] | None = None
        self._exits: dict[tuple[int, int], tuple[int | None, int | None]] = {}
        self._actions = {
            m.Fork: self._fork,
            m.Term: self._term,
            m.Kill: self._kill,
            m.Dump: self._dump,
            m.Go: self._go,
            m.Leave: self._leave,
            m.Remove: self._remove,
            m.Return: self._return,
            m.Conclude: self._conclude,
            m.Quiet: self._signal,
            m.Emit: self._emit,
            m.Finish: self._finish,
        }
        self._happenings = {
            NodeStopping: self._told_stopping,
            NodeTerminating: self._told_terminating,
            NodeRunning: self._told_running,
            NodeExited: self._told_exited,
            NodeRestarting: self._told_restarting,
            NodeEnded: self._told_ended,
            Stopped: self._told_stopped,
            CrashLoop: self._told_crash_loop,
        }
        self.last_ended: dict[int, tuple[Process, str]] = {}
        self._running_told: set[tuple[int, int]] = set()
        self._exited_told: set[tuple[int, int]] = set()

    # The machine

    def at(self, when: float, what: Any, *arguments: Any) -> None:
        self.serial += 1
        heapq.heappush(self.queue, (when, self.serial, what, arguments))

    def run(self, until: float) -> None:
        """Let time pass."""
        queue, auditor, fleet, pop, tick = self.queue, self.auditor, self.fleet, heapq.heappop, m.Tick()
        while auditor.finished is None:
            due = next_deadline(fleet, self.now)
            if due is not None and due < self.now:
                self._hear()
                self.decide(tick)
                continue
            world = queue[0][0] if queue else None
            if world is not None and (due is None or world <= due):
                if world > until:
                    break
                if world > self.now:
                    self._pass(world)
                _, _, what, arguments = pop(queue)
                what(*arguments)
            elif due is not None and due <= until:
                if due > self.now:
                    self._pass(due)
                self.decide(tick)
            else:
                break
        if auditor.finished is None:
            self._pass(max(self.now, until))  # the supervisor may have slept beyond

    def _hear(self) -> None:
        """A supervisor that comes late hears what was said meanwhile before it judges."""
        kept = []
        while self.queue and self.queue[0][0] <= self.now:
            entry = heapq.heappop(self.queue)
            _, _, what, arguments = entry
            if what.__name__.startswith(("_check", "_expect", "_listener")):
                kept.append(entry)
            else:
                what(*arguments)
        for entry in kept:
            heapq.heappush(self.queue, entry)

    def _pass(self, now: float) -> None:
        self.node_seconds += (now - self.now) * self.fleet.wanted
        self.now = now

    def decide(self, happening: Any) -> None:
        self.steps += 1
        due = self.steps % 64 == 0
        actions = self._actions
        for action in step(self.fleet, happening, self.now):
            actions[type(action)](action)
        if due and not isinstance(happening, m.Excuse):  # that one comes between an end and what follows
            self.auditor.check_deadlines(self.fleet, self.now)

    def fault(self, kind: str) -> None:
        self.faults += 1
        self.kinds[kind] += 1

    def alive(self, process: Process) -> bool:
        return process.alive

    # What the core does to processes

    def _fork(self, action: m.Fork) -> None:
        if not self.calm and self.random.random() < 0.02:
            self.fault("fork fails")
            self.decide(m.ForkFailed(action.node_id, action.generation, "EAGAIN"))
            self.at(self.now + FORK_RETRY_S, self._check_retried, action.node_id)
            return
        self.pid += 1
        process = Process(action.node_id, action.generation, self.pid, action.spare, action.prospect)
        if (action.node_id, action.generation) in self.given_out:
            raise Violation(f"generation {action.generation} of node {action.node_id} was given out twice")
        self.given_out.add((action.node_id, action.generation))
        if process.node_id not in self.known:
            self.known.add(process.node_id)
            self._forget(process.node_id)
        self.auditor.forked(process, self.now)
        self.processes[action.node_id, action.generation] = process
        self.decide(m.Forked(action.node_id, action.generation, process.pid))
        self._live(process)

    def _check_retried(self, node_id: int) -> None:
        """Nothing: the retry shows as a fork, and `settle` would notice a node that never comes back."""

    def _process(self, action: m.NodeAction) -> Process:
        process = self.processes.get((action.node_id, action.generation))
        if process is None or not process.alive:
            raise Violation(f"invariant 4: {action} for a process that is not there")
        return process

    def _signal(self, action: m.NodeAction) -> None:
        self._process(action)

    def _term(self, action: m.Term) -> None:
        process = self._process(action)
        if not process.announced:
            raise Violation(f"invariant 9: TERM before NodeStopping for node {process.node_id}")
        if process.stop_status == -1 and not process.dumped and self.auditor.shutdown_at is None:
            raise Violation("a silent node was not asked for its stacks before TERM")
        if process.termed:
            raise Violation("TERM twice")
        if process.working and not process.told:
            raise Violation("invariant 13: TERM without a word about the successor")
        gone = self.auditor.shutdown_at is not None or process.node_id >= self.fleet.wanted
        if process.working and gone and process.told != "leave":
            raise Violation("invariant 13: a node without a successor was not told to leave")
        process.termed = True
        process.dumped = False
        process.kill_at = self.now + self.settings.shutdown_timeout
        self._told_to_stop(process)

    def _told_to_stop(self, process: Process) -> None:
        if process.obeys_term:
            self.at(self.now + self.random.uniform(0.0, 0.4) * self.settings.shutdown_timeout, self.end, process, 0)

    def _kill(self, action: m.Kill) -> None:
        process = self._process(action)
        if not process.kill_told:
            raise Violation("invariant 9: KILL before NodeTerminating")
        process.kill_told = False
        self._check_last_resort(process)
        in_time = process.kill_at is None or self.now >= process.kill_at - EPSILON
        if not in_time and not process.killed and process.working and self.auditor.shutdown_at is None:
            raise Violation(f"invariant 3: killed at {self.now}, its time was {process.kill_at}")
        process.killed, process.killed_at = True, self.now
        if self.auditor.shutdown_at is not None:
            self.auditor.kills_in_shutdown = True
        if not process.slow_to_die:
            self.at(self.now + 0.001, self.end, process, None, 9)
        else:
            process.slow_to_die = False
            self.fault("does not die of KILL")
            self._check_killed_again(process, self.now)

    def _check_last_resort(self, process: Process) -> None:
        """A process that is killed because its time is over was told to stop, and asked for its stacks."""
        if process.killed or self.forced or not process.announced or process.kill_at is None:
            return
        if self.now < process.kill_at - EPSILON:
            return  # a spare that is not needed, or the end of a shutdown
        if not process.dumped:
            raise Violation("killed without having been asked for its stacks")
        given_up = process.stop_status == -1 and process.last_report is None  # in its boot: there is nothing to save
        if not given_up and not process.termed and not process.left:
            raise Violation("killed without having been told to stop")

    def _check_killed(self, process: Process) -> None:
        if process.alive and process.kill_told:
            raise Violation("invariant 9: NodeTerminating without a KILL")

    def _check_killed_again(self, process: Process, killed_at: float) -> None:
        due = max(killed_at, self.auditor.slept_until) + KILL_AGAIN_AFTER_S + 0.01
        if not process.alive or process.killed_at > killed_at:
            return
        if self.now >= due:
            raise Violation("invariant 3: a kill without effect was not repeated")
        self.at(due, self._check_killed_again, process, killed_at)

    def _dump(self, action: m.Dump) -> None:
        process = self._process(action)
        process.dumped = True
        if process.answers_dump:
            self.at(self.now + 0.03, self._stacks_there, process)

    def _stacks_there(self, process: Process) -> None:
        silent = process.alive and process.stop_status == -1 and process.last_report is not None and process.announced
        self.decide(m.StacksThere(process.node_id, process.generation))
        if silent and process.alive and not process.termed and not process.killed:
            raise Violation("a silent node whose stacks are there was not told to stop at once")

    def _go(self, action: m.Go) -> None:
        process = self._process(action)
        if self.auditor.spares.pop(process.node_id, None) is not process:
            raise Violation("go for what is no spare")
        process.working = True
        self.auditor.not_before.pop(process.node_id, None)  # an operator, or a limit, has asked for this process
        self.auditor.goes_to_work(process, self.now)
        self._boot(process)

    def _leave(self, action: m.Leave) -> None:
        process = self._process(action)
        if process.told == "leave" or not process.working:
            raise Violation("invariant 13: told to leave twice, or before it was told to go")
        process.told = "leave"

    def _remove(self, action: m.Remove) -> None:
        process = self._process(action)
        if process.told != "leave" or process.removed:
            raise Violation("invariant 13: told of its removal twice, or before it was told to leave")
        process.removed = True

    def _return(self, action: m.Return) -> None:
        process = self._process(action)
        if process.told or not process.working:
            raise Violation("invariant 13: told to return after another word, or before it was told to go")
        process.told = "return"

    def _conclude(self, action: m.Conclude) -> None:
        self.decide(m.Concluded(action.node_id, action.generation))

    def _finish(self, action: m.Finish) -> None:
        self.auditor.finished = action.exit_code

    # What the core tells

    def _emit(self, action: m.Emit) -> None:
        if self.events is not None:
            self.events.append(action.event)
        handler = self._happenings.get(type(action.event))
        if handler is not None:
            handler(action.event)

    def _told_stopping(self, event: NodeStopping) -> None:
        process = self.processes[event.node_id, event.generation]
        settings = self.settings
        if process.announced:
            raise Violation("invariant 9: stopping announced twice")
        process.announced = process.stopping = True
        process.stop_status, process.stop_planned = event.status, event.planned
        process.stop_at = self.now
        allowed = settings.shutdown_timeout
        if event.status == -1:
            self._check_silence(process)
            dump = settings.stack_dump_timeout
            allowed = dump if process.last_report is None else dump + settings.shutdown_timeout
            # A boot's last dump is no longer than a stop's.
            allowed = min(dump, settings.shutdown_timeout) if process.last_report is None else allowed
        if "restart requested" in event.reason or "recycled" in event.reason:
            self._check_unavailable(process)
        if event.status == 3 and process.working:
            others = {other for other in self.auditor.memory_stops if other != process.node_id}
            if others:
                raise Violation("invariant 8: two memory stops at once")
            self.auditor.memory_stops.add(process.node_id)
        if process.last_report is None or event.status != -1:
            process.kill_at = self.now + allowed
        self.at(self.now + allowed + 0.01, self._check_ended, process, self.auditor.slack)

    def _check_silence(self, process: Process) -> None:
        settings = self.settings
        if process.last_report is not None:
            silent = self.now - process.last_report
            if silent < settings.node_report_timeout - EPSILON:
                raise Violation(f"invariant 7: called silent after {silent} s")
        elif process.silent_since is None:
            raise Violation("invariant 7: a boot was given up that was not late")

    def _check_unavailable(self, process: Process) -> None:
        down = sum(
            1
            for node_id in range(self.fleet.wanted)
            if node_id != process.node_id and not self._is_up(node_id) and not self._is_done(node_id)
        )
        if down >= self.settings.max_unavailable and not process.memory:
            raise Violation(f"invariant 8: {down} nodes are down and node {process.node_id} is taken down too")

    def _is_up(self, node_id: int) -> bool:
        process = self.auditor.at_work.get(node_id)
        return process is not None and process.last_report is not None and not process.announced

    def _is_done(self, node_id: int) -> bool:
        member = self.fleet.members.get(node_id)
        return member is not None and member.main.state is State.DEAD

    def _check_ended(self, process: Process, slack: float) -> None:
        if self.auditor.slack > slack:  # the supervisor slept meanwhile: everybody got more time
            most = (self.settings.shutdown_timeout + self.settings.stack_dump_timeout) * 3
            self.at(self.now + most, self._check_ended, process, self.auditor.slack)
            return
        if process.alive and not process.killed:
            raise Violation(f"invariant 3: node {process.node_id} is neither dead nor killed in time")

    def _told_terminating(self, event: NodeTerminating) -> None:
        process = self.processes[event.node_id, event.generation]
        process.kill_told = True
        self.at(self.now, self._check_killed, process)
        if self.forced or not process.working:
            process.announced = True

    def _told_running(self, event: NodeRunning) -> None:
        self._running_told.add((event.node_id, event.generation))
        process = self.processes[event.node_id, event.generation]
        process.healthy_at = self.now

    def _told_exited(self, event: NodeExited) -> None:
        cell = (event.node_id, event.generation)
        process = self.processes[cell]
        if process.alive:
            raise Violation("a death was told of a process that lives")
        self._exited_told.add(cell)
        explained = process.explained = self._explain(process)
        self.auditor.memory_stops.discard(event.node_id) if process.working else None
        unplanned, counted = self._by_our_books(process, event)
        if process.working:
            self.auditor.died(process, event, unplanned, counted, explained, self.now)
            self.last_ended[process.node_id] = process, self._word(process)
            if counted is False and event.cause == "operator":
                settings, delay = self.settings, self.settings.node_restart_delay
                stable = process.healthy_at is not None and self.now - process.healthy_at >= settings.stable_after
                if stable and settings.first_restart_delay is not None:
                    delay = settings.first_restart_delay
                self.auditor.not_before[process.node_id] = self.now + delay

    def _explain(self, process: Process) -> bool:
        """Some listeners explain some ends, at the only moment when they can."""
        before = self.fleet.explained
        if not process.working or self.random.random() > self.explains:
            return False
        for _ in range(2):  # the second time changes nothing
            self.decide(m.Excuse(process.node_id, process.generation, "a poison record"))
        if self.fleet.explained != before + 1:
            raise Violation("invariant 14: an end was not explained, or twice")
        self.kinds["explained"] += 1
        return True

    def _word(self, process: Process) -> str:
        """What a process has been told, or concludes, if it could ask: "leave", "return" or nothing."""
        code, _ = self._exits[process.node_id, process.generation]
        if code is None or (process.announced and not process.told and not process.left):
            return ""  # a hung one, that ends before it is told anything
        if process.spare and not process.told:
            return ""  # it knows the delays of its fork, and the old process may have crashed since
        if code == NOT_RESTARTED:
            return "leave"
        healthy_s = None if process.healthy_at is None else self.now - process.healthy_at
        leaves = process.prospect.ends_for_good(
            code, healthy_s, signalled=process.left and not process.termed, recycles=process.recycles
        )
        return process.told or ("leave" if leaves else "return")

    def _told_restarting(self, event: NodeRestarting) -> None:
        process, word = self.last_ended.get(event.node_id, (None, ""))
        counts = process is not None and event.attempt and self.auditor.shutdown_at is None
        if counts and event.attempt != self.auditor.row[event.node_id]:
            raise Violation(f"invariant 14: attempt {event.attempt} after {self.auditor.row[event.node_id]} deaths")
        if process is not None and process.explained and event.attempt:
            raise Violation("invariant 14: an end that was explained was counted")
        if process is not None and word == "return" and event.delay_s > 1.1 * SOON_S + EPSILON:
            raise Violation(f"invariant 13: node {event.node_id} stayed, and its successor comes in {event.delay_s} s")

    def _told_ended(self, event: NodeEnded) -> None:
        _, word = self.last_ended[event.node_id]
        self.auditor.looping.discard(event.node_id)  # what is done is in no crash loop
        if word == "return":
            raise Violation(f"invariant 13: node {event.node_id} stayed, and there is no successor")

    def _by_our_books(self, process: Process, event: NodeExited) -> tuple[bool, bool]:
        """Whether this death is unplanned, and whether it counts towards a crash loop."""
        code, signal = self._exits[process.node_id, process.generation]
        if process.stopping and not process.stop_planned:
            unplanned = True
        elif process.stopping or process.killed:
            unplanned = False
        else:
            unplanned = signal != 15 and not (process.recycles and code == 0)
        counted = unplanned and process.node_id < self.fleet.wanted and self.auditor.shutdown_at is None
        restart = self.settings.restart
        returned = code == 0 and not process.stopping
        if code == NOT_RESTARTED or restart == "never" or (restart == "on-failure" and returned):
            counted = False
        return unplanned, counted

    def _told_stopped(self, event: Stopped) -> None:
        self.auditor.stopped_events += 1

    def _told_crash_loop(self, event: CrashLoop) -> None:
        self.auditor.crash_loops += 1
        self.kinds["crash loop"] += 1

    # What processes do

    def _live(self, process: Process) -> None:
        roll = self.random.random()
        self.at(self.now, self._check_alive_books, process)
        if process.spare:
            self._warm(process, roll)
        else:
            self._boot(process)

    def _check_alive_books(self, process: Process) -> None:
        life = self._life(process)
        if process.alive and life is None:
            raise Violation("a process lives and the core has forgotten it")

    def _life(self, process: Process) -> Life | None:
        member = self.fleet.members.get(process.node_id)
        return member.life(process.generation) if member is not None else None

    def _warm(self, process: Process, roll: float) -> None:
        if self.calm or roll < 0.8:
            self.at(self.now + self.random.uniform(0.01, 0.4) * self.settings.boot_timeout, self._ready, process)
        elif roll < 0.85:
            self.fault("spare never gets ready")
            self._be_silent(process)
        elif roll < 0.9:
            self.fault("spare dies")
            self.at(self.now + self.random.uniform(0.0, 1.0), self.end, process, 1)
        elif roll < 0.92:
            self.fault("spare is left")
            self.at(self.now + 0.5, self._leaving, process)
        elif roll < 0.95:
            self.fault("spare is unhealthy")
            self.at(self.now + 0.5, self.report, process, 2)
        else:
            self.fault("spare beats before go")
            self.at(self.now + 0.1, self.report, process, 0)
            self.at(self.now + 0.5, self._ready, process)

    def _ready(self, process: Process) -> None:
        if process.alive:
            self.decide(m.Reported(process.node_id, process.generation, ready=True))
            if process.alive and not process.working and self.random.random() < 0.3 and not self.calm:
                self._misbehave_warm(process)

    def _misbehave_warm(self, process: Process) -> None:
        self.fault("warm spare misbehaves")
        kind = self.random.randrange(6)
        if kind == 0:
            self.at(self.now + 0.01, self.end, process, 1)
        elif kind == 1:
            self.report(process, 2)
        elif kind == 2:
            self.report(process, 0)
        elif kind == 3:
            self.decide(m.Reported(process.node_id, process.generation, ready=True))
        elif kind == 4:
            self._leaving(process)
        else:
            self.decide(m.Scale(self.fleet.wanted))

    def _boot(self, process: Process) -> None:
        roll = self.random.random()
        if self.calm or roll < 0.9:
            self.at(self.now + self.random.uniform(0.0, 0.5) * self.settings.boot_timeout, self._healthy, process)
        elif roll < 0.93:
            self.fault("boot hangs")
            self._be_silent(process)
            process.answers_dump = self.random.random() < 0.5
        elif roll < 0.96:
            self.fault("boot fails")
            self.at(self.now + self.random.uniform(0.0, 2.0), self.end, process, self.random.choice((1, 1, 1, 0)))
        elif roll < 0.97:
            self.fault("boot is unhealthy")
            self.at(self.now + 0.1, self.report, process, 4)
        elif roll < 0.98:
            self.fault("boot is left")
            self.at(self.now + 0.1, self._leaving, process)
        else:
            self.fault("boot says ready, then over memory")
            self.decide(m.Reported(process.node_id, process.generation, ready=True))
            self.at(self.now + 0.1, self.report, process, 3)
            self.at(self.now + 0.2, self._fate, process)

    def _be_silent(self, process: Process) -> None:
        process.silent_since = self.now
        process.obeys_term = self.random.random() < 0.5
        self.at(self.now + self.settings.boot_timeout + 0.01, self._check_boot_noticed, process, self.auditor.slack)

    def _check_boot_noticed(self, process: Process, slack: float) -> None:
        if process.alive and not process.announced and process.last_report is None and self.auditor.slack == slack:
            raise Violation("invariant 7: a boot that takes too long was not noticed")

    def _healthy(self, process: Process) -> None:
        if not process.alive or process.announced:
            return
        self.report(process, 0)
        if process.alive and (process.node_id, process.generation) not in self._running_told:
            life = self._life(process)
            if life is not None and life.state is State.RUNNING:
                raise Violation("invariant 9: a node runs and nobody was told")
        self._keep_beating(process)
        self._fate(process)

    def report(self, process: Process, status: int) -> None:
        if process.alive:
            if not process.announced and process.working:
                process.last_report, process.excused_until = self.now, 0.0
                if status in (0, 3):  # over its memory limit, a node turns all the same
                    process.well_at = self.now
            process.memory = process.memory or status == 3
            self.decide(m.Reported(process.node_id, process.generation, status, "" if status == 0 else "trouble"))

    def _keep_beating(self, process: Process) -> None:
        """Beats that change nothing are left out: the one that comes just in time stands for them all."""
        self.at(self.now + self.settings.node_report_timeout * 0.99, self._beat, process)

    def _beat(self, process: Process) -> None:
        if process.alive and process.beats and not process.announced:
            self.report(process, 0)
            self._keep_beating(process)

    def _fate(self, process: Process) -> None:
        if not self.calm:
            self.at(self.now + self.random.expovariate(1.0 / self.fault_every_s), self._misbehave, process)

    def _misbehave(self, process: Process) -> None:
        if not process.alive or self.calm:
            return
        roll = self.random.random()
        if roll < 0.30:
            self.fault("killed")
            self.end(process, None, self.random.choice((9, 11, 6)))
        elif roll < 0.36:
            self.fault("returns")
            self.end(process, 0)
        elif roll < 0.44:
            self.fault("fails")
            self.end(process, 1)
        elif roll < 0.4402:
            self.fault("asks not to be restarted")
            self.end(process, NOT_RESTARTED)
        elif roll < 0.60:
            self._hang(process)
        elif roll < 0.70:
            self.fault("unhealthy")
            process.obeys_term = self.random.random() < 0.7
            self.report(process, self.random.choice((1, 2, 4, 77)))
        elif roll < 0.80:
            self.fault("over memory")
            self.report(process, 3)
            if self.random.random() < 0.3 and process.alive:
                self.report(process, 0)
            self._fate(process)
        elif roll < 0.85:
            self.fault("operator sends TERM")
            self._leaving(process)
        elif roll < 0.87:
            self.fault("operator sends TERM, no handler")
            self.end(process, None, 15)
        elif roll < 0.90:
            self.fault("stubborn")
            process.obeys_term = False
            process.answers_dump = self.random.random() < 0.5
            process.slow_to_die = self.random.random() < 0.3
            self._fate(process)
        elif roll < 0.92:
            self.fault("out of turn")
            self.decide(m.Reported(process.node_id, process.generation, ready=True))
            self._fate(process)
        elif roll < 0.95:
            self._stale()
            self._fate(process)
        elif roll < 0.952:
            self._sleep()
            self._fate(process)
        elif roll < 0.956:
            self._listener_blocks()
            self._fate(process)
        elif roll < 0.966:
            self._recycle(process)
        else:
            self._operate()
            self._fate(process)

    def _recycle(self, process: Process) -> None:
        self.fault("recycles")
        process.recycles = True
        self.decide(m.Reported(process.node_id, process.generation, recycle="1,000 jobs"))
        if self.random.random() < 0.3:
            self.end(process, self.random.choice((0, 0, 1)))
        else:
            self._fate(process)

    def _hang(self, process: Process) -> None:
        self.fault("hangs")
        process.beats = False
        process.obeys_term = self.random.random() < 0.3
        process.answers_dump = self.random.random() < 0.7
        process.slow_to_die = self.random.random() < 0.05
        self._expect_notice(process)
        if self.random.random() < 0.3:  # late words do not change the verdict
            late = self.settings.node_report_timeout + 0.5 * self.settings.stack_dump_timeout
            kind = self.random.randrange(4)
            self.at((process.last_report or self.now) + late, self._late_words, process, kind)

    def _expect_notice(self, process: Process, at: float = 0.0) -> None:
        """It is silent: see that this is noticed. ``at``: when that was to be looked at; the world may come late."""
        if not process.alive or process.announced or process.last_report is None:
            return
        # After it has slept, the supervisor begins to count anew, once: see `_excuse`.
        due = max(process.last_report, process.excused_until) + self.settings.node_report_timeout + 0.01
        if at >= due:
            raise Violation("invariant 7: silence was not noticed")
        self.at(due, self._expect_notice, process, due)

    def _late_words(self, process: Process, kind: int) -> None:
        if not process.alive or not process.announced:
            return
        if kind == 0:
            self.report(process, 0)
        elif kind == 1:
            self.report(process, 2)
        elif kind == 2:
            self.decide(m.Reported(process.node_id, process.generation, ready=True))
        elif kind == 3:
            self._leaving(process)
        else:
            self._stacks_there(process)
        if self.random.random() < 0.8 and process.alive:
            later = self.random.uniform(0.0, 1.1) * (self.settings.shutdown_timeout + self.settings.stack_dump_timeout)
            self.at(self.now + later, self._late_words, process, self.random.randrange(5))

    def _leaving(self, process: Process) -> None:
        if process.alive:
            process.left = process.left or not process.announced
            self.decide(m.Reported(process.node_id, process.generation, leaving="SIGTERM"))
            if process.alive and not process.announced:
                raise Violation("invariant 9: a node leaves and nobody was told")
            if not process.termed:
                self._told_to_stop(process)

    def _stale(self) -> None:
        self.fault("stale event")
        if not self.dead:
            return
        node_id, generation = self.random.choice(self.dead[-50:])
        before = self.fleet.stale
        kind = self.random.randrange(5)
        if kind == 0:
            self.decide(m.Reported(node_id, generation, 2))
        elif kind == 1:
            self.decide(m.Exited(node_id, generation, 0, None, "exited with code 0"))
        elif kind == 2:
            self.decide(m.StacksThere(node_id, generation))
            return
        elif kind == 3:
            self.decide(m.ForkFailed(node_id, generation, "late"))
        else:
            self.decide(m.Forked(node_id, generation, 1))
        if self.fleet.stale != before + 1:
            raise Violation("a stale event was not recognised")

    def _sleep(self) -> None:
        """The supervisor is stopped for a while; meanwhile everything else is, too."""
        self.fault("supervisor sleeps")
        length = self.random.uniform(2.0, 400.0)
        self.auditor.slack += length
        self._pass(self.now + length)
        self.queue[:] = [(when + length, serial, what, arguments) for when, serial, what, arguments in self.queue]
        heapq.heapify(self.queue)
        for process in self.processes.values():
            if process.kill_at is not None:
                process.kill_at += length
            self._excuse(process, length)
        self.auditor.slept_until = self.now
        self.decide(m.Slept(length))

    def _listener_blocks(self, again: int | None = None) -> None:
        """A slow listener keeps the supervisor, several times: everything else goes on, and is heard late."""
        if again is None:
            self.fault("listener blocks")
            again = self.random.randrange(12)
        length = self.random.uniform(1.0, 20.0)
        self.auditor.slack += length
        self._pass(self.now + length)
        for process in self.processes.values():
            process.kill_at = None  # how much more time it gets is not in these books
            self._excuse(process, 0.0)
        self.auditor.slept_until = self.now
        self.decide(m.Slept(length, self.random.choice(("", "listener")), rested=False))
        if again:
            self.at(self.now, self._listener_blocks, again - 1)

    def _excuse(self, process: Process, length: float) -> None:
        """Put off the moment at which silence has to be noticed: anew once, then by what nobody could have heard."""
        process.excused_until = process.excused_until + length if process.excused_until else self.now

    def _operate(self) -> None:
        kind = self.random.randrange(8)
        if kind <= 2:
            self.fault("rolling restart")
            self.decide(m.Restart("operator"))
        elif kind == 3:
            self.fault("restart of one node")
            node_id = self.random.randrange(self.fleet.wanted)
            self.auditor.not_before.pop(node_id, None)
            self.decide(m.Restart("operator", node_id))
        elif kind == 4:
            self.fault("scale")
            self.scale(self.random.randrange(1, 12))
        elif kind == 5:
            self.fault("several die at once")
            for process in list(self.auditor.at_work.values())[:3]:
                self.end(process, None, 9)
        elif kind == 6 and self.random.random() < 0.02:
            self.fault("quiet")
            self.decide(m.QuietSwarm("operator"))
        else:
            self.fault("several hang at once")
            for process in list(self.auditor.at_work.values())[:3]:
                process.beats = process.obeys_term = False
                self._expect_notice(process)

    def scale(self, nodes: int) -> None:
        """An operator scales: an id that goes, and comes back, begins with a clean record."""
        self.decide(m.Scale(nodes))
        self.known &= set(self.fleet.members)

    def _forget(self, node_id: int) -> None:
        self.auditor.row.pop(node_id, None)
        self.auditor.looping.discard(node_id)
        self.auditor.stamps.pop(node_id, None)
        self.auditor.not_before.pop(node_id, None)

    def end(self, process: Process, code: int | None, signal: int | None = None) -> None:
        if not process.alive:
            return
        process.alive = False
        cell = (process.node_id, process.generation)
        self._exits[cell] = (code, signal)
        self.auditor.gone(process, self.now)
        text = f"exited with code {code}" if signal is None else f"killed by signal {signal}"
        warm = self._warm_spare(process)
        self.decide(m.Exited(process.node_id, process.generation, code, signal, text))
        if cell not in self._exited_told:
            raise Violation("invariant 9: a death was not told")
        if warm is not None and not warm.working and warm.killed:
            raise Violation("invariant 12: a warm spare was killed when it was needed")
        self._exited_told.discard(cell)
        self._running_told.discard(cell)
        del self._exits[cell]
        self.dead.append(cell)
        if len(self.dead) > 200:
            del self.dead[:100]
        self.processes.pop(cell, None)
        if process.node_id not in self.fleet.members:
            self.known.discard(process.node_id)

    def _warm_spare(self, process: Process) -> Process | None:
        """The warm spare of a process that has ended at work; None if it has none, or needs none."""
        member = self.fleet.members.get(process.node_id)
        spare = self.auditor.spares.get(process.node_id)
        if not process.working or member is None or spare is None or self.auditor.shutdown_at is not None:
            return None
        code, _ = self._exits[process.node_id, process.generation]
        done = code == NOT_RESTARTED or (self.settings.restart != "always" and code == 0)
        done = done or self.settings.restart == "never" or self.settings.on_crash_loop == "exit"
        ready = member.spare is not None and member.spare.state is State.WARM
        return spare if ready and not done and not spare.killed and member.id < self.fleet.wanted else None

    def revive(self) -> None:
        """An operator starts again what has ended for good."""
        if self.auditor.finished is None:
            for member in list(self.fleet.members.values()):
                if member.main.state is State.DEAD:
                    self.auditor.not_before.pop(member.id, None)
                    self.decide(m.Restart("operator", member.id))

    # Endings

    def settle(self) -> None:
        """No more faults: everything must come back by itself."""
        self.calm = True
        settings = self.settings
        longest = (
            2 * settings.restart_delay_max
            + (settings.node_report_timeout + settings.boot_timeout + settings.shutdown_timeout) * 3
            + 60.0
        )
        turns = 2 + self.fleet.wanted + len(self.fleet.queue)  # a rollout takes its time, node by node
        for _ in range(turns):
            self.run(self.now + longest)
            if self.auditor.finished is not None:
                return
        self.auditor.check_deadlines(self.fleet, self.now)
        for member in self.fleet.members.values():
            if member.main.state not in (State.RUNNING, State.DEAD):
                raise Violation(f"invariant 10: node {member.id} is {member.main.state.value} in the end")
            if member.spare is not None or member.replacement is not None:
                raise Violation(f"invariant 10: node {member.id} is being replaced for ever")
        if set(self.fleet.members) != set(range(self.fleet.wanted)):
            raise Violation(f"invariant 10: there are nodes {sorted(self.fleet.members)} of {self.fleet.wanted}")
        if self.fleet.queue or self.fleet.rollout is not None:
            raise Violation("invariant 10: a rolling restart never ends")
        shown = take_snapshot(self.fleet, self.now, pid=1)
        if not any(member.failed for member in self.fleet.members.values()) and shown.state == "degraded":
            raise Violation(f"invariant 11: all is well and shown as {shown.state}: {shown.reason}")

    def interrupted(self) -> None:
        """A short life with much trouble, and an end at any moment."""
        dice = self.random
        self.run(dice.uniform(0.0, 900.0))
        if self.auditor.finished is not None:
            return
        if dice.random() < 0.8:
            self.decide(m.Restart("operator"))
            self.run(self.now + dice.uniform(0.0, 45.0))
        if dice.random() < 0.4:
            self.scale(dice.randrange(1, 10))
            self.run(self.now + dice.uniform(0.0, 20.0))
        at_once = False
        if dice.random() < 0.3:
            self.fault("all hang")
            for process in self.auditor.at_work.values():
                process.beats = process.answers_dump = process.obeys_term = False
                process.slow_to_die = True
                self._expect_notice(process)
            later = (State.STOPPING, State.LAST_DUMP, State.KILLING)
            state = State.DUMPING if dice.random() < 0.55 else dice.choice(later)
            self._run_until(state)
            if state is State.DUMPING and self.auditor.finished is None:
                for process in list(self.auditor.at_work.values())[: dice.randrange(3)]:
                    self.end(process, None, 9)
                at_once = dice.random() < 0.5
        if self.auditor.finished is not None:
            return
        self.auditor.check_deadlines(self.fleet, self.now)
        force_after = dice.choice((None, None, 0.0, dice.uniform(0.0, 80.0), dice.uniform(0.0, 5.0)))
        self.shut_down(force_after=0.0 if at_once else force_after)

    def _run_until(self, state: State) -> None:
        """Let time pass, from one deadline to the next, until a node is in a state."""
        until = self.now + 2 * (self.settings.node_report_timeout + self.settings.shutdown_timeout)
        while self.auditor.finished is None and self.now < until:
            if any(life.state is state for life in self.fleet.lives()):
                return
            due = self.fleet.deadlines.next()
            self.run(until if due is None else due)

    def _check_all_told(self, began: float) -> None:
        for process in self.processes.values():
            if not process.alive or process.killed:
                continue
            silent = process.stop_status == -1 and process.last_report is not None
            if not process.announced or (silent and not process.termed):
                raise Violation("invariant 10: a shutdown has left somebody out")

    def shut_down(self, *, force_after: float | None = None) -> None:
        """Stop the swarm and check that, and how, it ends."""
        if self.auditor.finished is not None:
            return
        self.auditor.shutdown_at = began = self.now
        if force_after is None or force_after > 0.0:
            self.decide(m.StopSwarm("test"))
            self._check_all_told(began)
        if force_after is not None:
            self.run(self.now + force_after)
            if self.auditor.finished is None:
                self.forced = True
                self.decide(m.ForceStop("test"))
                if any(process.alive and not process.killed for process in self.processes.values()):
                    raise Violation("invariant 10: a forced shutdown has left somebody out")
        for process in list(self.processes.values()):  # what comes late changes nothing
            self.at(self.now + self.random.uniform(0.0, 1.2), self._late_words, process, self.random.randrange(5))
        budget, slack = self.settings.shutdown_timeout + self.settings.shutdown_grace + 1.0, self.auditor.slack
        self.run(self.now + budget)
        while self.auditor.finished is None and self.auditor.slack > slack:  # it slept, and so got more time
            slack = self.auditor.slack
            self.run(self.now + budget)
        if self.auditor.finished is None:
            raise Violation("invariant 10: the swarm does not stop")
        left = [process.pid for process in self.processes.values() if process.alive]
        spent = self.now - began >= self.settings.shutdown_timeout + self.settings.shutdown_grace - EPSILON
        if left and not (spent or self.forced):
            raise Violation(f"invariant 10: {left} are left alive")
        expected = 4 if self.auditor.kills_in_shutdown or self.forced else 0
        if self.auditor.finished != expected or self.auditor.stopped_events != 1:
            raise Violation(f"invariant 10: exit code {self.auditor.finished}, expected {expected}")


# A long campaign, which processes share between them

SHORT_RUNS, LONG_RUNS = 3300, 458


def settings_of(seed: int) -> Settings:
    """Settings that differ between runs as those of real swarms do."""
    return Settings(
        node_report_timeout=(600.0, 60.0, 600.0, 300.0)[seed % 4],
        boot_timeout=(30.0, 60.0)[seed % 2],
        max_unavailable=1 + seed % 3,
        node_restart_delay=(5.0, 0.0, 1.0)[seed % 3],
        first_restart_delay=(None, 0.0, None, 0.0, None)[seed % 5],
        stable_after=(60.0, 0.0, 60.0, 10.0, 60.0)[seed % 5],
        shutdown_timeout=(60.0, 10.0, 60.0, 60.0, 1.0)[seed % 5],
        restart=("always", "always", "always", "on-failure", "always", "always", "never")[seed % 7],
    )


def short_story(world: World) -> None:
    """Much trouble, and an end at any moment."""
    world.interrupted()


def long_story(world: World) -> None:
    """About a day of eight nodes, then peace, then a shutdown."""
    while world.node_seconds < 260 * 3600.0 and world.auditor.finished is None:
        world.run(world.now + 3600.0)
        world.revive()
    world.settle()
    world.shut_down()


def play(share: int, shares: int) -> dict[str, Any]:
    """Play one share of all runs; the violations, and what there was. The same runs, however many share them."""
    table = CountingTable()
    faults, hours, violations = 0, 0.0, []
    runs = [(short_story, 40.0, seed) for seed in range(SHORT_RUNS)]
    runs += [(long_story, 340.0, seed) for seed in range(LONG_RUNS)]
    for story, fault_every_s, seed in runs[share::shares]:
        world = World(settings_of(seed), 8, seed, table=table, fault_every_s=fault_every_s)
        try:
            story(world)
        except Violation as violation:
            violations.append(f"{story.__name__}, seed {seed}, {world.now} s: {violation}")
        faults += world.faults
        hours += world.node_seconds / 3600.0
    entered = {f"{state.value}, {trigger.value}": count for (state, trigger), count in table.entered.items()}
    return {"faults": faults, "hours": hours, "violations": violations, "entered": entered}


if __name__ == "__main__":
    print(json.dumps(play(int(sys.argv[1]), int(sys.argv[2]))))
