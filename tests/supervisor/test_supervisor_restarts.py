"""Restart modes, delays, crash loops, operators, and what ends a swarm."""

import os
import signal

import pytest


def test_term_sent_to_one_node_is_planned_and_a_repeated_one_means_nothing(start):
    swarm = start("""
def target(node):
    node.healthy()
    node.stopping.wait()
    if node.generation == 1:
        os.write(1, b'{"event": "Draining"}\\n')
        signal.sigtimedwait([signal.SIGALRM], 0.5)   # a drain; TERM comes a second and a third time
    return 0 if node.generation == 1 else beat(node)

sys.exit(supervise(target, node_report_timeout=60.0, node_restart_delay=0.2).run())
""")
    node = swarm.running(1)[0]
    os.kill(node["pid"], signal.SIGTERM)
    swarm.wait_for("Draining")
    os.kill(node["pid"], signal.SIGTERM)
    os.kill(node["pid"], signal.SIGINT)
    exited = swarm.wait_for("NodeExited")
    assert (exited["code"], exited["planned"]) == (0, True)
    assert "SIGTERM" in exited["reason"]
    restarting = swarm.wait_for("NodeRestarting")
    assert (restarting["delay_s"], restarting["attempt"]) == (0.2, 0)
    again = swarm.wait_for("NodeRunning", lambda event: event["generation"] == 2)
    assert again["at"] - exited["at"] >= 0.2
    assert swarm.process.poll() is None


def test_125_means_do_not_restart_me(start):
    swarm = start("""
def target(node):
    node.healthy()
    return 125

sys.exit(supervise(target, nodes=2).run())
""")
    assert swarm.end() == 1
    assert len(swarm.all("NodeEnded")) == 2
    assert len(swarm.all("AfterFork")) == 2


@pytest.mark.parametrize(
    ("restart", "code", "forks", "exit_code"),
    [("never", 0, 1, 0), ("never", 3, 1, 1), ("on-failure", 0, 1, 0), ("on-failure", 3, 2, 0), ("always", 0, 2, 0)],
)
def test_restart_modes(start, restart, code, forks, exit_code):
    swarm = start(f"""
def target(node):
    node.healthy()
    if node.generation == 2:
        if {restart!r} == "always":
            os.kill(os.getppid(), signal.SIGTERM)
            return beat(node)
        return 0
    return {code}

sys.exit(supervise(target, restart={restart!r}).run())
""")
    assert swarm.end() == exit_code
    assert len(swarm.all("AfterFork")) == forks


def test_a_target_that_returns_at_once_ends_in_a_crash_loop_that_is_told_once(start):
    swarm = start("""
supervisor = supervise(lambda node: 0, max_restarts=3, restart_delay_max=0.3)
states = set()
@supervisor.on(events.NodeRestarting)
def look(event):
    states.add(supervisor.snapshot().state)
    if event.attempt == 5:
        assert "degraded" in states, states
        supervisor.stop("seen enough")
sys.exit(supervisor.run())
""")
    assert swarm.end() == 0, swarm.stderr
    loops = swarm.all("CrashLoop")
    assert len(loops) == 1
    assert loops[0]["restarts"] == 3
    delays = [event["delay_s"] for event in swarm.all("NodeRestarting")]
    assert delays[:2] == [0.0, 0.0]
    assert all(0.27 <= delay <= 0.3 for delay in delays[2:])
    starts = [event["at"] for event in swarm.all("AfterFork")]
    exits = [event["at"] for event in swarm.all("NodeExited")]
    assert all(begun - ended >= delay for ended, delay, begun in zip(exits, delays, starts[1:], strict=False))


def test_the_delay_doubles_and_is_forgotten_once_a_node_was_stable(start):
    swarm = start("""
def target(node):
    node.healthy()
    if node.generation == 4:
        node.stopping.wait(0.5)      # longer than stable_after
    return 1

supervisor = supervise(target, node_restart_delay=0.05, restart_delay_max=1.0, stable_after=0.3, max_restarts=100)
@supervisor.on(events.NodeRestarting)
def enough(event):
    if event.generation == 6:
        supervisor.stop("seen enough")
sys.exit(supervisor.run())
""")
    assert swarm.end() == 0, swarm.stderr
    restarting = swarm.all("NodeRestarting")[:5]
    assert [event["attempt"] for event in restarting] == [1, 2, 3, 1, 2]
    for event, least in zip(restarting, [0.05, 0.1, 0.2, 0.05, 0.1], strict=True):
        assert least <= event["delay_s"] < least * 1.5  # jitter only adds
    exits = {event["generation"]: event["at"] for event in swarm.all("NodeExited")}
    forks = {event["generation"]: event["at"] for event in swarm.all("AfterFork")}
    assert all(
        forks[event["generation"]] - exits[event["generation"] - 1] >= event["delay_s"]
        for event in restarting
        if event["generation"] in forks
    )


def test_the_oom_killer_is_named_as_the_cause_of_a_kill_that_was_not_ours(start):
    """The kernel's count is a file of the test here: it goes up while the node is killed, as in a container."""
    swarm = start("""
import swarm_supervisor._processes as processes
from swarm_supervisor._oom import OomWatch
group = Path("cgroup/app")
group.mkdir(parents=True)
Path("proc").mkdir()
Path("proc/cgroup").write_text("0::/app\\n")
count = group / "memory.events"
count.write_text("low 0\\noom 0\\noom_kill 2\\n")
processes.OomWatch = lambda: OomWatch(Path("proc"), Path("cgroup"))

def target(node):
    node.healthy()
    if node.generation == 1:
        count.write_text("low 0\\noom 1\\noom_kill 3\\n")
    if node.generation < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return beat(node)

sys.exit(supervise(target).run())
""")
    swarm.running(3)
    first, second = swarm.all("NodeExited")
    assert first["reason"].startswith(
        "the signal did not come from the supervisor; probably the OOM killer: oom_kill in"
    )
    assert first["reason"].endswith("went from 2 to 3")
    assert "OOM killer" not in second["reason"]


def test_a_crash_loop_ends_the_swarm_by_choice(start):
    swarm = start("""
def target(node):
    if node.id == 1:
        raise RuntimeError("never")
    return beat(node)

sys.exit(supervise(target, nodes=2, max_restarts=3, on_crash_loop="exit").run())
""")
    assert swarm.end() == 5
    assert "RuntimeError: never" in swarm.all("Stopped")[0]["reason"]
    assert [event["node_id"] for event in swarm.all("NodeExited")].count(0) == 1


def test_a_forced_shutdown_tells_which_node_was_doing_what(start):
    swarm = start("""
from swarm_health import NodeStatistics, PartitionStatistics
def target(node):
    node.report(NodeStatistics(state="consuming", in_flight_age_s=4.5,
                               partitions=[PartitionStatistics("flights", 3, in_flight_age_s=4.5)]))
    node.healthy()
    while True:
        time.sleep(600)

sys.exit(supervise(target, node_report_timeout=60.0, shutdown_timeout=0.5).run())
""")
    swarm.running(1)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 4
    terminating = swarm.all("NodeTerminating")[0]
    assert terminating["doing"] == "consuming, 4.5 s into a batch, at flights[3]"
    assert "time.sleep" in swarm.all("StacksDumped")[0]["text"] or "in target" in swarm.all("StacksDumped")[0]["text"]


def test_nodes_are_drained_in_parallel(start):
    swarm = start("""
def target(node):
    beat(node)
    signal.sigtimedwait([signal.SIGALRM], 0.5)
    return 0

sys.exit(supervise(target, nodes=4).run())
""")
    swarm.running(4)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    exits = [event["at"] for event in swarm.all("NodeExited")]
    assert max(exits) - swarm.all("Stopping")[0]["at"] < 1.5


def test_term_before_the_first_fork_is_not_lost(start):
    swarm = start("""
supervisor = supervise(beat)
@supervisor.on(events.BeforeWarmup)
def early(event):
    os.kill(os.getpid(), signal.SIGTERM)
sys.exit(supervisor.run())
""")
    assert swarm.end() == 0
    assert swarm.all("AfterFork") == []


def test_term_between_two_forks_stops_the_rest(start):
    swarm = start("""
supervisor = supervise(beat, nodes=20)
@supervisor.on(events.AfterFork)
def early(event):
    if event.node_id == 2:
        os.kill(os.getpid(), signal.SIGTERM)
sys.exit(supervisor.run())
""")
    assert swarm.end() == 0
    forks = len(swarm.all("AfterFork"))
    assert 3 <= forks < 20
    assert len(swarm.all("NodeExited")) == forks


def test_hangup_ignored_at_the_start_stays_ignored(start):
    swarm = start("sys.exit(supervise(beat).run())", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    swarm.running(1)
    swarm.signal(signal.SIGHUP)
    swarm.signal(signal.SIGUSR2)
    swarm.wait_for("RolloutFinished")
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    assert "SIGHUP" not in [event["name"] for event in swarm.all("SignalReceived")]


def test_exit_statuses_are_known_although_sigchld_was_ignored_at_the_start(start):
    swarm = start("""
def target(node):
    node.healthy()
    return 0 if node.generation > 1 else 7
sys.exit(supervise(target, restart="on-failure").run())
""", preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))  # fmt: skip
    assert swarm.end() == 0
    assert [event["code"] for event in swarm.all("NodeExited")] == [7, 0]


@pytest.mark.timeout(400)  # 6 s on a machine of its own, 100 s where twenty others want the same two cores
def test_a_thousand_crashes_leave_nothing_behind(start):
    swarm = start("""
def measure():
    status = Path("/proc/self/status").read_text()
    rss = int(status.split("VmRSS:")[1].split()[0])
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), rss

def zombies():
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return sum(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z" for pid in children)

supervisor = Supervisor(lambda node: os._exit(3), nodes=1, node_restart_delay=0.0, restart_delay_max=0.0,
                        max_restarts=10**6, liveness_interval=1.0)
count, first = 0, None
@supervisor.on(events.NodeExited)
def look(event):
    global count, first
    count += 1
    if count == 100:
        first = measure()
    if count == 1100:
        last = measure()
        print(first, last, file=sys.stderr)
        assert abs(first[0] - last[0]) <= 2 and first[1] == last[1] == 1 and last[2] - first[2] <= 2048, (first, last)
        assert zombies() == 0
        os._exit(42)
sys.exit(supervisor.run())
""")
    assert swarm.end(380.0) == 42, swarm.stderr


def test_an_oom_kill_of_a_program_of_a_node_does_not_explain_a_kill_by_hand_that_comes_later(start):
    """The count of the cgroup goes up, the node continues to report, and is killed once that is long over."""
    swarm = start("""
import swarm_supervisor._oom as oom
import swarm_supervisor._processes as processes
oom.LOOK_EVERY_S, oom.LINGER_S = 0.0, 0.3
group = Path("cgroup/app")
group.mkdir(parents=True)
Path("proc").mkdir()
Path("proc/cgroup").write_text("0::/app\\n")
count = group / "memory.events"
count.write_text("low 0\\noom 0\\noom_kill 0\\n")
processes.OomWatch = lambda: oom.OomWatch(Path("proc"), Path("cgroup"))

def target(node):
    node.healthy()
    if node.generation == 1:
        count.write_text("low 0\\noom 1\\noom_kill 1\\n")
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            node.healthy()
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGKILL)
    return beat(node)

sys.exit(supervise(target).run())
""")
    swarm.running(2)
    (exited,) = swarm.all("NodeExited")
    assert exited["oom"] is False
    assert "OOM killer" not in exited["reason"]
