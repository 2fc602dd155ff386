"""What a node inherits and what it does not; what run() changes and puts back."""

import json
import os
import pty
import select
import signal
import sys

import pytest

REPORT = """
import json
def tell(**what):
    os.write(1, json.dumps({"event": "Told", **what}).encode() + b"\\n")
"""


def test_a_node_has_its_own_descriptors_and_the_applications_and_no_others(start):
    swarm = start(
        REPORT
        + """
mine = os.open("/etc/hostname", os.O_RDONLY)

def links():
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            pass
    return found

def target(node):
    found = links()
    if node.id == 2:
        tell(fds=sorted(target.split(":")[0].split(" ")[0] for fd, target in found.items() if fd > 2),
             stdin=found[0], mine=os.read(mine, 1) != b"")
    return beat(node)

sys.exit(supervise(target, nodes=3, control_socket="c.sock").run())
"""
    )
    told = swarm.wait_for("Told")
    assert told["stdin"] == "/dev/null"
    assert told["mine"] is True
    kinds = [name for name in told["fds"] if not name.startswith("/proc/")]
    # health pipe, orders pipe, test's own dup of stdout (a pipe), stopping and quieting, stacks
    assert [kind.partition(":")[0] for kind in sorted(kinds)] == [
        "/etc/hostname", "/memfd", "anon_inode", "anon_inode", "pipe", "pipe", "pipe"
    ]  # fmt: skip


def test_nodes_differ_in_what_must_differ_and_share_what_is_shared(start):
    swarm = start(
        REPORT
        + """
import random
random.seed(1)

def target(node):
    tell(id=node.id, random=random.random(), group=os.getpgid(0) == os.getpid(), parent=os.getppid(),
         comm=Path("/proc/self/comm").read_text().strip(), mask=sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
         usr2=signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL, wakeup=signal.set_wakeup_fd(-1))
    return beat(node)

sys.exit(supervise(target, nodes=2, name="flights").run())
"""
    )
    swarm.wait_for("Told", lambda event: len(swarm.all("Told")) == 2)
    first, second = swarm.all("Told")
    assert first["random"] != second["random"]
    assert (first["group"], first["parent"], first["wakeup"]) == (True, swarm.pid, -1)
    assert first["mask"] == []
    assert first["usr2"]
    assert {first["comm"], second["comm"]} == {"flights-0", "flights-1"}


def test_buffered_output_is_written_once_and_that_of_a_node_is_not_lost(start):
    swarm = start("""
sys.stdout.write('{"event": "Once"}\\n')     # a pipe: stays in the buffer
def target(node):
    sys.stdout.write('{"event": "Twice"}\\n')
    node.healthy()
    return 0
sys.exit(supervise(target, nodes=2, restart="never").run())
""")
    assert swarm.end() == 0
    assert (len(swarm.all("Once")), len(swarm.all("Twice"))) == (1, 2)


def test_atexit_and_the_parents_stack_do_not_run_in_nodes(start):
    swarm = start(
        REPORT
        + """
import atexit
atexit.register(lambda: tell(pid=os.getpid(), what="atexit"))
def target(node):
    node.healthy()
    if node.id == 1:
        sys.exit(3)
    return 0
try:
    code = supervise(target, nodes=2, restart="never").run()
finally:
    tell(pid=os.getpid(), what="finally")
sys.exit(code)
"""
    )
    assert swarm.end() == 1
    assert {event["pid"] for event in swarm.all("Told")} == {swarm.pid}
    assert len(swarm.all("Told")) == 2
    assert {event["code"] for event in swarm.all("NodeExited")} == {0, 3}


def test_run_puts_back_what_it_changed_and_a_second_one_works(start):
    swarm = start(
        REPORT
        + """
import gc, resource
handler = lambda number, frame: None
signal.signal(signal.SIGTERM, handler)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGRTMIN])
resource.setrlimit(resource.RLIMIT_NOFILE, (500, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
wakeup = os.pipe()
os.set_blocking(wakeup[1], False)
signal.set_wakeup_fd(wakeup[1])

def state():        # of frozen objects, Python 3.12 has some hundred from its start, which are thawed with the rest
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    from swarm_supervisor import _prctl as prctl
    return [fd, sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), resource.getrlimit(resource.RLIMIT_NOFILE),
            [str(signal.getsignal(number)) for number in range(1, 32) if number not in (9, 19)],
            max(0, gc.get_freeze_count() - 1000), prctl.is_child_subreaper(), len(os.listdir("/proc/self/fd")),
            gc.isenabled()]

supervisor = supervise(lambda node: node.healthy() and 0, nodes=2, restart="never", subreaper=True)
before = state()
for _ in range(2):
    code = supervisor.run()
    after = state()
    tell(same=before == after, before=str(before), after=str(after), code=code)
other = supervise(lambda node: 0, restart="on-failure")
tell(same=other.run() == 0, before="", after="", code=0)
"""
    )
    assert swarm.end() == 0, swarm.stderr
    told = swarm.all("Told")
    assert [(event["same"], event["code"]) for event in told] == [(True, 0)] * 3, told


def test_run_outside_the_main_thread_is_refused(start):
    swarm = start("""
def run():
    try:
        supervise(beat).run()
    except RuntimeError as error:
        assert "main thread" in str(error)
        os._exit(42)
thread = threading.Thread(target=run)
thread.start()
thread.join()
""")
    assert swarm.end() == 42


def test_other_threads_are_warned_about_by_name_or_refused(start):
    script = """
from swarm_supervisor import ForkRefusedError
from swarm_supervisor._prctl import set_thread_name
name, policy = sys.argv[1:]
def idle():
    set_thread_name(name)
    ready.set()
    threading.Event().wait()
ready = threading.Event()
threading.Thread(target=idle, daemon=True).start()
ready.wait()
try:
    sys.exit(supervise(lambda node: 0, restart="never", threads=policy).run())
except ForkRefusedError as error:
    print(error, file=sys.stderr)
    os._exit(42)
"""
    warned = start(script, "helper", "warn")
    assert warned.end() == 0
    assert "the supervisor has another thread, 'helper'" in warned.stderr
    ignored = start(script, "helper", "ignore")
    assert ignored.end() == 0
    assert "helper" not in ignored.stderr
    refused = start(script, "helper", "refuse")
    assert refused.end() == 42
    assert "the supervisor has other threads (helper)" in refused.stderr
    kafka = start(script, "rdk:main", "ignore")
    assert kafka.end() == 42
    assert "the supervisor has a Kafka client (thread rdk:main)" in kafka.stderr
    for swarm in (refused, kafka):
        assert swarm.all("AfterFork") == []


def test_the_supervisor_has_one_thread_and_shows_it(start):
    swarm = start("sys.exit(supervise(beat, nodes=2, control_socket='c.sock').run())")
    swarm.running(2)
    assert os.listdir(f"/proc/{swarm.pid}/task") == [str(swarm.pid)]


@pytest.mark.parametrize("where", ["pipe", "fork", "pidfd"])
def test_a_fork_that_fails_is_tried_again_and_leaks_nothing(start, where):
    swarm = start(REPORT + """
import errno, resource
from swarm_supervisor import fork, _node_handle as node_handle
from swarm_supervisor._core import decisions
decisions.FORK_RETRY_S = 0.05
where = sys.argv[1]
supervisor = supervise(beat, nodes=2)
failing, states = 3, []

def failing_once(real):
    def call(*arguments):
        global failing
        if started and failing:
            failing -= 1
            raise OSError(errno.EMFILE if where != "fork" else errno.EAGAIN, "not now")
        return real(*arguments)
    return call

started = False
if where == "fork":
    os.fork = failing_once(os.fork)
elif where == "pipe":
    os.memfd_create = failing_once(os.memfd_create)
else:
    node_handle.Pidfd = failing_once(node_handle.Pidfd)

@supervisor.on(events.NodeRunning)
def begin(event):
    global started
    if event.generation == 1 and event.node_id == 1:
        started = True
        tell(fds=len(os.listdir("/proc/self/fd")))
        os.kill(event.pid, signal.SIGKILL)
    elif event.generation > 1:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        tell(fds=len(os.listdir("/proc/self/fd")), state=supervisor.snapshot().state, children=len(children),
             states=states)

@supervisor.on(events.ErrorOccurred)
def look(event):
    supervisor.call_at(0.0, lambda: states.append(supervisor.snapshot().state))

sys.exit(supervisor.run())
""", where)  # fmt: skip
    swarm.wait_for("Told", lambda event: "states" in event)
    before, after = swarm.all("Told")
    assert after["fds"] == before["fds"]
    assert after["children"] == 2
    assert after["states"] == ["degraded"] * 3
    assert after["state"] == "running"
    errors = [event for event in swarm.all("ErrorOccurred") if event["where"] == "fork"]
    assert len(errors) == 3


def test_descriptors_that_run_out_for_real(start):
    swarm = start(
        REPORT
        + """
import resource
from swarm_supervisor._core import decisions
decisions.FORK_RETRY_S = 0.05
supervisor = supervise(beat, nodes=1)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

@supervisor.on(events.NodeRunning)
def begin(event):
    if event.generation == 1:
        used = max(int(fd) for fd in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used - 2, hard))
        os.kill(event.pid, signal.SIGKILL)

@supervisor.on(events.ErrorOccurred)
def relent(event):
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

sys.exit(supervisor.run())
"""
    )
    swarm.wait_for("NodeRunning", lambda event: event["generation"] > 1)
    assert "Too many open files" in swarm.all("ErrorOccurred")[0]["error"]


def test_ctrl_c_and_ctrl_z_at_a_terminal_reach_the_supervisor_alone(tmp_path):
    """A real terminal: Ctrl-Z is refused with a sentence, Ctrl-C stops in order, nodes get neither."""
    from pathlib import Path

    preamble = (Path(__file__).parent / "conftest.py").read_text().split("PREAMBLE = '''")[1].split("'''\n")[0]
    script = tmp_path / "script.py"
    events_path = tmp_path / "events"
    os.mkfifo(events_path)
    script.write_text(
        preamble.replace("\\\\", "\\").replace("out = os.dup(1)", 'out = os.open("events", os.O_WRONLY)')
        + "sys.exit(supervise(beat, nodes=2).run())\n"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, str(script)])
    try:
        with events_path.open() as lines:
            events = (json.loads(line) for line in lines)
            running = 0
            for event in events:
                running += event["event"] == "NodeRunning"
                if running == 2:
                    break
            os.write(terminal, b"\x1a")
            received = next(event for event in events if event["event"] == "SignalReceived")
            assert "ignored: typed at the terminal" in received["action"]
            os.write(terminal, b"\x03")
            rest = list(events)
        assert [event["code"] for event in rest if event["event"] == "NodeExited"] == [0, 0]
        assert not any(event["event"] == "Quieting" for event in rest)
        ready, _, _ = select.select([terminal], [], [], 5.0)
        assert ready
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(terminal)
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def test_what_a_killed_node_had_started_goes_with_it(start, gone):
    swarm = start(
        REPORT
        + """
import subprocess
def target(node):
    if node.generation == 1:
        tell(pid=subprocess.Popen(["sleep", "600"]).pid)
        node.healthy()
        time.sleep(600)
    return beat(node)

sys.exit(supervise(target, node_report_timeout=1.0, shutdown_timeout=0.3).run())
"""
    )
    child = swarm.wait_for("Told")["pid"]
    swarm.wait_for("NodeExited")
    gone(child, 5.0)
