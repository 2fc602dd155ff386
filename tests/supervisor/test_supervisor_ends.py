"""How a process ended, as data: what a listener can judge it by, and in which order it hears of it."""

import itertools
import os
import signal

import pytest

from swarm_health import Status
from swarm_supervisor._core import messages as m
from swarm_supervisor._core.fleet import Cause
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._ends import End, end_of
from swarm_supervisor.events import CrashLoop, NodeExited, NodeRestarting
from tests.supervisor.script import Script

SEGV, KILL, TERM, HUP = 11, 9, 15, 1


@pytest.mark.parametrize(
    ("cause", "code", "number", "killed", "oom", "end"),
    [
        ("", 0, None, False, False, End.ON_ITS_OWN),  # a handler may call os._exit(0)
        ("", 7, None, False, False, End.ON_ITS_OWN),
        ("", None, SEGV, False, False, End.ON_ITS_OWN),
        ("", None, KILL, False, False, End.KILLED),
        ("", None, KILL, False, True, End.OUT_OF_MEMORY),
        ("", None, HUP, False, False, End.KILLED),
        ("", None, None, False, False, End.UNKNOWN),
        ("operator", None, TERM, False, False, End.GRACEFUL),
        ("operator", 0, None, False, False, End.GRACEFUL),
        ("operator", 4, None, False, False, End.OVERRAN),
        ("shutdown", 0, None, False, False, End.GRACEFUL),
        ("shutdown", 4, None, False, False, End.OVERRAN),
        ("shutdown", None, KILL, True, False, End.OVERRAN),
        ("shutdown", None, SEGV, False, False, End.ON_ITS_OWN),
        ("shutdown", None, KILL, False, False, End.KILLED),  # systemd and others follow up with their own
        ("replaced", 0, None, False, False, End.GRACEFUL),
        ("scaled down", None, KILL, True, False, End.OVERRAN),
        ("recycled", 0, None, False, False, End.GRACEFUL),
        ("aborted", None, KILL, True, False, End.GRACEFUL),
        ("memory", 0, None, False, False, End.GRACEFUL),
        ("memory", 4, None, False, False, End.OVERRAN),
        ("memory", None, KILL, True, False, End.OVERRAN),
        ("memory", None, KILL, False, True, End.OUT_OF_MEMORY),
        ("silent", 0, None, False, False, End.GRACEFUL),
        ("silent", None, KILL, True, False, End.HUNG),
        ("silent", None, TERM, False, False, End.HUNG),
        ("unhealthy", 0, None, False, False, End.GRACEFUL),
        ("unhealthy", 4, None, False, False, End.HUNG),
        ("unhealthy", None, KILL, True, False, End.HUNG),
        ("unhealthy", None, SEGV, True, False, End.ON_ITS_OWN),
    ],
)
def test_each_end_has_its_word(cause, code, number, killed, oom, end):
    assert end_of(cause, code, number, killed=killed, oom=oom) is end


def test_every_cause_has_a_word_for_every_end_and_only_what_was_not_ordered_is_blamed():
    codes = [(0, None), (1, None), (None, SEGV), (None, KILL), (None, TERM), (None, None)]
    for cause, (code, number), killed, oom in itertools.product(
        ["", *(each.value for each in Cause)], codes, (False, True), (False, True)
    ):
        end = end_of(cause, code, number, killed=killed, oom=oom)
        if cause not in ("silent", "unhealthy"):
            assert end is not End.HUNG
        if code == 0 and cause:
            assert end is End.GRACEFUL
        if number == KILL and not killed:
            assert end in (End.KILLED, End.OUT_OF_MEMORY)


def ended(script):
    return script.events(NodeExited)[-1]


def test_the_event_has_the_cause_as_data():
    script = Script(1, node_report_timeout=20.0)
    script.boot()
    script.exits(code=None, signal=SEGV)
    assert (ended(script).cause, ended(script).end) == ("", End.ON_ITS_OWN)
    script.boot()
    script.exits(code=None, signal=TERM)
    assert (ended(script).cause, ended(script).planned) == ("operator", True)
    script.boot()
    script.do(m.Reported(0, script.main().generation, leaving="SIGTERM"))
    script.exits(code=0)
    assert (ended(script).cause, ended(script).end) == ("operator", End.GRACEFUL)
    script.boot()
    script.do(m.Reported(0, script.main().generation, recycle="1,000 jobs"))
    script.exits(code=0)
    assert (ended(script).cause, ended(script).end) == ("recycled", End.GRACEFUL)
    script.boot()
    script.until(State.KILLING)
    script.exits(code=None, signal=KILL)
    assert (ended(script).cause, ended(script).killed, ended(script).end) == ("silent", True, End.HUNG)
    script.boot()
    script.do(m.Reported(0, script.main().generation, Status.CONSUMING, "too long"))
    script.exits(code=4)
    assert (ended(script).cause, ended(script).killed, ended(script).end) == ("unhealthy", False, End.HUNG)
    script.boot()
    script.do(m.Exited(0, script.main().generation, None, KILL, "killed by SIGKILL", "probably the OOM killer", True))
    assert (ended(script).oom, ended(script).end) == (True, End.OUT_OF_MEMORY)


def test_a_debugger_that_has_the_exit_status_is_no_oom_killer():
    script = Script(1)
    script.boot()
    script.do(m.Exited(0, 1, None, None, "unknown", "a debugger holds the process and its exit status"))
    (exited,) = [each.event for each in script.actions if isinstance(each, m.Emit) and type(each.event) is NodeExited]
    assert (exited.oom, exited.end) == (False, End.UNKNOWN)


def test_a_death_that_is_explained_counts_for_no_crash_loop_and_lets_no_delay_grow():
    """Three deaths of one poison record, and five records that kill."""
    script = Script(1, first_restart_delay=0.0)
    script.explains = "record 7 of orders[3]"
    for _ in range(15):
        script.boot()
        script.exits(code=None, signal=SEGV)
        assert script.events(NodeRestarting)[-1].delay_s == 0.0
    assert script.events(CrashLoop) == []
    assert "explained: record 7 of orders[3]" in script.events(NodeRestarting)[-1].reason
    assert not script.snapshot().nodes[0].crash_loop
    script.explains = ""
    for expected in (0.0, 5.0, 10.0, 20.0, 60.0):
        script.boot()
        script.exits(code=None, signal=SEGV)
        assert script.events(NodeRestarting)[-1].delay_s == expected
    assert [each.restarts for each in script.events(CrashLoop)] == [5]


def test_a_node_in_a_crash_loop_waits_for_its_delay_although_its_death_is_explained():
    script = Script(1, first_restart_delay=0.0, max_restarts=2)
    for _ in range(2):
        script.boot()
        script.exits()
    script.explains = "a record"
    script.boot()
    script.exits()
    assert script.events(NodeRestarting)[-1].delay_s == 60.0
    script.boot()
    script.now += 61.0
    script.healthy()
    script.exits()
    assert script.events(NodeRestarting)[-1].delay_s == 0.0  # a stable life has ended it


def test_an_explained_death_ends_no_swarm():
    script = Script(1, on_crash_loop="exit", max_restarts=1)
    script.explains = "a record"
    script.boot()
    script.exits()
    assert script.main().state is State.BACKING_OFF
    script.explains = ""
    script.boot()
    script.exits()
    assert script.actions[-1] == m.Finish(5)


def test_an_explanation_that_comes_late_or_of_no_end_changes_nothing():
    script = Script(1)
    script.boot()
    script.do(m.Excuse(0, 1, "it lives"))
    script.do(m.Excuse(5, 1, "no such node"))
    script.exits()
    script.do(m.Excuse(0, 1, "too late"))
    script.do(m.Concluded(0, 1))
    assert script.fleet.explained == 0
    assert len(script.events(NodeRestarting)) == 1


ORDER = """
import mmap

page = mmap.mmap(-1, 4096)

def target(node):
    if node.generation > 1 and page[node.generation - 1] != 1:
        os.write(1, b'{"event": "Unknown"}\\n')
    os.write(1, b'{"event": "Told", "generation": %d, "known": %d}\\n' % (node.generation, page[node.generation - 1]))
    code = beat(node)
    return code

supervisor = supervise(target, nodes=1)

@supervisor.on(events.NodeExited)
def note(event):
    time.sleep(0.05)   # whoever does not wait for it would be seen
    page[event.generation] = 1

sys.exit(supervisor.run())
"""


def test_an_end_is_told_before_its_successor_begins(start):
    """Forked anew without a delay, and a spare that is told to go: what the listener wrote is there."""
    swarm = start(ORDER)
    node = swarm.running(1)[0]
    os.kill(node["pid"], signal.SIGKILL)
    swarm.wait_for("Told", lambda event: event["generation"] == 2)
    swarm.wait_for("NodeRunning", lambda event: event["generation"] == 2)
    swarm.signal(signal.SIGUSR2)
    swarm.wait_for("Told", lambda event: event["generation"] == 3)
    assert [event["known"] for event in swarm.all("Told")] == [0, 1, 1]
    names = [event["event"] for event in swarm.events]
    assert names.index("NodeExited") < names.index("BeforeFork", names.index("NodeExited"))


def test_the_stacks_of_a_hung_process_are_told_before_its_end(start):
    swarm = start("""
def target(node):
    node.healthy()
    if node.generation == 1:
        gil_holder()
    return beat(node)

sys.exit(supervise(target, shutdown_timeout=1.0).run())
""")
    exited = swarm.wait_for("NodeExited")
    assert (exited["cause"], exited["killed"], exited["oom"], exited["signal"]) == ("silent", True, False, KILL)
    told = swarm.events[: swarm.events.index(exited)]
    stacks = [event for event in told if event["event"] == "StacksDumped" and event["generation"] == 1]
    assert stacks
    assert "gil_holder" in stacks[-1]["text"]


def test_a_listener_explains_a_death_and_the_swarm_goes_on(start):
    swarm = start("""
import os

def target(node):
    node.healthy()
    if node.generation < 8:
        os.abort()
    return beat(node)

supervisor = supervise(target, on_crash_loop="exit", max_restarts=3)

@supervisor.on(events.NodeExited)
def look(event):
    done = [supervisor.excuse(event.node_id, event.generation, "a poison record") for _ in range(2)]
    os.write(1, b'{"event": "Explained", "done": [%d, %d]}\\n' % tuple(done))

sys.exit(supervisor.run())
""")
    swarm.wait_for("NodeRunning", lambda event: event["generation"] == 8)
    assert [event["done"] for event in swarm.all("Explained")] == [[1, 0]] * 7
    assert not swarm.all("CrashLoop")
    assert all("explained: a poison record" in event["reason"] for event in swarm.all("NodeRestarting"))
