"""Whether the supervisor was away: with clocks of our own, then with stops at every part of a real turn."""

import logging
import os
import select
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_supervisor._core import messages
from swarm_supervisor._core.absence import Absence, tolerated_s
from swarm_supervisor._core.decisions import step
from swarm_supervisor._core.fleet import Fleet
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._slowest import Slowest
from swarm_supervisor.settings import Settings


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


def test_the_time_in_which_nodes_could_be_heard_is_counted_between_two_absences():
    turns = Turns()
    for _ in range(3):
        turns.wait(0.5)
        turns.wake()
        turns.work(1.0)
    assert turns.absence.excuse() == pytest.approx(1.5)
    turns.wait(0.2)
    turns.stop(50.0)  # it oversleeps: what is beyond the end of its wait is no presence
    turns.wake()
    assert turns.absence.excuse() == pytest.approx(0.2)
    assert turns.absence.excuse() == 0.0


def test_the_slowest_callback_is_named_if_callbacks_took_the_time():
    slowest = Slowest()
    for name, seconds in (("a", 0.02), ("b", 0.05), ("c", 0.01)):
        slowest.call(lambda name=name: name, time.sleep, seconds)
    assert slowest.take(0.07) == "b"
    assert slowest.take(0.001) == ""
    slowest.call(lambda: "outer", lambda: slowest.call(lambda: "inner", time.sleep, 0.02))
    assert slowest.take(60.0) == ""
    with pytest.raises(ZeroDivisionError):
        slowest.call(lambda: "raises", lambda: 1 / 0)
    slowest.call(lambda: "outer", lambda: slowest.call(lambda: "inner", time.sleep, 0.02))
    assert slowest.take(0.02) == "outer"


def slept(fleet, now, duration_s=2.0, **what):
    (emit,) = step(fleet, messages.Slept(duration_s, **what), now)
    return emit.event


def running(now=0.0, **settings):
    fleet = Fleet(Settings(nodes=1, node_report_timeout=60.0, **settings), 1, now)
    step(fleet, messages.Tick(), now)
    step(fleet, messages.Forked(0, 1, 77), now)
    step(fleet, messages.Reported(0, 1, 0), now)
    return fleet, fleet.members[0].main


def test_the_first_absence_gives_everybody_his_time_anew_until_he_is_heard():
    fleet, life = running()
    slept(fleet, 50.0)
    assert life.deadline == 110.0
    step(fleet, messages.Reported(0, 1, 0), 55.0)
    slept(fleet, 100.0)
    assert life.deadline == 160.0


@pytest.mark.parametrize("what", [{"culprit": "a listener"}, {"rested": False}])
def test_a_supervisor_that_is_away_all_the_time_judges_all_the_same(what):
    """A slow listener in every turn, or a machine without a breath: a hung node had its time anew each time."""
    fleet, life = running()
    for now in range(2, 200, 2):
        slept(fleet, float(now), **what)
        step(fleet, messages.Tick(), float(now))
        if life.state is not State.RUNNING:
            break
    assert life.state is State.DUMPING
    assert now <= 2 * 60.0 + 4.0


def test_another_absence_after_a_rest_gives_back_what_it_took():
    """Two suspends of a machine before a node beats again: it is to blame for neither."""
    fleet, life = running()
    slept(fleet, 1000.0, duration_s=1000.0)
    assert life.deadline == 1060.0
    slept(fleet, 9003.0, duration_s=8000.0, rested=True)
    assert life.deadline == 9060.0


def test_a_stop_ends_however_often_the_supervisor_is_away():
    fleet, _ = running(shutdown_timeout=10.0, shutdown_grace=5.0)
    step(fleet, messages.StopSwarm("test"), 0.0)
    for now in range(2, 200, 2):
        slept(fleet, float(now), culprit="a listener")
        if any(isinstance(action, messages.Finish) for action in step(fleet, messages.Tick(), float(now))):
            break
    assert now <= 2 * 15.0 + 4.0


def test_a_slow_listener_is_named_and_told_ever_more_rarely():
    fleet, _ = running()
    told = [slept(fleet, float(now), culprit="listener save of NodeReported") for now in range(1, 21)]
    assert [event.times for event in told if event.severity == logging.WARNING] == [1, 2, 4, 8, 16]
    assert str(told[1]).startswith(
        "listener save of NodeReported took 2.0 s (2 times so far), which stopped supervision meanwhile: "
    )
    alone = [slept(fleet, 100.0 + now, rested=now == 0) for now in range(4)]
    assert [event.times for event in alone] == [1, 2, 3, 4]
    assert slept(fleet, 200.0, rested=True).times == 1


SLOW_LISTENER = """
def target(node):
    node.healthy()
    if node.id == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(600)
    return beat(node, 0.2)

supervisor = supervise(target, nodes=2, liveness_interval=0.5, node_report_timeout=1.0, shutdown_timeout=1.0,
                       shutdown_grace=1.0, stack_dump_timeout=0.1, restart="never")

@supervisor.on(events.NodeReported)
def save_it(event):
    time.sleep(0.6)

sys.exit(supervisor.run())
"""


def test_a_slow_listener_does_not_keep_a_hung_node_from_being_judged(start):
    swarm = start(SLOW_LISTENER)
    exited = swarm.wait_for("NodeExited", lambda event: event["node_id"] == 0, timeout=60.0)
    assert exited["signal"] == signal.SIGKILL
    suspended = swarm.all("Suspended")
    assert any(event["listener"] == "listener save_it of NodeReported" for event in suspended)
    assert "save_it of NodeReported took" in swarm.stderr
    swarm.signal(signal.SIGTERM)
    swarm.end(60.0)


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
