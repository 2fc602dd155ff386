"""A fleet for tests of single decisions of the pure core, with a clock that is moved by hand."""

from swarm_health import Status
from swarm_supervisor._core import messages as m
from swarm_supervisor._core.decisions import step
from swarm_supervisor._core.fleet import Fleet
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._core.view import take_snapshot
from swarm_supervisor.events import NodeExited
from swarm_supervisor.settings import Settings


class Script:
    """A fleet, a clock that is moved by hand, and everything that the core has wanted so far."""

    def __init__(self, nodes=1, **settings):
        self.fleet = Fleet(Settings(nodes=nodes, **settings), nodes, 0.0, random=lambda: 0.0)
        self.now = 0.0
        self.actions = []
        self.explains = ""
        """How a listener explains every end; "" if none does."""

    def do(self, happening, later=0.01):
        self.now += later
        new = step(self.fleet, happening, self.now)
        self.actions += new
        for action in new:
            if isinstance(action, m.Emit) and isinstance(action.event, NodeExited) and self.explains:
                self.do(m.Excuse(action.event.node_id, action.event.generation, self.explains), 0.0)
            if isinstance(action, m.Conclude):
                new = new + self.do(m.Concluded(action.node_id, action.generation), 0.0)
        return new

    def events(self, kind):
        return [
            action.event for action in self.actions if isinstance(action, m.Emit) and isinstance(action.event, kind)
        ]

    def main(self, node_id=0):
        return self.fleet.members[node_id].main

    def boot(self, node_id=0):
        """Fork the main process of a node, whatever its delay, and let it report healthy."""
        generation = self.main(node_id).generation
        self.now = max(self.now, self.main(node_id).deadline or 0.0)
        for _ in range(10):
            if any(isinstance(each, m.Fork) and each.generation == generation and each.node_id == node_id
                   for each in self.actions):  # fmt: skip
                break
            self.do(m.Tick())
        self.do(m.Forked(node_id, generation, 100 * generation + node_id))
        self.healthy(node_id)

    def healthy(self, node_id=0, later=0.01):
        self.do(m.Reported(node_id, self.main(node_id).generation, Status.HEALTHY), later)

    def exits(self, node_id=0, code=1, signal=None, generation=None, later=0.01):
        generation = self.main(node_id).generation if generation is None else generation
        self.do(m.Exited(node_id, generation, code, signal, "gone"), later)

    def until(self, state, node_id=0):
        """Let deadlines pass until the main life of a node is in a state."""
        for _ in range(20):
            if self.main(node_id).state is state:
                return
            self.now = max(self.now, self.fleet.deadlines.next())
            self.do(m.Tick())
        raise AssertionError(f"node {node_id} is {self.main(node_id).state.value}")

    def spare(self, node_id=0):
        """Have a node replaced, up to where its spare is forked; the spare's generation."""
        self.do(m.Restart("asked", node_id))
        self.do(m.Tick())
        spare = self.fleet.members[node_id].spare
        self.do(m.Forked(node_id, spare.generation, 900))
        return spare.generation

    def warm_spare(self):
        """A spare of node 0 that is warm while its old process runs: node 1 went down, so that may not be stopped."""
        self.boot(0)
        self.boot(1)
        spare = self.spare(0)
        self.exits(1)
        self.do(m.Reported(0, spare, ready=True))
        assert self.main(0).state is State.RUNNING
        return spare

    def snapshot(self):
        return take_snapshot(self.fleet, self.now, pid=1)
