"""The hand-over (fork, warm, stop the old one, connect the new one), in every order in which things can happen.

The supervisor's pure core is explored exhaustively, together with a model of what processes may do at any moment. Time
is left out: any deadline may pass at any moment, so that what holds here holds for all settings. A process counts as
connected from its fork, or a spare from its go, until it is reaped: it may hold the static member id of its node.

- Fence: two processes of one node are never connected at the same time.
- Nobody is forgotten: every process that lives is known to the supervisor.
- Before go, the end of a spare costs nothing: the old process is not touched.
- No dead end: from every state that can be reached, once things go well, all wanted nodes run (or the swarm stops).
"""

import pickle
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from swarm_supervisor import messages
from swarm_supervisor.decisions import step
from swarm_supervisor.fleet import Cause, Fleet, Kind, Life, Mode
from swarm_supervisor.lifecycle import TABLE, Order, State, Transition, Trigger
from swarm_supervisor.settings import Settings

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
        match action:
            case messages.Fork():
                if self.fork_fails:
                    self.fork_fails = False
                    self.tell(messages.ForkFailed(action.node_id, action.generation, "no process left"))
                    return
                born = Process(action.node_id, action.generation, connected=not action.spare)
                self.processes[action.node_id, action.generation] = born
                self.tell(messages.Forked(action.node_id, action.generation, 1000 + action.generation))
            case messages.Go() if process is not None:
                process.connected = True
            case messages.Term() if process is not None:
                process.told_to_stop = True
            case messages.Kill() if process is not None:
                process.killed = True
            case messages.Finish():
                self.finished = True

    def _check(self) -> None:
        for node in {process.node for process in self.processes.values()}:
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
            if name in ("end of a spare", "failing fork of a spare"):
                world._check_untouched(before)
            yield name, world

    def _olds_at_work(self) -> list[Process]:
        """Processes with a spare that are not going to be replaced for anything that is wrong with them."""
        return [
            self.processes[member.id, member.main.generation]
            for member in self.fleet.members.values()
            if member.spare is not None
            and member.main.state is State.RUNNING
            and (member.replacement is None or member.replacement.kind is not Kind.MEMORY)
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
            expected = process.told_to_stop or process.killed
            yield f"end {spare}", not expected, 0, _exit(where)
        if fleet.mode is Mode.RUNNING:
            yield "restart of all", 0, 1, lambda world: world.tell(messages.Restart("asked"))
            yield "restart of node 0", 0, 1, lambda world: world.tell(messages.Restart("asked", 0))
            yield "one node more", 0, 1, lambda world: world.tell(messages.Scale(fleet.wanted + 1))
            if fleet.wanted > 1:
                yield "one node less", 0, 1, lambda world: world.tell(messages.Scale(fleet.wanted - 1))
        if fleet.mode is not Mode.STOPPING:
            yield "stop", 0, 1, lambda world: world.tell(messages.StopSwarm("asked"))
        else:
            yield "forced stop", 0, 1, lambda world: world.tell(messages.ForceStop("asked"))

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


def _report(where: tuple[int, int], status: int | None = None, ready: bool = False) -> Callable[[World], None]:
    def act(world: World) -> None:
        process = world.processes[where]
        process.healthy |= status == 0
        process.ready |= ready
        world.tell(messages.Reported(*where, status=status, ready=ready, reason="as the model wants it"))

    return act


def _exit(where: tuple[int, int]) -> Callable[[World], None]:
    def act(world: World) -> None:
        process = world.processes.pop(where)
        killed = process.killed or not process.told_to_stop
        code, signal = (None, 9) if killed else (0, None)
        world.tell(messages.Exited(*where, code, signal, "as the model wants it"))

    return act


def start(nodes: int, orders: int, mishaps: int, table: Any = TABLE) -> World:
    """A swarm whose nodes all run."""
    world = World(Fleet(replace(SETTINGS, nodes=nodes), nodes, 0.0, table=table))
    world.settle()
    world.orders, world.mishaps = orders, mishaps
    return world


def explore(first: World) -> tuple[int, int, set[str]]:
    """Visit every state once: (states, transitions, what has happened). Broken names the way there."""
    seen = {first.key()}
    todo: deque[tuple[World, tuple[str, ...]]] = deque([(first, ())])
    transitions = 0
    happened: set[str] = set()
    while todo:
        world, way = todo.popleft()
        try:
            nexts = list(world.nexts())
        except Exception as error:
            raise Broken(f"after {' -> '.join(way)}: {type(error).__name__}: {error}") from error
        for name, following in nexts:
            transitions += 1
            happened.add(name)
            key = following.key()
            if key in seen:
                continue
            seen.add(key)
            try:
                next(following.copies(1)).settle()
            except Exception as error:
                raise Broken(f"after {' -> '.join((*way, name))}: {type(error).__name__}: {error}") from error
            todo.append((following, (*way, name)))
    return len(seen), transitions, happened


@pytest.mark.parametrize(("nodes", "orders", "mishaps"), [(1, 1, 2), (2, 2, 1)])
def test_every_interleaving_of_a_hand_over_keeps_its_promises(nodes: int, orders: int, mishaps: int) -> None:
    states, transitions, happened = explore(start(nodes, orders, mishaps))
    print(f"{nodes} nodes, {orders} orders, {mishaps} mishaps: {states} states, {transitions} transitions")
    assert states > 500
    for what in ("ready report of a spare", "end of a spare", "deadline of a spare", "failing fork of a spare", "stop"):
        assert what in happened


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
        explore(start(1, 1, 1, table={**TABLE, cell: wrong}))


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
