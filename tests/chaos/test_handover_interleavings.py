"""The hand-over (fork, warm, stop the old one, connect the new one), in every order in which things can happen.

The supervisor's pure core is explored exhaustively, together with a model of what processes may do at any moment:
report, fall silent, leave, dump, die, fail to be forked, while an operator restarts, scales, quiets and stops. Time is
left out: any deadline may pass at any moment, so that what holds here holds for all values of the times. A process
counts as connected from its fork, or a spare from its go, until it is reaped: it may hold the static member id of its
node. In every state that can be reached:

- Fence: two processes of one node are never connected at the same time, and at most two are there at all.
- Nobody is forgotten: every process that lives is known to the supervisor, and is told nothing after its end.
- Nobody waits for ever: every life has a deadline, but a warm spare, which waits for the old one.
- Go: once, and only for a spare that is ready.
- Before go, the end of a spare costs nothing: the old process is not touched.
- A restart stops no node while as many are down as may be.
- No dead end: from here, once things go well, all wanted nodes run (or the swarm ends).

Two worlds count as one state if their keys are equal; that this loses nothing is a test of its own.
"""

import pickle
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from swarm_supervisor._core import messages, replacement
from swarm_supervisor._core.decisions import step
from swarm_supervisor._core.fleet import Cause, Fleet, Kind, Life, Mode
from swarm_supervisor._core.lifecycle import TABLE, Order, State, Transition, Trigger
from swarm_supervisor._core.protocol import PROTOCOL, Cue, Move, Phase, Task
from swarm_supervisor._core.step import Step
from swarm_supervisor.events import ReplacementAborted
from swarm_supervisor.settings import DO_NOT_RESTART, Settings

SETTINGS = Settings(nodes=1, stable_after=0.0, node_restart_delay=0.0, max_restarts=1000)
MEMORY = 3


@dataclass
class Process:
    """What is outside the core: one process of one node."""

    node: int
    generation: int
    connected: bool
    healthy: bool = False
    ready: bool = False
    told_to_stop: bool = False
    killed: bool = False

    def key(self) -> tuple[object, ...]:
        return (self.connected, self.healthy, self.ready, self.told_to_stop, self.killed)


class Broken(AssertionError):
    """A promise of the hand-over does not hold."""


@dataclass
class World:
    """The core and the processes that it believes to rule."""

    fleet: Fleet
    processes: dict[tuple[int, int], Process] = field(default_factory=dict)
    orders: int = 0
    """How many more commands an operator may give."""
    mishaps: int = 0
    """How many more things may go wrong."""
    finished: bool = False
    fork_fails: bool = False

    def copies(self, number: int) -> Iterator["World"]:
        """Copies of this world. pickle is five times as fast as copy.deepcopy; what never changes is shared."""
        fleet = self.fleet
        shared = {name: getattr(fleet, name) for name in ("table", "settings", "durations", "random")}
        for name in shared:
            setattr(fleet, name, None)
        frozen = pickle.dumps(self, pickle.HIGHEST_PROTOCOL)
        _set_all(fleet, shared)
        for _ in range(number):
            world = pickle.loads(frozen)
            _set_all(world.fleet, shared)
            yield world

    def tell(self, happening: Any) -> None:
        """One decision, and what follows from it at once."""
        if self.finished:
            return
        for action in step(self.fleet, happening, 0.0):
            self._do(action)
        self._check()

    def _do(self, action: Any) -> None:
        process = self.processes.get((getattr(action, "node_id", -1), getattr(action, "generation", -1)))
        if isinstance(action, messages.NodeAction) and not isinstance(action, messages.Fork) and process is None:
            raise Broken(f"{action} for a process that is not there")
        match action:
            case messages.Fork():
                if process is not None:
                    raise Broken(f"generation {action.generation} of node {action.node_id} is forked twice")
                if self.fork_fails:
                    self.fork_fails = False
                    self.tell(messages.ForkFailed(action.node_id, action.generation, "no process left"))
                    return
                born = Process(action.node_id, action.generation, connected=not action.spare)
                self.processes[action.node_id, action.generation] = born
                self.tell(messages.Forked(action.node_id, action.generation, 1000 + action.generation))
            case messages.Go() if process is not None:
                if process.connected or not process.ready:
                    raise Broken(f"{action} for a spare that is {'at work' if process.connected else 'not ready'}")
                process.connected = True
            case messages.Term() if process is not None:
                self._check_availability(action)
                process.told_to_stop = True
            case messages.Kill() if process is not None:
                process.killed = True
            case messages.Conclude():
                self.tell(messages.Concluded(action.node_id, action.generation))
            case messages.Finish():
                self.finished = True

    def _check_availability(self, term: messages.Term) -> None:
        fleet = self.fleet
        member = fleet.members[term.node_id]
        asked = member.replacement
        if asked is None or asked.kind is not Kind.RESTART or member.main.cause is not Cause.REPLACED:
            return
        # One that goes for its memory goes whatever else is under way, and may do so in this very step.
        down = [
            one.id
            for one in fleet.wanted_members()
            if one.main.state not in (State.RUNNING, State.DEAD) and one.main.cause is not Cause.MEMORY
        ]
        if term.generation == member.main.generation and len(down) > fleet.settings.max_unavailable:
            raise Broken(
                f"nodes {down} are down at a time, by a restart that may take {fleet.settings.max_unavailable}"
            )

    def check_deadlines(self) -> None:
        """Whoever waits does so until a moment; Broken if not."""
        if self.finished:
            return
        for life in self.fleet.lives():
            if life.deadline is None and life.state is not State.WARM:
                raise Broken(f"{life.state.value} without a deadline: node {life.node_id} may stay so for ever")

    def _check(self) -> None:
        for node in {process.node for process in self.processes.values()}:
            if sum(one.node == node for one in self.processes.values()) > 2:
                raise Broken(f"node {node} has more than two processes")
            connected = [one.generation for one in self.processes.values() if one.node == node and one.connected]
            if len(connected) > 1:
                raise Broken(f"generations {connected} of node {node} are connected at the same time")
        if self.finished:
            return
        for node, generation in self.processes:
            member = self.fleet.members.get(node)
            if member is None or member.life(generation) is None:
                raise Broken(f"generation {generation} of node {node} lives and nobody knows of it")

    # -- what may happen next ----------------------------------------------------------------------------------------

    def key(self) -> tuple[object, ...]:
        """All that the future depends on; generations count by their order only."""
        fleet = self.fleet
        members = []
        for member in sorted(fleet.members.values(), key=lambda each: each.id):
            current = member.replacement
            members.append(
                (
                    member.id,
                    self._life(member.main),
                    self._life(member.spare),
                    None if current is None else (current.kind, current.old is member.main, current.old.cause),
                    bool(member.fork_error),
                    member.failed,
                )
            )
        queue = tuple((one.node_id, one.kind, self._current(one)) for one in fleet.queue)
        rollout = None if fleet.rollout is None else bool(fleet.rollout.aborted)
        rest = (fleet.mode, fleet.wanted, queue, rollout, fleet.budget.deadline is None, self.finished)
        return (*members, *rest, self.orders, self.mishaps)

    def _current(self, request: Any) -> bool:
        member = self.fleet.members.get(request.node_id)
        return member is not None and member.main.generation == request.generation

    def _life(self, life: Life | None) -> tuple[object, ...] | None:
        if life is None:
            return None
        process = self.processes.get((life.node_id, life.generation))
        return (
            life.state, life.cause, life.spare, life.deadline is None, life.healthy_at is None,
            life.status == MEMORY, life.exit is not None and life.exit.code,
            None if process is None else process.key(),
        )  # fmt: skip

    def nexts(self) -> Iterator[tuple[str, "World"]]:
        """Every world that may follow, with what happened."""
        if self.finished:
            return
        possible = [one for one in self._possible() if one[1] <= self.mishaps and one[2] <= self.orders]
        for (name, mishap, order, act), world in zip(possible, self.copies(len(possible)), strict=True):
            world.mishaps -= mishap
            world.orders -= order
            before = world._olds_at_work()
            act(world)
            world.check_deadlines()
            if name in ("end of a spare", "failing fork of a spare"):
                world._check_untouched(before)
            yield name, world

    def _olds_at_work(self) -> list[Process]:
        """Processes with a spare that are not going to be replaced for anything that is wrong with them."""
        return [
            self.processes[member.id, member.main.generation]
            for member in self.fleet.members.values()
            if member.spare is not None and member.main.state is State.RUNNING and member.main.status != MEMORY
        ]

    def _check_untouched(self, before: list[Process]) -> None:
        for process in before:
            if process.told_to_stop or process.killed:
                raise Broken(f"node {process.node} was stopped though its spare failed before go")

    def _possible(self) -> Iterator[tuple[str, int, int, Callable[["World"], None]]]:
        """(what, how many mishaps it costs, how many orders, what it does)."""
        fleet = self.fleet
        for life in fleet.lives():
            where = life.node_id, life.generation
            spare = "of a spare" if life.spare else "of a node"
            process = self.processes.get(where)
            if life.deadline is not None:
                planned = life.state is State.BACKING_OFF
                yield f"deadline {spare}", not planned, 0, _due(where)
                if planned:
                    yield f"failing fork {spare}", 1, 0, _failing_fork(where)
            if process is None:
                continue
            if process.connected and not process.killed:
                yield f"healthy report {spare}", 0, 0, _report(where, status=0)
                yield f"memory report {spare}", 1, 0, _report(where, status=MEMORY)
                yield f"unhealthy report {spare}", 1, 0, _report(where, status=4)
            if not process.connected and not process.killed:
                yield f"ready report {spare}", 0, 0, _report(where, ready=True)
            if not process.told_to_stop and not process.killed:
                yield f"leaving report {spare}", 1, 0, _report(where, leaving="SIGTERM")
            if life.state in (State.DUMPING, State.LAST_DUMP):
                yield f"stacks {spare}", 0, 0, _stacks(where)
            expected = process.told_to_stop or process.killed
            yield f"end {spare}", not expected, 0, _exit(where)
            if not process.killed:
                yield f"end {spare} for good", 1, 0, _exit(where, DO_NOT_RESTART)
        yield "suspension of the supervisor", 1, 0, lambda world: world.tell(messages.Slept(60.0))
        if fleet.mode is Mode.RUNNING:
            yield "quiet", 0, 1, lambda world: world.tell(messages.QuietSwarm("asked"))
        if fleet.mode in (Mode.RUNNING, Mode.QUIET):
            yield "restart of all", 0, 1, lambda world: world.tell(messages.Restart("asked"))
            yield "restart of node 0", 0, 1, lambda world: world.tell(messages.Restart("asked", 0))
            yield "one node more", 0, 1, lambda world: world.tell(messages.Scale(fleet.wanted + 1))
            if fleet.wanted > 1:
                yield "one node less", 0, 1, lambda world: world.tell(messages.Scale(fleet.wanted - 1))
        if fleet.mode is not Mode.STOPPING:
            yield "stop", 0, 1, lambda world: world.tell(messages.StopSwarm("asked"))
        else:
            yield "forced stop", 0, 1, lambda world: world.tell(messages.ForceStop("asked"))
            yield "end of the time of the stop", 1, 0, _out_of_time

    # -- when all goes well ------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let everything go well from here; Broken if it does not come to rest."""
        for _ in range(200):
            if self.finished or not self._go_well():
                break
        else:
            raise Broken("things go well and it never comes to rest")
        fleet = self.fleet
        if self.finished:
            return
        if fleet.mode is Mode.STOPPING:
            raise Broken("the swarm stops and never ends")
        states = {member.id: member.main.state for member in fleet.members.values()}
        for member in fleet.members.values():
            if member.main.exit is not None and member.main.exit.code == DO_NOT_RESTART:
                states[member.id] = State.RUNNING  # nobody wants it back: it is where it should be
        spares = [member.id for member in fleet.members.values() if member.spare is not None or member.replacement]
        if states != dict.fromkeys(range(fleet.wanted), State.RUNNING) or spares or fleet.queue or fleet.rollout:
            raise Broken(f"came to rest with {states}, spares of {spares}, queue {fleet.queue}, {fleet.rollout}")

    def _go_well(self) -> bool:
        for life in list(self.fleet.lives()):
            where = life.node_id, life.generation
            process = self.processes.get(where)
            if process is None:
                if life.deadline is None:
                    raise Broken(f"{life.state.value}, no process, and no deadline: node {life.node_id} never starts")
                _due(where)(self)
                return True
            if process.told_to_stop or process.killed:
                _exit(where)(self)
                return True
            if life.state is State.BOOTING:
                if not process.connected:
                    raise Broken(f"node {life.node_id} boots and was never told to go")
                _report(where, status=0)(self)
                return True
            if life.state is State.WARMING:
                _report(where, ready=True)(self)
                return True
            if life.state not in (State.RUNNING, State.WARM):  # it was asked for its stacks, or says that it leaves
                if life.deadline is None:
                    raise Broken(f"{life.state.value} without a deadline: node {life.node_id} stays so for ever")
                _due(where)(self)
                return True
        return False


def _set_all(fleet: Fleet, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(fleet, name, value)


def _due(where: tuple[int, int]) -> Callable[[World], None]:
    def act(world: World) -> None:
        member = world.fleet.members[where[0]]
        life = member.life(where[1])
        assert life is not None
        world.fleet.deadlines.set(life, -1.0)
        others = [(each, each.state, each.deadline) for each in world.fleet.lives() if each is not life]
        for other, _, _ in others:
            world.fleet.deadlines.set(other, None)
        world.tell(messages.Tick())
        for other, state, deadline in others:  # only those that the tick has left alone
            if other.deadline is None and other.state is state:
                world.fleet.deadlines.set(other, deadline)

    return act


def _failing_fork(where: tuple[int, int]) -> Callable[[World], None]:
    def act(world: World) -> None:
        world.fork_fails = True
        _due(where)(world)
        world.fork_fails = False

    return act


def _report(
    where: tuple[int, int], status: int | None = None, ready: bool = False, leaving: str = ""
) -> Callable[[World], None]:
    def act(world: World) -> None:
        process = world.processes[where]
        process.healthy |= status == 0
        process.ready |= ready
        process.told_to_stop |= bool(leaving)
        world.tell(messages.Reported(*where, status=status, ready=ready, leaving=leaving, reason="as the model wants"))

    return act


def _stacks(where: tuple[int, int]) -> Callable[[World], None]:
    return lambda world: world.tell(messages.StacksThere(*where))


def _out_of_time(world: World) -> None:
    """The budget of the shutdown is spent, and no other deadline has come."""
    fleet = world.fleet
    for life in fleet.lives():
        fleet.deadlines.set(life, None)
    fleet.deadlines.set(fleet.budget, -1.0)
    world.tell(messages.Tick())
    if not world.finished:
        raise Broken("the time of the stop is over and it goes on")
    for (node, generation), process in world.processes.items():
        if not process.killed:
            raise Broken(f"generation {generation} of node {node} is left behind alive")


def _exit(where: tuple[int, int], code: int | None = None) -> Callable[[World], None]:
    def act(world: World) -> None:
        process = world.processes.pop(where)
        if code is None and not process.killed and process.told_to_stop:
            code_or_none, signal = 0, None
        else:
            code_or_none, signal = code, 9 if code is None else None
        world.tell(messages.Exited(*where, code_or_none, signal, "as the model wants it"))

    return act


def start(nodes: int, orders: int, mishaps: int, table: Any = TABLE, **settings: Any) -> World:
    """A swarm whose nodes all run."""
    world = World(Fleet(replace(SETTINGS, nodes=nodes, **settings), nodes, 0.0, table=table))
    world.settle()
    world.orders, world.mishaps = orders, mishaps
    return world


@dataclass
class Explored:
    """What an exploration has seen."""

    follows: dict[object, Counter[object]] = field(default_factory=dict)
    """By the key of each state: what may happen in it, with the key of the state that follows."""
    transitions: int = 0
    happened: set[str] = field(default_factory=set)
    twins: list[World] = field(default_factory=list)
    """Worlds that were taken for states seen before; kept if asked for."""


def explore(first: World, keep_twins: bool = False) -> Explored:
    """Visit every state once. Broken names the way there."""
    seen = {first.key()}
    todo: deque[tuple[World, tuple[str, ...]]] = deque([(first, ())])
    explored = Explored()
    while todo:
        world, way = todo.popleft()
        try:
            nexts = list(world.nexts())
        except Exception as error:
            raise Broken(f"after {' -> '.join(way)}: {type(error).__name__}: {error}") from error
        keys = [following.key() for _, following in nexts]
        explored.follows[world.key()] = Counter((name, key) for (name, _), key in zip(nexts, keys, strict=True))
        explored.transitions += len(nexts)
        for (name, following), key in zip(nexts, keys, strict=True):
            explored.happened.add(name)
            if key in seen:
                if keep_twins:
                    explored.twins.append(following)
                continue
            seen.add(key)
            try:
                next(following.copies(1)).settle()
            except Exception as error:
                raise Broken(f"after {' -> '.join((*way, name))}: {type(error).__name__}: {error}") from error
            todo.append((following, (*way, name)))
    return explored


EVERYTHING = {
    *(f"{what} of a {life}" for life in ("node", "spare") for what in (
        "deadline", "failing fork", "leaving report", "stacks", "end", "unhealthy report",
    )),
    "healthy report of a node", "memory report of a node", "ready report of a spare", "end of a node for good",
    "end of a spare for good", "restart of all", "restart of node 0", "one node more", "quiet", "stop",
    "suspension of the supervisor",
} - {"unhealthy report of a spare"}  # a spare has nothing to be judged by before it is told to go  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "orders", "mishaps", "settings"),
    [
        (1, 1, 2, {}),
        (1, 2, 1, {"stable_after": 1e9}),  # no node is ever stable: one over its memory limit gets no spare
        (2, 3, 0, {}),
        (2, 1, 1, {"max_unavailable": 2}),
        (2, 1, 1, {}),
    ],
)
def test_every_interleaving_of_a_hand_over_keeps_its_promises(
    nodes: int, orders: int, mishaps: int, settings: dict[str, Any]
) -> None:
    explored = explore(start(nodes, orders, mishaps, **settings))
    print(
        f"{nodes} node(s), {orders} order(s), {mishaps} mishap(s) {settings or ''}: {len(explored.follows)} states, "
        f"{explored.transitions} transitions"
    )
    assert len(explored.follows) > 500
    assert explored.happened >= (EVERYTHING if mishaps else {"restart of all", "one node less", "forced stop", "quiet"})


def test_worlds_with_equal_keys_have_equal_futures() -> None:
    """What the exploration passes over because it has seen its key goes on like what it has seen."""
    explored = explore(start(1, 1, 1), keep_twins=True)
    assert len(explored.twins) > 300
    for twin in explored.twins:
        key = twin.key()
        follows = Counter((name, following.key()) for name, following in twin.nexts())
        known = explored.follows[key]
        assert follows == known, f"the key {key} leaves out what matters: {follows - known}, {known - follows}"


@pytest.mark.parametrize(
    ("right", "wrong", "found"),
    [
        # Warm or not, the spare takes over.
        ("old_gone", "takes_over_cold", "not ready|cannot happen|came to rest with"),
        # Nobody counts who is down already.
        ("down", "none_is_down", "are down at a time"),
        # The old one is stopped though its spare has failed.
        (Task.KEEP_OLD, "stops_the_old_one", "was stopped though its spare failed"),
    ],
)
def test_broken_decisions_are_found(monkeypatch: pytest.MonkeyPatch, right: str | Task, wrong: str, found: str) -> None:
    if isinstance(right, Task):
        monkeypatch.setitem(replacement._TASKS, right, globals()[wrong])
    else:
        monkeypatch.setattr(replacement, right, globals()[wrong])
    with pytest.raises(Broken, match=found):
        explore(start(2, 2, 1))


def takes_over_cold(step: Step, member: Any, old: Life, ends: bool) -> bool:
    spare = member.spare
    if spare is None or not spare.alive:
        return False
    member.main, member.spare, member.replacement = spare, None, None
    spare.spare, spare.state = False, State.BOOTING
    step.order(messages.Go(spare.node_id, spare.generation))
    return True


def none_is_down(fleet: Fleet) -> int:
    return 0


def stops_the_old_one(step: Step, member: Any, current: Any, cue: Any, reason: str) -> None:
    if member.main.state is State.RUNNING:
        replacement.stop(step, member.main, Cause.REPLACED, reason)


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ((Phase.NONE, Cue.BEGIN), "came to rest with"),
        ((Phase.WARM, Cue.MAY_STOP), "came to rest with"),
        ((Phase.HANDING_OVER, Cue.MAIN_GONE), "came to rest with"),
        ((Phase.HANDING_OVER, Cue.MAIN_DONE), "came to rest with"),
        ((Phase.WARMING, Cue.UNWANTED), "came to rest with"),
    ],
)
def test_a_protocol_that_leaves_its_tasks_undone_is_found(
    monkeypatch: pytest.MonkeyPatch, cell: tuple[Phase, Cue], found: str
) -> None:
    monkeypatch.setitem(PROTOCOL, cell, PROTOCOL[cell]._replace(tasks=()))
    with pytest.raises(Broken, match=found):
        explore(start(2, 2, 1))


@pytest.mark.parametrize(
    ("cell", "wrong", "found"),
    [
        # The spare connects as soon as it is warm: nobody waits for the old one.
        ((State.WARMING, Trigger.READY), Transition(State.BOOTING, (Order.GO,)), "connected at the same time"),
        # The spare is not told that the old one has gone.
        ((State.WARM, Trigger.GO), Transition(State.BOOTING, ()), "never told to go"),
        # A spare that is not needed any more is told nothing.
        ((State.WARM, Trigger.KILL), Transition(State.DEAD), "nobody knows of it"),
        # The old one is not told to stop.
        ((State.RUNNING, Trigger.STOP), Transition(State.RUNNING, (), keep=True), "came to rest with|never ends"),
    ],
)
def test_a_broken_hand_over_is_found(cell: tuple[State, Trigger], wrong: Transition, found: str) -> None:
    with pytest.raises(Broken, match=found):
        explore(start(2, 1, 1, table={**TABLE, cell: wrong}))


def test_every_move_of_the_protocol_happens_and_leads_where_the_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A phase is read off the lives of a node: after a move they are in the phase that the table has for it."""
    seen: Counter[tuple[Phase, Cue]] = Counter()
    follow = replacement._follow

    def checked(step: Step, member: Any, cue: Cue, *rest: Any, **begun: Any) -> Phase:
        before, told = replacement.phase_of(member), len(step.actions)
        after = follow(step, member, cue, *rest, **begun)
        move = PROTOCOL.get((before, cue), Move(Phase.NONE))
        assert replacement.phase_of(member) is after is move.next
        reasons = [
            each.event.reason
            for each in step.actions[told:]
            if isinstance(getattr(each, "event", 0), ReplacementAborted)
        ]
        assert len(reasons) == (Task.HALT in move.tasks)
        assert all(reason.startswith(move.reason.partition("{")[0]) for reason in reasons)
        seen[before, cue] += (before, cue) in PROTOCOL
        return after

    monkeypatch.setattr(replacement, "_follow", checked)
    explore(start(1, 1, 2))
    for world in explore(start(2, 1, 1), keep_twins=True).twins:
        world.tell(messages.Scale(1))
    assert set(PROTOCOL) - set(seen) == set()


def test_memory_is_a_reason_to_stop_the_old_one_even_without_a_spare() -> None:
    """The exception to "before go, nothing is touched": over its limit, the old one goes though the spare failed."""
    world = start(1, 0, 9)
    _report((0, 1), status=MEMORY)(world)
    spare = world.fleet.members[0].spare
    assert spare is not None
    _due((0, spare.generation))(world)
    _exit((0, spare.generation))(world)
    assert world.processes[0, 1].told_to_stop
    assert world.fleet.members[0].main.cause is Cause.MEMORY


def test_a_node_that_is_scaled_up_again_while_its_spare_dies_starts_again() -> None:
    """Found by the exploration: it stayed dead for good, since its id was still taken by the dying spare."""
    world = start(2, 9, 9)
    world.tell(messages.Restart("asked", 1))
    spare = world.fleet.members[1].spare
    assert spare is not None
    _due((1, spare.generation))(world)
    world.tell(messages.Scale(1))
    _exit((1, 1))(world)
    assert (1, spare.generation) in world.processes
    world.tell(messages.Scale(2))
    world.settle()
    assert world.fleet.members[1].main.state is State.RUNNING
