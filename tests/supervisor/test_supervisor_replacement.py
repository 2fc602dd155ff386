"""Planned replacement, scaling and quieting, with real processes."""

import os
import signal

import pytest


def test_phases_of_a_replacement(start):
    """Forked and warmed beside the old one; go when that has gone; then healthy."""
    swarm = start("""
def target(node):
    os.write(1, b'{"event": "Phase", "what": "called", "generation": %d, "go": %d}\\n'
             % (node.generation, node.go.is_set()))
    node.ready()
    if not node.go.wait(10.0):
        return 1
    os.write(1, b'{"event": "Phase", "what": "went", "generation": %d}\\n' % node.generation)
    code = beat(node)
    os.write(1, b'{"event": "Phase", "what": "left", "generation": %d}\\n' % node.generation)
    return code

sys.exit(supervise(target, target_waits_for_go=True).run())
""")
    swarm.running(1)
    swarm.signal(signal.SIGUSR2)
    swarm.wait_for("ReplacementFinished")
    phases = [(event["what"], event["generation"]) for event in swarm.all("Phase")]
    assert phases == [("called", 1), ("went", 1), ("called", 2), ("left", 1), ("went", 2)]
    assert swarm.all("Phase")[2]["go"] == 0
    assert swarm.all("RolloutFinished") or swarm.wait_for("RolloutFinished")


def test_a_spare_of_a_target_that_does_not_wait_is_held_before_the_target(start):
    swarm = start("""
def target(node):
    os.write(1, b'{"event": "Phase", "what": "called", "generation": %d}\\n' % node.generation)
    code = beat(node)
    os.write(1, b'{"event": "Phase", "what": "left", "generation": %d}\\n' % node.generation)
    return code

sys.exit(supervise(target).run())
""")
    swarm.running(1)
    swarm.signal(signal.SIGUSR2)
    swarm.wait_for("RolloutFinished")
    phases = [(event["what"], event["generation"]) for event in swarm.all("Phase")]
    assert phases == [("called", 1), ("left", 1), ("called", 2)]


def test_a_replacement_that_never_gets_ready_is_given_up_and_the_old_ones_stay(start):
    swarm = start("""
def target(node):
    if not node.go.is_set():
        time.sleep(600)
    return beat(node)

sys.exit(supervise(target, nodes=3, target_waits_for_go=True, boot_timeout=0.5, stack_dump_timeout=0.1).run())
""")
    old = {event["pid"] for event in swarm.running(3)}
    swarm.signal(signal.SIGUSR2)
    finished = swarm.wait_for("RolloutFinished")
    assert finished["replaced"] == 0
    assert "boot timeout" in finished["aborted"]
    assert len(swarm.all("ReplacementStarted")) == 1
    assert not old & {event["pid"] for event in swarm.all("NodeExited")}
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    assert old <= {event["pid"] for event in swarm.all("NodeExited")}


def test_a_failure_after_go_halts_the_rollout(start):
    swarm = start("""
def target(node):
    if node.generation == 2 and node.id == 0:
        raise RuntimeError("the new one is broken")
    return beat(node)

sys.exit(supervise(target, nodes=3).run())
""")
    swarm.running(3)
    swarm.signal(signal.SIGUSR2)
    finished = swarm.wait_for("RolloutFinished")
    assert "the new one is broken" in finished["aborted"]
    assert {event["node_id"] for event in swarm.all("ReplacementStarted")} == {0}


def test_no_more_nodes_than_allowed_are_down_at_once(start):
    # A drain takes its time: without, the first may be back before the second begins to stop.
    swarm = start("""
def target(node):
    code = beat(node)
    time.sleep(0.3)
    return code

sys.exit(supervise(target, nodes=5, max_unavailable=2).run())
""")
    swarm.running(5)
    swarm.signal(signal.SIGUSR2)
    assert swarm.wait_for("RolloutFinished")["replaced"] == 5
    down, most = set(), 0
    for event in swarm.events:
        if event["event"] == "NodeStopping":
            down.add(event["node_id"])
        elif event["event"] == "ReplacementFinished":
            down.discard(event["node_id"])
        most = max(most, len(down))
    assert most == 2


def test_nodes_over_their_memory_limit_are_replaced_one_at_a_time(start):
    swarm = start("""
def target(node):
    node.healthy()
    while not node.stopping.wait(0.02):
        if node.generation == 1:
            node.unhealthy(3, "900 MB of 512 MB")
        else:
            node.healthy()
    return 0

sys.exit(supervise(target, nodes=3, stable_after=0.0).run())
""")
    swarm.wait_for("ReplacementFinished", lambda event: len(swarm.all("ReplacementFinished")) == 3)
    assert not swarm.all("NodeRestarting")  # planned: neither delayed nor counted
    order = [event["event"] for event in swarm.events if event["event"] in ("NodeStopping", "ReplacementFinished")]
    assert order == ["NodeStopping", "ReplacementFinished"] * 3


def test_every_other_code_stops_all_nodes_at_once(start):
    swarm = start("""
def target(node):
    node.healthy()
    if node.generation == 1:
        while not Path("now").exists():
            node.healthy()
            signal.sigtimedwait([signal.SIGALRM], 0.01)
        node.unhealthy(2, "stuck")
    return beat(node)

sys.exit(supervise(target, nodes=3).run())
""")
    swarm.running(3)
    (swarm._stderr.parent / "now").touch()
    swarm.wait_for("NodeRunning", lambda event: len(swarm.all("NodeRunning")) == 6)
    assert [event["status"] for event in swarm.all("NodeStopping")] == [2, 2, 2]


def test_scale_up_and_down_and_the_highest_ids_leave_for_good(start, tmp_path):
    from swarm_supervisor import ControlClient

    swarm = start("""
def target(node):
    code = beat(node)
    os.write(1, b'{"event": "Left", "node_id": %d, "leaving": %d, "removed": %d}\\n'
             % (node.id, node.leaving, node.removed))
    return code

sys.exit(supervise(target, nodes=2, control_socket="c.sock").run())
""")
    swarm.running(2)
    with ControlClient(tmp_path / "c.sock") as client:
        client.scale(4)
        swarm.running(4)
        client.scale(1)
        swarm.wait_for("Left", lambda event: len(swarm.all("Left")) == 3)
        swarm.wait_for("NodeExited", lambda event: len(swarm.all("NodeExited")) == 3)
        assert [node.id for node in client.status().nodes] == [0]
        assert client.status().wanted == 1
        client.stop()
    assert swarm.end() == 0
    left = {event["node_id"]: (event["leaving"], event["removed"]) for event in swarm.all("Left")}
    assert left == {0: (1, 0), 1: (1, 1), 2: (1, 1), 3: (1, 1)}
    assert all(event["planned"] for event in swarm.all("NodeExited"))


def test_quiet_and_a_node_that_dies_comes_back_quiet(start, tmp_path):
    from swarm_supervisor import ControlClient

    swarm = start("""
from swarm_health import NodeStatistics

def target(node):
    while not node.stopping.is_set():
        node.healthy()
        node.report(NodeStatistics(state="quiet" if node.quieting.is_set() else "running"))
        node.stopping.wait(0.02)
    return 0

sys.exit(supervise(target, nodes=2, control_socket="c.sock").run())
""")
    nodes = swarm.running(2)
    swarm.signal(signal.SIGTSTP)
    swarm.wait_for("Quieting")
    quiet = lambda event: (event["statistics"] or {}).get("state") == "quiet"  # noqa: E731
    for node in nodes:
        swarm.wait_for("NodeReported", lambda event, pid=node["pid"]: event["pid"] == pid and quiet(event))
    os.kill(nodes[0]["pid"], signal.SIGKILL)
    swarm.wait_for("NodeRunning", lambda event: event["generation"] == 2)
    first = swarm.wait_for("NodeReported", lambda event: event["generation"] == 2 and event["statistics"] is not None)
    assert quiet(first)
    with ControlClient(tmp_path / "c.sock") as client:
        assert client.status().state == "quiet"
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0


def test_a_quiet_node_that_falls_silent_is_stopped(start):
    swarm = start("""
def target(node):
    node.healthy()
    if node.generation == 1:
        node.quieting.wait()
        time.sleep(600)
    return beat(node)

sys.exit(supervise(target, node_report_timeout=1.0, shutdown_timeout=0.5).run())
""")
    swarm.running(1)
    swarm.signal(signal.SIGTSTP)
    assert swarm.wait_for("NodeStopping")["status"] == -1
    swarm.running(2)


def test_trace_shows_the_stacks_of_every_thread_and_hurts_nobody(start, tmp_path):
    from swarm_supervisor import ControlClient

    swarm = start("""
def inner_worker(stop):
    stop.wait()

def target(node):
    threading.Thread(target=inner_worker, args=(threading.Event(),), daemon=True).start()
    return beat(node)

sys.exit(supervise(target, nodes=2, control_socket="c.sock").run())
""")
    nodes = swarm.running(2)
    with ControlClient(tmp_path / "c.sock") as client:
        stacks = client.trace()
        assert set(stacks) == {0, 1}
        assert all("inner_worker" in text and "in beat" in text for text in stacks.values())
        assert set(client.trace(1)) == {1}
    swarm.signal(signal.SIGTTIN)
    swarm.wait_for("StacksDumped", lambda event: len(swarm.all("StacksDumped")) >= 5)
    os.kill(nodes[0]["pid"], signal.SIGTTIN)  # to one node, by hand: told with its next report
    swarm.wait_for("StacksDumped", lambda event: len(swarm.all("StacksDumped")) >= 6)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    assert [event["signal"] for event in swarm.all("NodeExited")] == [None, None]


RECYCLES = """
def target(node):
    jobs = 0
    while not node.stopping.wait(0.01):
        node.healthy()
        jobs += 1
        if jobs == 50 and node.generation < 4:
            node.recycle("50 jobs done")
            if sys.argv[1] == "returns":
                return 0
    return 0

sys.exit(supervise(target, node_restart_delay=0.1, on_crash_loop="exit", max_restarts=2).run())
"""


@pytest.mark.parametrize("how", ["works on", "returns"])
def test_a_node_that_asks_for_it_gets_a_fresh_process_and_no_crash_is_counted(start, how):
    swarm = start(RECYCLES, how)
    swarm.wait_for("NodeRunning", lambda event: event["generation"] >= 4, timeout=60.0)
    assert all(event["planned"] for event in swarm.all("NodeExited") if event["reason"] != "")
    assert {event["reason"] for event in swarm.all("NodeExited")} >= {"recycled: 50 jobs done"}
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
