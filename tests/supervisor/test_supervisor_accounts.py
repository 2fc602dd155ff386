"""What a snapshot tells of work: sums that outlive processes, partitions without an owner, one number of nodes."""

import itertools

from swarm_health import NodeStatistics, PartitionStatistics, Status, TopicStatistics
from swarm_supervisor._core import messages
from swarm_supervisor._core.decisions import step
from swarm_supervisor._core.fleet import Fleet, next_deadline
from swarm_supervisor._core.messages import Conclude, Fork
from swarm_supervisor._core.view import take_snapshot
from swarm_supervisor.settings import Settings


class Swarm:
    """The core, with a process for each fork that it asks for."""

    def __init__(self, nodes, **changes):
        self.now = 0.0
        self.fleet = Fleet(Settings(node_restart_delay=5.0, **changes), nodes, 0.0, random=lambda: 0.0)
        self.pids = itertools.count(100)
        self.tick()

    def happen(self, happening):
        for action in step(self.fleet, happening, self.now):
            if isinstance(action, Fork):
                self.happen(messages.Forked(action.node_id, action.generation, next(self.pids)))
                self.report(action.node_id)

            elif isinstance(action, Conclude):
                self.happen(messages.Concluded(action.node_id, action.generation))

    def tick(self):
        while (due := next_deadline(self.fleet, self.now)) is not None and due <= self.now:
            self.happen(messages.Tick())

    def at(self, now):
        self.now = now
        self.tick()

    def generation(self, node):
        return self.fleet.members[node].main.generation

    def report(self, node, statistics=None, status=0):
        status = None if statistics is not None else status
        self.happen(messages.Reported(node, self.generation(node), status, statistics=statistics))

    def kill(self, node):
        self.happen(messages.Exited(node, self.generation(node), None, 9, "killed by SIGKILL"))

    def snapshot(self):
        return take_snapshot(self.fleet, self.now, pid=1)


def work(messages, lag=None):
    rows = [PartitionStatistics("orders", 0, messages=messages, lag=lag, group="billing")]
    return NodeStatistics(
        messages=messages, partitions=rows, topics=[TopicStatistics("billing", "orders", messages=messages)]
    )


def test_messages_of_a_killed_process_still_count_and_its_partition_is_shown_without_an_owner():
    swarm = Swarm(2)
    swarm.report(0, work(30, lag=4))
    swarm.at(10.0)
    swarm.kill(0)
    swarm.at(12.0)
    told = swarm.snapshot()
    (orphan,) = told.partitions
    assert (orphan.node, orphan.unowned_s, orphan.lag) == (None, 2.0, 4)
    assert (told.running, told.wanted) == (1, 2)
    assert (told.nodes[0].statistics, told.nodes[0].totals.messages, told.totals.messages) == (None, 30, 30)
    swarm.at(16.0)
    swarm.report(0, work(5))
    told = swarm.snapshot()
    assert (told.nodes[0].statistics.messages, told.nodes[0].totals.messages) == (5, 35)
    assert [one.messages for one in told.topics] == [35]
    assert [(one.node, one.messages) for one in told.partitions] == [(0, 35)]


def test_a_node_that_is_done_is_not_silent_and_holds_no_memory():
    """Its last report grew older for ever, and an alert took it for a node that hangs."""
    swarm = Swarm(2, restart="on-failure")
    swarm.report(1, NodeStatistics(messages=30, rss_mb=90.0, poll_age_s=1.0))
    swarm.happen(messages.Exited(1, 1, 0, None, "exited with code 0"))
    swarm.at(600.0)
    done = swarm.snapshot().nodes[1]
    assert (done.state, done.pid, done.last_report_age_s, done.statistics) == ("done", None, None, None)
    assert done.totals.messages == 30


def test_a_node_that_is_scaled_away_stays_in_the_sum():
    swarm = Swarm(2)
    swarm.report(1, work(30))
    swarm.happen(messages.Scale(1))
    swarm.happen(messages.Exited(1, 1, 0, None, "exited with code 0"))
    told = swarm.snapshot()
    assert [node.id for node in told.nodes] == [0]
    assert told.totals.messages == 30


def test_a_node_that_is_over_its_memory_is_not_counted_as_healthy():
    swarm = Swarm(2)
    swarm.report(1, status=int(Status.MEMORY))
    told = swarm.snapshot()
    assert told.nodes[1].status == Status.MEMORY
    assert told.running == sum(node.state == "running" and node.status == 0 for node in told.nodes) == 1
