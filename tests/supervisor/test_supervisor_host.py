"""What the program around a supervisor keeps: its handlers, limits, children, memory and streams; in nodes too."""

import os
import signal
import subprocess
import sys

import pytest

from swarm_supervisor import SettingsError, Supervisor, events, run_in_child

TELL = """
import json
def tell(**what):
    os.write(1, json.dumps({"event": "Told", **what}).encode() + b"\\n")
"""


def test_run_that_fails_at_its_start_puts_everything_back(start):
    swarm = start(
        TELL
        + """
import errno
from swarm_supervisor import _loop as loop, signals
def no_epoll(*arguments):
    raise OSError(errno.EMFILE, "Too many open files")
def state():
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return (fd, signal.pthread_sigmask(signal.SIG_BLOCK, []), len(os.listdir("/proc/self/fd")),
            [str(signal.getsignal(number)) for number in range(1, 32) if number not in (9, 19)])
supervisor = supervise(beat)
before, same = state(), []
for module, name in ((signals, "signal_descriptor"), (loop.select, "epoll")):
    real = getattr(module, name)
    setattr(module, name, no_epoll)
    try:
        supervisor.run()
    except OSError as error:
        same.append(before == state() and error.errno == errno.EMFILE)
    setattr(module, name, real)
tell(same=same)
os.kill(os.getpid(), signal.SIGTERM)
"""
    )
    assert swarm.end() == -signal.SIGTERM
    assert swarm.all("Told")[0]["same"] == [True, True]


@pytest.mark.parametrize("first", ["stop", "signal"])
def test_a_signal_that_comes_too_late_for_a_run_is_the_applications(start, first):
    """It was dropped: `run` returned as if nobody had asked for the end. Behind one that was answered it is dropped."""
    swarm = start(
        TELL
        + """
signal.signal(signal.SIGTERM, lambda *arguments: tell(late=True))
supervisor = supervise(beat)
@supervisor.on(events.NodeRunning)
def begin(event):
    supervisor.stop() if sys.argv[1] == "stop" else os.kill(os.getpid(), signal.SIGTERM)
@supervisor.on(events.Stopped)
def send(event):
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
code = supervisor.run()
tell(code=code)
""",
        first,
    )
    assert swarm.end() == 0
    late = [{"event": "Told", "late": True}] if first == "stop" else []
    assert swarm.all("Told") == [*late, {"event": "Told", "code": 0}]


def test_handlers_of_the_application_are_inherited_and_come_back_those_in_c_too(start):
    swarm = start(
        TELL
        + """
import faulthandler
def usr2(*arguments):
    tell(usr2=os.getpid())
signal.signal(signal.SIGUSR2, usr2)
signal.signal(signal.SIGCHLD, lambda *arguments: None)
def target(node):
    tell(child=callable(signal.getsignal(signal.SIGCHLD)), node=os.getpid())
    return beat(node)
supervise(target).run()
signal.signal(signal.SIGUSR2, signal.SIG_DFL)
dump = open("dump", "wb")
faulthandler.register(signal.SIGUSR2, file=dump)
def other(node):
    os.kill(os.getpid(), signal.SIGUSR2)
    return 125
supervise(other).run()
os.kill(os.getpid(), signal.SIGUSR2)         # C code, which signal.signal() does not know of
tell(alive=True)
"""
    )
    node = swarm.running(1)[0]["pid"]
    os.kill(node, signal.SIGUSR2)
    swarm.wait_for("Told", lambda event: event.get("usr2") == node)
    assert swarm.all("Told")[0]["child"] is True
    swarm.signal(signal.SIGTERM)
    swarm.wait_for("Told", lambda event: "alive" in event)
    assert swarm.end() == 0, swarm.stderr
    assert [event["code"] for event in swarm.all("NodeExited")] == [0, 125]


def test_a_node_has_the_soft_limit_of_the_application(start):
    swarm = start(
        TELL
        + """
import resource, subprocess
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
def target(node):
    tell(limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
         program=int(subprocess.check_output(["sh", "-c", "ulimit -Sn"])))
    return 125
supervisor = supervise(target)
supervisor.on(events.AfterFork)(lambda event: tell(own=resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)))
sys.exit(supervisor.run())
"""
    )
    swarm.end()
    assert {"own": True, "event": "Told"} in swarm.all("Told")
    assert {"limit": 1000, "program": 1000, "event": "Told"} in swarm.all("Told")


def test_a_closed_connection_is_not_held_open_by_nodes(start):
    swarm = start(
        TELL
        + """
import select, socket
ours, theirs = socket.socketpair()
inner, outer = socket.socketpair()
own = select.epoll()
own.register(inner.fileno(), select.EPOLLIN)      # as a server has it that waits in an epoll of its own
fds = [ours.fileno(), own.fileno(), inner.fileno()]
def target(node):
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in fds]
    tell(links=links, other=os.readlink(f"/proc/self/fd/{outer.fileno()}"))
    return beat(node)
supervisor = supervise(target)
supervisor.add_reader(ours.fileno(), select.EPOLLIN, print)
supervisor.add_reader(own.fileno(), select.EPOLLIN, print)
@supervisor.on(events.NodeRunning)
def hang_up(event):
    for fd in fds[:2]:
        supervisor.remove_reader(fd)
    for each in (ours, own, inner):
        each.close()
    tell(read=[theirs.recv(10).decode(), outer.recv(10).decode()])
sys.exit(supervisor.run())
"""
    )
    told = swarm.wait_for("Told", lambda event: "links" in event)
    assert told["links"] == ["/dev/null"] * 3
    assert told["other"].startswith("socket:")  # what nobody gave to the loop is inherited
    assert swarm.wait_for("Told", lambda event: "read" in event)["read"] == ["", ""]


def test_a_descriptor_that_epoll_refuses_is_not_registered(start):
    swarm = start(
        TELL
        + """
import select, tempfile
file = tempfile.TemporaryFile()
supervisor = supervise(beat)
@supervisor.on(events.NodeRunning)
def running(event):
    refused = 0
    for _ in range(2):
        try:
            supervisor.add_reader(file.fileno(), select.EPOLLIN, print)
        except PermissionError:
            refused += 1
    tell(refused=refused, removed=supervisor.remove_reader(file.fileno()))
sys.exit(supervisor.run())
"""
    )
    told = swarm.wait_for("Told")
    assert (told["refused"], told["removed"]) == (2, False)


def test_what_a_listener_keeps_in_a_cycle_over_a_fork_is_collected(start):
    swarm = start(
        TELL
        + """
import gc
class Entry:
    alive = 0
    def __init__(self):
        self.me = self
        Entry.alive += 1
    def __del__(self):
        Entry.alive -= 1
def die(node):
    node.healthy()
    os._exit(7)
supervisor = supervise(die, max_restarts=10**6, restart_delay_max=0.0)
recent, ended = [], 0
@supervisor.on(events.NodeExited)
def keep(event):
    global ended, recent
    ended += 1
    recent = [*recent[-4:], Entry()]
    if ended == 40:
        gc.collect()
        tell(alive=Entry.alive)
        supervisor.stop()
sys.exit(supervisor.run())
"""
    )
    swarm.end(60)
    assert swarm.all("Told")[0]["alive"] <= 6


def test_whatever_was_frozen_by_the_interpreter_itself_keeps_nothing_frozen():
    code = """
import gc
gc.get_freeze_count = lambda real=gc.get_freeze_count: real() + 375      # as Python 3.12 has from its start
from swarm_supervisor import Supervisor
before = gc.get_freeze_count()
Supervisor(lambda node: 125, nodes=1).run()
print(gc.get_freeze_count() <= before)       # what Python 3.12 itself had frozen is thawed with the rest
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize("room", [0, 4096])
def test_a_full_pipe_holds_up_neither_a_fork_nor_the_line_that_waits(start, room):
    """The pipe is full, or has a page left, and print() has left a line behind: no node writes it, nobody waits."""
    swarm = start(
        """
import fcntl
read_fd, write_fd = os.pipe()
os.set_blocking(write_fd, False)
try:
    while True:
        os.write(write_fd, b"x" * 4096)
except BlockingIOError:
    os.set_blocking(write_fd, True)
room = int(sys.argv[1])
supervisor = supervise(beat, nodes=3)
@supervisor.on(events.AfterWarmup)
def fill(event):
    global stream
    os.read(read_fd, room) if room else None
    stream = sys.stdout = open(write_fd, "w", buffering=16384)
    stream.write("loaded 4711 records\\n" + "y" * 8000)
@supervisor.on(events.NodeRunning)
def running(event):
    if event.node_id == 2:
        supervisor.stop()
code = supervisor.run()
os.set_blocking(read_fd, False)
seen = b""
try:
    while chunk := os.read(read_fd, 65536):
        seen += chunk
except BlockingIOError:
    pass
stream.flush()
seen += os.read(read_fd, 65536)
assert seen.count(b"loaded 4711 records") == 1, seen.count(b"loaded 4711 records")
os._exit(code)
""",
        str(room),
    )
    assert swarm.end() == 0, swarm.stderr


HELPER = """
import subprocess
helper = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read(); raise SystemExit(42)"],
                          stdin=subprocess.PIPE)
def target(node):
    if node.id == 0 and node.generation == 1 and os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.sigtimedwait([signal.SIGALRM], 0.3)
            os._exit(4)
        os._exit(0)
    return beat(node)
import logging
logging.basicConfig(level=logging.DEBUG)
supervisor = supervise(target, nodes=1, subreaper=True)
@supervisor.on(events.NodeRunning)
def running(event):
    global second
    second = subprocess.Popen([sys.executable, "-c", "raise SystemExit(43)"])
    helper.stdin.close()
"""


def test_children_of_the_host_are_left_to_it(start):
    swarm = start(
        TELL
        + HELPER
        + """
code = supervisor.run()
tell(codes=[helper.wait(), second.wait()])
sys.exit(code)
"""
    )
    swarm.running(1)
    deadline = 400
    while "which is not one of our nodes: it exited with code 4" not in swarm.stderr and deadline:
        swarm.read(0.05)
        deadline -= 1
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0, swarm.stderr
    assert swarm.all("Told")[-1]["codes"] == [42, 43]


def test_commands_from_another_thread_work_at_once_and_others_are_refused_with_a_sentence(start):
    swarm = start(
        TELL
        + """
def silent(node):
    node.healthy()
    node.stopping.wait()
supervisor = supervise(silent, threads="ignore", liveness_interval=100.0, node_report_timeout=600.0)
def other():
    go.wait()
    try:
        supervisor.snapshot()
    except RuntimeError as error:
        tell(error=str(error))
    supervisor.stop("asked in a thread")
go = threading.Event()
threading.Thread(target=other, daemon=True).start()
supervisor.on(events.NodeRunning)(lambda event: supervisor.call_at(time.monotonic() + 0.2, go.set))
sys.exit(supervisor.run())
"""
    )
    assert swarm.end() == 0, swarm.stderr
    assert "call this in the loop's thread" in swarm.all("Told")[0]["error"]
    assert swarm.all("Stopping")[0]["reason"] == "asked in a thread"


def test_a_node_cannot_command_its_supervisor_object(start):
    swarm = start(
        TELL
        + """
def target(node):
    later = lambda: supervisor.call_at(0, print)
    for call in (supervisor.stop, supervisor.snapshot, lambda: supervisor.scale(3), later):
        try:
            call()
        except RuntimeError as error:
            tell(error=str(error))
    return 125
supervisor = supervise(target)
sys.exit(supervisor.run())
"""
    )
    swarm.end()
    errors = [event["error"] for event in swarm.all("Told")]
    assert len(errors) == 4
    assert all("is a node, or another child of the supervisor" in error for error in errors)


def test_a_name_is_cut_and_an_id_is_not(start):
    from swarm_supervisor._prctl import cut_name

    assert cut_name("image-thumbnailer", "-12") == "image-thumbn-12"
    assert cut_name("обработчик") == "обработ"
    swarm = start(
        TELL
        + """
before = Path("/proc/self/comm").read_text()
def target(node):
    tell(comm=Path("/proc/self/comm").read_text().strip())
    return 125
supervisor = supervise(target, nodes=2, name="image-thumbnailer")
supervisor.on(events.AfterFork)(lambda event: tell(own=Path("/proc/self/comm").read_text().strip()))
supervisor.run()
tell(same=before == Path("/proc/self/comm").read_text())
"""
    )
    swarm.end()
    told = swarm.all("Told")
    assert {event["comm"] for event in told if "comm" in event} == {"image-thumbna-0", "image-thumbna-1"}
    assert {event["own"] for event in told if "own" in event} == {"image-thumbnail"}
    assert told[-1]["same"] is True


def test_a_garbage_collector_that_is_off_stays_off_in_nodes(start):
    swarm = start(TELL + """
import gc
gc.disable()
def target(node):
    tell(on=gc.isenabled())
    return 125
supervise(target).run()
""")  # fmt: skip
    swarm.end()
    assert swarm.all("Told")[0]["on"] is False


def test_a_base_class_of_events_stands_for_all_of_them():
    seen = []
    supervisor = Supervisor(lambda node: 125, nodes=1)
    supervisor.on(events.NodeEvent)(lambda event: seen.append(type(event).__name__))
    supervisor.run()
    assert {"BeforeFork", "AfterFork", "NodeExited"} <= set(seen)
    assert "Stopped" not in seen


@pytest.mark.parametrize("kind", ["an async function", "a generator", "an async generator"])
def test_a_target_that_a_call_only_prepares_is_refused(kind):
    async def coroutine(node):
        pass

    def generator(node):
        yield

    async def both(node):
        yield

    target = {"an async function": coroutine, "a generator": generator, "an async generator": both}[kind]
    with pytest.raises(SettingsError, match=f"is {kind}, and calling it does not run it"):
        Supervisor(target, nodes=1)


def test_a_machine_without_pidfds_is_refused_before_any_fork(monkeypatch):
    monkeypatch.setattr("swarm_pidfd.supported", lambda: False)
    monkeypatch.setattr(os, "fork", None)
    with pytest.raises(SettingsError, match=r"need Linux 5\.4 or newer and a seccomp filter that allows them"):
        Supervisor(lambda node: 0, nodes=1).run()


def test_a_python_without_its_newer_names_runs(start):
    swarm = start("sys.exit(supervise(beat, node_report_timeout=1.0, shutdown_timeout=1.0).run())")
    swarm.running(1)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    old = start("""
del os.pidfd_open, os.memfd_create, os.P_PIDFD, signal.pidfd_send_signal
def hang(node):
    node.healthy()
    time.sleep(600)
supervisor = supervise(hang, node_report_timeout=1.0, shutdown_timeout=0.5)
sys.exit(supervisor.run())
""")
    dumped = old.wait_for("StacksDumped")
    assert "hang" in dumped["text"]
    assert old.wait_for("NodeExited")["signal"] in (signal.SIGTERM, signal.SIGKILL)
    old.running(2)


def test_a_node_that_a_debugger_holds_is_replaced_and_reaped_when_it_lets_go(start):
    swarm = start(
        TELL
        + """
import ctypes
supervisor = supervise(beat)
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
@supervisor.on(events.NodeRunning)
def running(event):
    global tracer, hold
    if event.generation == 1:
        ready, say = os.pipe()
        wait, hold = os.pipe()
        tracer = os.fork()
        if tracer == 0:
            os.close(hold)
            os.write(say, b"y" if libc.ptrace(0x4206, event.pid, None, None) == 0 else b"n")   # PTRACE_SEIZE
            os.read(wait, 1)
            os._exit(0)
        seized = os.read(ready, 1) == b"y"
        tell(seized=seized, pid=event.pid)
        if seized:
            os.kill(event.pid, signal.SIGKILL)
    else:
        os.write(hold, b"go")
        os.waitpid(tracer, 0)
sys.exit(supervisor.run())
"""
    )
    told = swarm.wait_for("Told")
    if not told["seized"]:
        pytest.skip("this process may not trace its siblings (ptrace_scope)")
    exited = swarm.wait_for("NodeExited")
    assert (exited["code"], exited["signal"]) == (None, None)
    assert "a debugger holds the process" in exited["reason"]
    swarm.running(2)
    for _ in range(400):
        if not os.path.exists(f"/proc/{told['pid']}"):
            break
        swarm.read(0.05)
    assert not os.path.exists(f"/proc/{told['pid']}")
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0, swarm.stderr


def test_a_child_for_a_check_is_reaped_whatever_happens():
    ignored = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert [run_in_child(lambda: b"x", 5.0) for _ in range(60)] == [b"x"] * 60
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, ignored)
    assert run_in_child(lambda: b"x", 1e8) == b"x"

    def alarm(*arguments):
        raise TimeoutError("the application's own alarm")

    before = signal.signal(signal.SIGALRM, alarm)
    pids = []

    def hang():
        os.write(write_fd, str(os.getpid()).encode())
        signal.pause()
        return b""

    read_fd, write_fd = os.pipe()
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(TimeoutError):
            run_in_child(hang, 60.0)
        pids.append(int(os.read(read_fd, 100)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        os.close(read_fd)
        os.close(write_fd)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_what_a_run_had_to_leave_behind_holds_no_descriptor_and_is_reaped_by_the_next_one(start):
    """The time of a shutdown is over before KILL has ended the node: its handle goes, its end is still waited for."""
    swarm = start(
        TELL
        + """
from swarm_supervisor import _node_handle as node_handle
real = node_handle.NodeHandle.kill
node_handle.NodeHandle.kill = lambda handle: pids.append(handle.pid)      # as in state D: KILL does nothing yet
pids = []
def stuck(node):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    node.healthy()
    time.sleep(600)
supervisor = supervise(stuck, shutdown_timeout=0.2, shutdown_grace=0.1)
supervisor.on(events.NodeRunning)(lambda event: supervisor.stop())
before = len(os.listdir("/proc/self/fd"))
code = supervisor.run()
tell(code=code, more=len(os.listdir("/proc/self/fd")) - before)
os.kill(pids[0], signal.SIGKILL)
os.waitid(os.P_PID, pids[0], os.WEXITED | os.WNOWAIT)
other = supervise(lambda node: 125)
other.run()
tell(left=os.path.exists(f"/proc/{pids[0]}"))
"""
    )
    swarm.end()
    first, second = swarm.all("Told")
    assert (first["code"], first["more"]) == (4, 1)  # its pidfd
    assert second["left"] is False


def test_the_pipe_of_orders_takes_one_page_of_what_a_user_may_have():
    import fcntl

    from swarm_supervisor._node_handle import Channels

    channels = Channels(go=True)
    try:
        assert fcntl.fcntl(channels.orders_write, fcntl.F_GETPIPE_SZ) == os.sysconf("SC_PAGE_SIZE")
        assert os.read(channels.orders_read, 10) == b"g"
    finally:
        channels.close()
