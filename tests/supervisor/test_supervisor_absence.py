"""Whether the supervisor was away: with clocks of our own, then with stops at every part of a real turn."""

import os
import select
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_supervisor.absence import Absence, tolerated_s


@given(st.floats(0.01, 3600.0))
def test_what_is_tolerated_is_less_than_what_a_node_may_be_silent(timeout):
    assert tolerated_s(timeout) == min(1.0, timeout / 2) < timeout


class Turns:
    """A supervisor's turns on a clock of their own. `stop` lets time pass in which nothing runs."""

    def __init__(self):
        self.now = self.cpu = 100.0
        self.absence = Absence(self.now, self.cpu)
        self.until = None

    def work(self, seconds):
        self.now += seconds
        self.cpu += seconds

    def stop(self, seconds):
        self.now += seconds

    def wait(self, seconds):
        self.until = self.now + seconds
        self.absence.wait(self.now, self.cpu)
        self.now = self.until

    def wake(self):
        self.absence.wake(self.until, self.now, self.cpu)


PARTS = {
    "while it works": lambda turns, stop: (turns.work(0.2), stop(), turns.wait(0.5), turns.wake()),
    "while it waits": lambda turns, stop: (turns.wait(0.5), stop(), turns.wake()),
    "after the wait": lambda turns, stop: (turns.wait(0.5), turns.wake(), stop(), turns.work(0.1)),
    "after it had judged": lambda turns, stop: (turns.wait(0.5), turns.wake(), turns.taken(), stop(), turns.work(0.1)),
}


@pytest.mark.parametrize("part", PARTS)
@given(seconds=st.floats(0.0, 100.0))
def test_a_stop_is_seen_in_whatever_part_of_a_turn_it_comes(part, seconds):
    turns = Turns()
    turns.taken = lambda: turns.absence.take(turns.now, turns.cpu)
    PARTS[part](turns, lambda: turns.stop(seconds))
    assert turns.absence.longest(turns.now, turns.cpu) == pytest.approx(seconds, abs=1e-6)
    assert turns.absence.take(turns.now, turns.cpu) == pytest.approx(seconds, abs=1e-6)
    assert turns.absence.take(turns.now, turns.cpu) == 0.0


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 50.0)), max_size=30))
def test_work_and_waits_alone_are_no_absence(steps):
    turns = Turns()
    for work, wait in steps:
        turns.work(work)
        turns.wait(wait)
        turns.wake()
    assert turns.absence.longest(turns.now, turns.cpu) == pytest.approx(0.0, abs=1e-6)


def test_a_wait_without_an_end_and_one_that_ends_early_are_no_absence():
    absence = Absence(0.0, 0.0)
    absence.wait(0.0, 0.0)
    absence.wake(None, 1000.0, 0.0)
    absence.wait(1000.0, 0.0)
    absence.wake(2000.0, 1500.0, 0.0)
    assert absence.take(1500.0, 0.0) == 0.0


STOPS_ITSELF = """
where = sys.argv[1]
supervisor = supervise(beat, nodes=2, liveness_interval=0.2, node_report_timeout=0.8)
stopped = False

def stop():
    global stopped
    if stopped or supervisor.snapshot().running < 2:
        return
    stopped = True
    for node in supervisor.snapshot().nodes:
        os.kill(node.pid, signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGSTOP)

if where == "timer":
    supervisor.on(events.NodeRunning)(lambda _: supervisor.call_at(time.monotonic() + 0.1, stop))
else:
    supervisor.on(getattr(events, where))(lambda _: stop())
sys.exit(supervisor.run())
"""


@pytest.mark.parametrize("where", ["NodeReported", "Controlled", "timer"])
def test_a_stop_in_the_midst_of_a_turn_is_told_and_held_against_nobody(start, where):
    """A listener stops the nodes and its own supervisor: between two waits, where no wait can be late."""
    swarm = start(STOPS_ITSELF, where)
    nodes = swarm.running(2)
    stopped = os.waitid(os.P_PID, swarm.pid, os.WSTOPPED | os.WNOWAIT)
    assert stopped is not None
    assert stopped.si_status == signal.SIGSTOP
    select.select([], [], [], 2.0)  # the time that is not to be held against anybody has to pass
    for pid in (nodes[0]["pid"], nodes[1]["pid"], swarm.pid):
        os.kill(pid, signal.SIGCONT)
    suspended = swarm.wait_for("Suspended")
    assert 1.5 < suspended["duration_s"] < 15.0
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    assert not swarm.all("NodeStopping") or {event["status"] for event in swarm.all("NodeStopping")} == {0}
