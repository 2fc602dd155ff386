"""The supervisor with real processes: starts, dies, restarts, stops."""

import os
import re
import signal

import pytest


def test_runs_nodes_and_stops_them_on_term(start):
    swarm = start("sys.exit(supervise(beat, nodes=3).run())")
    nodes = swarm.running(3)
    assert {event["node_id"] for event in nodes} == {0, 1, 2}
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    exits = swarm.all("NodeExited")
    assert [event["code"] for event in exits] == [0, 0, 0]
    assert all(event["planned"] for event in exits)
    assert swarm.all("Stopped")[0]["exit_code"] == 0


def test_a_killed_node_is_replaced_under_the_same_id(start):
    swarm = start("""
supervisor = supervise(beat, nodes=2)
@supervisor.on(events.NodeExited)
def say(event):
    print(event, file=sys.stderr, flush=True)
sys.exit(supervisor.run())
""")
    victim = swarm.running(2)[1]
    os.kill(victim["pid"], signal.SIGKILL)
    exited = swarm.wait_for("NodeExited")
    assert (exited["signal"], exited["planned"], exited["node_id"]) == (9, False, victim["node_id"])
    why = "the signal did not come from the supervisor; perhaps the kernel was short of memory (see dmesg)"
    assert exited["reason"] == why
    again = swarm.wait_for("NodeRunning", lambda event: event["generation"] == 2)
    assert again["node_id"] == victim["node_id"]
    restarting = swarm.all("NodeRestarting")[0]
    assert restarting["reason"] == f"killed by SIGKILL: {why}"
    assert re.search(rf" ended after [\d.]+ s, killed by SIGKILL: {re.escape(why)}\n", swarm.stderr)


def test_a_silent_node_is_dumped_stopped_and_replaced(start):
    swarm = start("""
def target(node):
    node.healthy()
    if node.generation > 1:
        return beat(node)
    gil_holder()

sys.exit(supervise(target, node_report_timeout=1.0, shutdown_timeout=1.0).run())
""")
    first = swarm.running(1)[0]
    stopping = swarm.wait_for("NodeStopping")
    assert stopping["status"] == -1
    assert 1.0 <= stopping["at"] - first["at"] < 1.5
    assert "gil_holder" in swarm.wait_for("StacksDumped")["text"]
    terminating = swarm.wait_for("NodeTerminating")
    assert terminating["at"] - stopping["at"] < 1.3 + 0.5
    exited = swarm.wait_for("NodeExited")
    assert exited["signal"] == signal.SIGKILL
    assert "no report for" in exited["reason"]
    swarm.running(2)


def test_a_node_that_ends_instead_of_dumping_its_stacks_hurts_nobody(start):
    # As a drain does that ends in the very moment in which it is asked: its dump was looked for after its descriptors
    # had been closed, and that ended the supervisor.
    swarm = start("""
def target(node):
    signal.signal(signal.SIGTTIN, lambda *_: os._exit(4))  # in place of faulthandler's
    node.healthy()
    if node.generation == 1:
        node.unhealthy(1, "not polled")
        time.sleep(60)
    return beat(node)

sys.exit(supervise(target, shutdown_timeout=0.4).run())
""")
    swarm.wait_for("NodeExited", lambda event: event["code"] == 4)
    swarm.wait_for("NodeRunning", lambda event: event["generation"] == 2)
    swarm.signal(signal.SIGTTIN)  # the same, asked by somebody
    swarm.wait_for("NodeRunning", lambda event: event["generation"] == 3)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0, swarm.stderr


def test_an_unhealthy_report_stops_the_node_at_once(start):
    swarm = start("""
def target(node):
    node.healthy()
    if node.generation == 1:
        node.unhealthy(7, "the cache is gone")
    return beat(node)

sys.exit(supervise(target).run())
""")
    stopping = swarm.wait_for("NodeStopping")
    assert (stopping["status"], stopping["reason"]) == (7, "status 7: the cache is gone")
    assert swarm.wait_for("NodeExited")["planned"] is False
    swarm.wait_for("NodeRunning", lambda event: event["generation"] == 2)


def test_a_target_that_raises_while_booting_is_explained_and_retried(start):
    swarm = start("""
def target(node):
    if node.generation < 3:
        raise ValueError("no such table")
    return beat(node)

sys.exit(supervise(target).run())
""")
    swarm.running(1)
    exits = swarm.all("NodeExited")
    assert [event["code"] for event in exits] == [1, 1]
    assert all("ValueError: no such table" in event["reason"] for event in exits)
    assert "no such table" in swarm.stderr


def test_rolling_restart_replaces_one_process_after_the_other(start):
    swarm = start("sys.exit(supervise(beat, nodes=2).run())")
    swarm.running(2)
    swarm.signal(signal.SIGUSR2)
    finished = swarm.wait_for("RolloutFinished")
    assert (finished["replaced"], finished["aborted"]) == (2, "")
    names = [event["event"] for event in swarm.events]
    first = names.index("ReplacementFinished")
    assert names[:first].count("ReplacementStarted") == 1
    assert all(event["planned"] for event in swarm.all("NodeExited"))


def test_supervisor_killed_takes_every_node_along(start, gone):
    swarm = start("""
def target(node):
    node.healthy()
    if node.id == 0:
        gil_holder()
    if node.id == 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    return beat(node)

sys.exit(supervise(target, nodes=3, node_report_timeout=60.0).run())
""")
    nodes = swarm.running(3)
    swarm.signal(signal.SIGKILL)
    for node in nodes:
        assert gone(node["pid"], 5.0) < 1.0


def test_a_second_term_forces_and_tells_which_node_was_doing_what(start):
    swarm = start("""
from swarm_health import NodeStatistics
def target(node):
    node.report(NodeStatistics(state=f"at job {node.id}"))
    node.healthy()
    while True:
        time.sleep(600)

sys.exit(supervise(target, nodes=3, node_report_timeout=60.0, shutdown_timeout=60.0).run())
""")
    swarm.running(3)
    swarm.signal(signal.SIGTERM)
    swarm.wait_for("NodeStopping", lambda event: len(swarm.all("NodeStopping")) == 3)
    assert swarm.process.poll() is None
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 4
    assert {event["node_id"]: event["doing"] for event in swarm.all("NodeTerminating")} == {
        0: "at job 0", 1: "at job 1", 2: "at job 2"
    }  # fmt: skip
    assert {event["signal"] for event in swarm.all("NodeExited")} == {signal.SIGKILL}
    assert swarm.all("Stopped")[0]["exit_code"] == 4


def test_auto_runs_as_many_nodes_as_there_are_cpus_for_this_process(start):
    swarm = start("""
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sys.exit(supervise(beat, nodes="auto").run())
""")
    swarm.running(1)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    assert len(swarm.all("AfterFork")) == 1


def test_a_supervisor_whose_nodes_say_nothing_does_not_wake_up(start):
    swarm = start("""
import resource
def target(node):
    node.healthy()
    node.stopping.wait()
    return 0

supervisor = supervise(target, nodes=3, node_report_timeout=600.0)
turns = 0
def begin():
    global turns
    before, turns = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, 0
    def end():
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
        print(f"{turns} turns, {switches} switches", file=sys.stderr)
        supervisor.stop("measured")
        assert turns == 1, turns            # the timer that comes back to begin()'s own turn, and nothing else
        assert switches <= 3, switches
    supervisor.call_at(time.monotonic() + 1.0, end)

@supervisor.on(events.Controlled)
def count(event):
    global turns
    turns += 1

@supervisor.on(events.NodeRunning)
def all_run(event):
    if supervisor.snapshot().running == 3:
        supervisor.call_at(time.monotonic() + 0.3, begin)
sys.exit(supervisor.run())
""")
    assert swarm.end() == 0
    assert swarm.all("ErrorOccurred") == [], swarm.stderr


def test_finite_work_ends(start):
    swarm = start("""
def target(node):
    node.healthy()
    return 0

sys.exit(supervise(target, nodes=3, restart="on-failure").run())
""")
    assert swarm.end() == 0
    assert len(swarm.all("NodeEnded")) == 3


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP"])
def test_stop_signals(start, signal_name):
    swarm = start("sys.exit(supervise(beat).run())")
    swarm.running(1)
    swarm.signal(getattr(signal, signal_name))
    assert swarm.end() == 0
    assert swarm.all("SignalReceived")[0]["name"] == signal_name


def test_control_socket_tells_status_and_events(start, tmp_path):
    from swarm_supervisor import ControlClient

    swarm = start('sys.exit(supervise(beat, nodes=2, control_socket="control.sock").run())')
    swarm.running(2)
    with ControlClient(tmp_path / "control.sock") as client:
        snapshot = client.status()
        assert (snapshot.state, snapshot.wanted, len(snapshot.nodes)) == ("running", 2, 2)
        events = client.subscribe()
        os.kill(snapshot.nodes[0].pid, signal.SIGKILL)
        exited = next(event for event in events if event["event"] == "NodeExited")
        assert exited["node_id"] == 0
    with ControlClient(tmp_path / "control.sock") as client:
        client.stop()
    assert swarm.end() == 0
    assert not (tmp_path / "control.sock").exists()


def test_run_in_child_returns_bytes_and_raises_its_reason(start):
    swarm = start("""
from swarm_supervisor import ChildFailed, run_in_child

def bad():
    raise KeyError("topic")

assert run_in_child(lambda: b"x" * 200_000, 5.0) == b"x" * 200_000
for function, word in ((bad, "KeyError"), (lambda: time.sleep(60), "longer than"), (lambda: os._exit(7), "code 7")):
    try:
        run_in_child(function, 0.5)
    except ChildFailed as error:
        assert word in str(error), error
    else:
        raise AssertionError(word)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    sys.exit(42)
""")
    assert swarm.end() == 42, swarm.stderr
