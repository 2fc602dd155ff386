"""Whatever other people's code raises is contained: nodes are watched, restarted and drained all the same."""

import os
import signal

import pytest

TELL = """
import json
def tell(**what):
    os.write(1, json.dumps({"event": "Told", **what}).encode() + b"\\n")
def drained(node):
    beat(node)
    tell(drained=node.id)
    return 0
"""

LISTENERS = {
    "sys.exit": "lambda event: sys.exit(7)",
    "interrupt": "lambda event: (_ for _ in ()).throw(KeyboardInterrupt())",
    "no text": "bad_text",
    "no name": "Nameless()",
}
KINDS = """
class Mute(Exception):
    def __str__(self):
        raise SystemExit("not even its text")
def bad_text(event):
    raise Mute
class Nameless:
    def __repr__(self):
        raise SystemExit("not even a name")
    def __call__(self, event):
        raise Mute
"""


@pytest.mark.parametrize("kind", LISTENERS)
@pytest.mark.parametrize("to", ["on", "subscribe"])
def test_a_listener_may_raise_whatever_it_likes(start, kind, to):
    register = "supervisor.subscribe" if to == "subscribe" else "supervisor.on(events.NodeRunning)"
    swarm = start(
        TELL
        + KINDS
        + f"""
supervisor = supervise(drained, nodes=2)
{register}({LISTENERS[kind]})
sys.exit(supervisor.run())
"""
    )
    nodes = swarm.running(2)
    error = swarm.wait_for("ErrorOccurred", lambda event: "NodeRunning" in event["where"])
    assert "Mute (its str() raises)" in error["error"] or kind in ("sys.exit", "interrupt")
    os.kill(nodes[0]["pid"], signal.SIGKILL)
    swarm.running(3)  # supervised as before
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0, swarm.stderr
    assert {event["drained"] for event in swarm.all("Told")} == {0, 1}


@pytest.mark.parametrize("what", ["handler", "filter"])
def test_a_log_handler_or_filter_that_raises_hurts_nobody_and_is_told(start, what):
    swarm = start(
        TELL
        + """
import logging
class ToChat(logging.Handler):
    def emit(self, record):
        raise SystemExit("chat.example.com does not answer")
def fail(record):
    raise ConnectionError("no filter")
logging.getLogger().setLevel(logging.DEBUG)
if sys.argv[1] == "handler":
    logging.getLogger().addHandler(ToChat())
else:
    logging.getLogger("swarm_supervisor").addFilter(fail)
supervisor = supervise(drained, nodes=2, threads="warn", subreaper=True)
sys.exit(supervisor.run())
""",
        what,
    )
    nodes = swarm.running(2)
    error = swarm.wait_for("ErrorOccurred", lambda event: event["where"] == "the log of NodeRunning")
    assert "chat.example.com" in error["error"] or what == "filter"
    os.kill(nodes[1]["pid"], signal.SIGKILL)
    swarm.running(3)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0, swarm.stderr
    assert {event["drained"] for event in swarm.all("Told")} == {0, 1}


def test_timers_and_readers_may_call_sys_exit_and_a_reader_that_always_raises_does_not_spin(start):
    swarm = start(
        TELL
        + """
import select
calls = 0
supervisor = supervise(drained, nodes=2)
read_fd, write_fd = os.pipe()
os.write(write_fd, b"never read")
def reader(mask):
    global calls
    calls += 1
    sys.exit("reader")
@supervisor.on(events.NodeRunning)
def begin(event):
    if event.node_id == 1:
        supervisor.add_reader(read_fd, select.EPOLLIN, reader)
        supervisor.call_at(time.monotonic(), lambda: sys.exit("timer"))
        supervisor.call_at(time.monotonic() + 1.5, lambda: (tell(calls=calls), supervisor.stop("enough")))
sys.exit(supervisor.run())
"""
    )
    assert swarm.end() == 0, swarm.stderr
    calls = next(event["calls"] for event in swarm.all("Told") if "calls" in event)
    assert 2 <= calls <= 10
    errors = {(event["where"], event["error"]) for event in swarm.all("ErrorOccurred")}
    assert errors == {("timer", "SystemExit: timer"), ("reader", "SystemExit: reader")}
    assert {event["drained"] for event in swarm.all("Told") if "drained" in event} == {0, 1}


def test_a_process_that_a_listener_forks_does_not_become_a_second_supervisor(start, tmp_path):
    swarm = start(
        TELL
        + """
supervisor = supervise(drained, nodes=1, control_socket="c.sock")
@supervisor.on(events.NodeRunning)
def fork(event):
    if os.fork() == 0:
        sys.exit(0)          # the end of the child, not an error of the listener
    os.wait()
    tell(forked=True)
try:
    code = supervisor.run()
except SystemExit:
    os._exit(0)
sys.exit(code)
"""
    )
    swarm.wait_for("Told")
    assert (tmp_path / "c.sock").exists()
    os.kill(swarm.running(1)[0]["pid"], signal.SIGKILL)
    swarm.running(2)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0, swarm.stderr
    assert swarm.all("ErrorOccurred") == []


def test_the_core_fails_and_the_nodes_drain_before_run_raises(start):
    swarm = start(
        TELL
        + """
def slow(node):
    if node.id == 2:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        node.healthy()
        time.sleep(60)
    beat(node)
    time.sleep(0.3)
    tell(drained=node.id)
supervisor = supervise(slow, nodes=3, shutdown_timeout=2.0)
@supervisor.on(events.NodeRunning)
def sabotage(event):
    if supervisor.snapshot().running == 3:
        supervisor._runner.fleet.table = {}
        supervisor.stop()                        # a command wakes the loop, and the end that waits for signals
        os.kill(event.pid, signal.SIGSTOP)       # has to be continued
        os.kill(supervisor.snapshot().nodes[0].pid, signal.SIGUSR1)
try:
    supervisor.run()
except RuntimeError as error:
    tell(raised=str(error))
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    sys.exit(42)                                 # all are reaped
"""
    )
    assert swarm.end() == 42, swarm.stderr
    assert {event["drained"] for event in swarm.all("Told") if "drained" in event} == {1}
    assert "could not be handled" in next(event["raised"] for event in swarm.all("Told") if "raised" in event)
    assert "all nodes are stopped" in swarm.all("ErrorOccurred")[-1]["where"]


def test_a_node_that_is_stopped_after_the_end_has_begun_is_continued(start):
    """A stop takes effect when the process next runs: it was read as running, was asked to end, and then stopped."""
    swarm = start(
        TELL
        + """
def slow(node):
    beat(node)
    time.sleep(0.3)
    tell(drained=node.id)
supervisor = supervise(slow, nodes=1, shutdown_timeout=5.0)
@supervisor.on(events.NodeRunning)
def sabotage(event):
    supervisor._runner.fleet.table = {}
    supervisor.stop()
@supervisor.on(events.ErrorOccurred)
def stop_it(event):
    if "all nodes are stopped" in event.where:       # told after the signals
        os.kill(supervisor.snapshot().nodes[0].pid, signal.SIGSTOP)
try:
    supervisor.run()
except RuntimeError:
    sys.exit(42)
"""
    )
    assert swarm.end() == 42, swarm.stderr
    assert [event["drained"] for event in swarm.all("Told")] == [0]


def test_a_second_term_cuts_short_what_a_failed_core_waits_for(start):
    swarm = start("""
def stuck(node):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    node.healthy()
    time.sleep(600)
supervisor = supervise(stuck, shutdown_timeout=600.0)
@supervisor.on(events.NodeRunning)
def sabotage(event):
    supervisor._runner._actions.clear()
    supervisor.stop()
sys.exit(supervisor.run())
""")
    swarm.wait_for("ErrorOccurred")
    swarm.signal(signal.SIGTERM)
    swarm.signal(signal.SIGINT)
    assert swarm.end() == 1


def test_a_name_of_letters_that_take_two_bytes(start):
    swarm = start(TELL + 'sys.exit(supervise(drained, nodes=2, name="обработчик").run())')
    swarm.running(2)
    swarm.signal(signal.SIGUSR2)
    swarm.wait_for("RolloutFinished")
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0, swarm.stderr
    assert swarm.all("ErrorOccurred") == []


def test_a_signal_without_a_name_is_the_applications_own(start):
    swarm = start("""
signal.signal(signal.SIGRTMIN + 1, lambda *arguments: None)
sys.exit(supervise(beat, nodes=1).run())
""")
    swarm.running(1)
    swarm.signal(signal.SIGRTMIN + 1)
    swarm.signal(signal.SIGUSR2)
    swarm.wait_for("RolloutFinished")
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0, swarm.stderr
    assert [event["name"] for event in swarm.all("SignalReceived")] == ["SIGUSR2", "SIGTERM"]


def test_deadlines_beyond_what_epoll_can_count_to(start):
    swarm = start("""
supervisor = supervise(beat, nodes=1, node_report_timeout=30 * 86400.0, boot_timeout=1e9, shutdown_timeout=1e9)
supervisor.on(events.NodeRunning)(lambda event: supervisor.call_at(1e12, print))
sys.exit(supervisor.run())
""")
    swarm.running(1)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0, swarm.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="takes root to become another user")
def test_a_node_that_may_not_be_signalled_keeps_no_other_from_its_end(start, gone):
    swarm = start(
        TELL
        + """
os.setresgid(1000, 1000, 0)
os.setresuid(1000, 1000, 0)
def target(node):
    if node.id == 0:
        os.setresuid(0, 0, 0)
    tell(pid=os.getpid(), id=node.id)
    drained(node)
sys.exit(supervise(target, nodes=3, shutdown_timeout=0.5, shutdown_grace=0.5).run())
"""
    )
    swarm.running(3)
    swarm.signal(signal.SIGTERM)
    try:
        assert swarm.end() == 4, swarm.stderr
    finally:
        for told in swarm.all("Told"):
            if told.get("id") == 0:
                os.kill(told["pid"], signal.SIGKILL)
    assert {event["drained"] for event in swarm.all("Told") if "drained" in event} == {1, 2}
    assert "now runs as another user" in next(
        event["error"] for event in swarm.all("ErrorOccurred") if event["where"] == "kill"
    )


def test_a_thread_whose_name_is_no_text(start):
    swarm = start("""
import ctypes
def thread():
    ctypes.CDLL(None).prctl(15, "дополнительный".encode()[:15], 0, 0, 0)
    ready.set()
    threading.Event().wait()
ready = threading.Event()
threading.Thread(target=thread, daemon=True).start()
ready.wait()
sys.exit(supervise(beat, nodes=1, threads="ignore").run())
""")
    swarm.running(1)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0, swarm.stderr


@pytest.mark.parametrize("which", [3, 4, 5, 6])
def test_a_descriptor_that_epoll_refuses_is_a_fork_that_failed(start, which):
    swarm = start(
        TELL
        + """
import errno
from swarm_supervisor._core import decisions
from swarm_supervisor._loop import Loop
decisions.FORK_RETRY_S = 0.05
real, calls = Loop.add_reader, []
def add_reader(self, *arguments, **keywords):
    calls.append(1)
    if len(calls) == int(sys.argv[1]):
        raise OSError(errno.ENOSPC, "No space left on device")
    return real(self, *arguments, **keywords)
Loop.add_reader = add_reader
supervisor = supervise(drained, nodes=2)
@supervisor.on(events.NodeRunning)
def running(event):
    if supervisor.snapshot().running == 2:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        tell(children=len(children), fds=len(os.listdir("/proc/self/fd")))
sys.exit(supervisor.run())
""",
        str(which),
    )
    told = swarm.wait_for("Told")
    assert told["children"] == 2
    assert "No space left" in swarm.all("ErrorOccurred")[0]["error"]
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0, swarm.stderr


def test_closed_standard_descriptors_do_not_become_the_supervisors(start, tmp_path):
    """As started by old daemonizers, with all three closed: a complaint on descriptor 2 must reach nobody."""
    swarm = start("""
for fd in (0, 1, 2):
    os.close(fd)
log = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
assert log == 0
from swarm_supervisor import Supervisor
def work(node):
    return beat(node)
supervisor = Supervisor(work, nodes=2, node_restart_delay=0.0)
@supervisor.on(events.NodeRunning)
def running(event):
    if event.node_id == 1:
        os.write(2, b"a C library complains on stderr")
        os.write(log, os.readlink("/proc/self/fd/2").encode() + b"\\n")
        supervisor.call_at(time.monotonic() + 0.2, supervisor.stop)
code = supervisor.run()
os.write(log, b"returned %d\\n" % code)
""")
    swarm.process.wait(20)
    assert (tmp_path / "log").read_text() == "/dev/null\nreturned 0\n", swarm.stderr


def test_a_client_that_hangs_up_where_sigpipe_kills(start, tmp_path):
    import socket

    swarm = start(
        TELL
        + """
signal.signal(signal.SIGPIPE, signal.SIG_DFL)     # the recipe for `| head`
def target(node):
    tell(default=signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL)
    return beat(node)
code = supervise(target, control_socket="c.sock").run()
tell(default=signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL)
sys.exit(code)
"""
    )
    swarm.running(1)
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "c.sock"))
            client.sendall(b'{"command": "status"}\n' * 50)
    os.kill(swarm.all("NodeRunning")[0]["pid"], signal.SIGKILL)
    swarm.running(2)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    assert all(event["default"] for event in swarm.all("Told"))


@pytest.mark.parametrize("how", ["stop", "SIGHUP", "SIGQUIT"])
def test_the_first_term_does_not_force_whatever_began_the_stop(start, how):
    swarm = start(
        TELL
        + """
def slow(node):
    beat(node)
    Path("go").read_text()           # a fifo: drains until the test says so
    tell(drained=node.id)
os.mkfifo("go")
supervisor = supervise(slow, nodes=1, shutdown_timeout=60.0)
@supervisor.on(events.NodeRunning)
def running(event):
    if sys.argv[1] == "stop":
        supervisor.stop("asked for by a preStop hook")
    else:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
sys.exit(supervisor.run())
""",
        how,
    )
    swarm.wait_for("Stopping")
    swarm.signal(signal.SIGTERM)
    swarm.wait_for("SignalReceived", lambda event: event["action"] == "stopping already")
    (swarm._stderr.parent / "go").write_text("go")
    assert swarm.end() == 0, swarm.stderr
    assert swarm.all("Told")[0]["drained"] == 0
    assert swarm.all("NodeTerminating") == []
