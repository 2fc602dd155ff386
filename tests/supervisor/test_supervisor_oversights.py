"""Small oversights of an application, and odd texts, cost no node its work and hide no reason."""

import logging
import os
import select
import signal
import socket
import sys

import pytest

from swarm_supervisor._containment import name_of, text_of
from swarm_supervisor._control_client import ControlClient
from swarm_supervisor._core import messages
from swarm_supervisor._core.decisions import step
from swarm_supervisor._core.fleet import Fleet
from swarm_supervisor._loop import Loop
from swarm_supervisor.settings import Settings

TELL = """
import json, select, socket
def tell(**what):
    os.write(1, json.dumps({"event": "Told", **what}).encode() + b"\\n")
"""


def test_a_descriptor_that_is_closed_with_its_reader_still_there_breaks_no_fork(start):
    """Its number is soon that of a node's pipe, in which the supervisor then sees a reader already."""
    swarm = start(
        TELL
        + """
holes = [os.pipe() for _ in range(3)]
supervisor = supervise(beat, nodes=1, restart_delay_max=0.1)
started = []
@supervisor.on(events.NodeRunning)
def forget(event):
    started.append(event.pid)
    if len(started) == 1:
        for end in sum(holes, ()):
            os.close(end)
        one, other = socket.socketpair()
        supervisor.add_reader(one.fileno(), select.EPOLLIN, lambda ready: None)
        one.close()
        other.close()
    if len(started) < 4:
        os.kill(event.pid, signal.SIGKILL)
    else:
        supervisor.stop()
sys.exit(supervisor.run())
"""
    )
    assert swarm.end() == 0, swarm.stderr
    assert len(swarm.all("NodeExited")) == 4
    assert swarm.all("ErrorOccurred") == []


def test_a_signal_handler_that_raises_while_the_error_before_is_told_stops_no_swarm(start):
    """A signal handler of the application's may raise at any line: here in the pause after a turn that failed."""
    swarm = start(
        TELL
        + """
from types import SimpleNamespace
from swarm_supervisor import _runner as runner
def once(number):
    raises.append(number)
    raise TimeoutError("of the application")
raises = []
def sleep(seconds):
    if raises == ["turn"]:
        once("pause")
runner.time = SimpleNamespace(monotonic=time.monotonic, thread_time=time.thread_time, sleep=sleep)
turn = runner.Runner._turn
def broken(self):
    turn(self)
    if self.fleet.booted and not raises:
        once("turn")
runner.Runner._turn = broken
supervisor = supervise(beat, nodes=1)
supervisor.on(events.ErrorOccurred)(lambda event: len(raises) == 2 and supervisor.stop())
sys.exit(supervisor.run())
"""
    )
    assert swarm.end() == 0, swarm.stderr
    assert [event["where"] for event in swarm.all("ErrorOccurred")] == ["the loop", "the loop"]


def test_a_reader_of_a_number_that_is_used_again_makes_way_for_the_next_one():
    loop = Loop()
    heard = []
    one, other = socket.socketpair()
    number = one.fileno()
    loop.add_reader(number, select.EPOLLIN, lambda mask: heard.append("the first"))
    with pytest.raises(ValueError, match="already has a reader"):
        loop.add_reader(number, select.EPOLLIN, print)
    read_fd, write_fd = os.pipe()
    one.close()
    os.dup2(read_fd, number)
    loop.add_reader(number, select.EPOLLIN, lambda mask: heard.append("the second"))
    os.write(write_fd, b"x")
    loop.dispatch(loop.wait(0.0))
    assert heard == ["the second"]
    os.close(number)
    assert loop.remove_reader(number)  # too late, and no error all the same
    loop.close()
    os.close(read_fd)
    os.close(write_fd)
    other.close()


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("lambda node: sys.exit('the password file is missing')", "the password file is missing"),
        ("lambda node: True", "the target returned True, which is not an exit code"),
        ("lambda node: 'no work'", "no work"),
    ],
)
def test_the_text_that_a_target_ends_with_is_the_reason_of_its_exit(start, target, reason):
    swarm = start(f"sys.exit(supervise({target}, restart='never').run())")
    assert swarm.wait_for("NodeExited")["reason"].startswith(reason)
    assert swarm.end() == 1
    assert reason in swarm.stderr


def test_the_error_of_a_process_that_a_target_has_forked_is_not_the_nodes(start):
    swarm = start("""
def target(node):
    if os.fork() == 0:
        raise ValueError("of the worker")
    os.wait()
    return 0
sys.exit(supervise(target, restart="never").run())
""")
    assert swarm.wait_for("NodeExited")["reason"] == "the target returned"
    assert swarm.end() == 0
    assert "ValueError: of the worker" in swarm.stderr


def test_what_a_hook_of_the_fork_raises_in_the_node_is_the_reason_of_its_exit(start):
    swarm = start("""
supervisor = supervise(beat, restart="never")
supervisor.close_in_children(lambda: {}["socket"])
sys.exit(supervisor.run())
""")
    assert swarm.wait_for("NodeExited")["reason"] == "KeyError: 'socket'"
    assert swarm.end() == 1
    assert "what prepares it raised KeyError" in swarm.stderr


def test_text_that_is_no_unicode_hides_neither_the_state_nor_an_error(start, tmp_path):
    swarm = start(
        TELL
        + r"""
supervisor = supervise(beat, control_socket="c.sock")
@supervisor.on(events.NodeRunning)
def ask(event):
    supervisor.quiet("the file \udcff is there")
    raise FileNotFoundError(2, "No such file", "\udcff" * 100000)
sys.exit(supervisor.run())
"""
    )
    assert swarm.wait_for("ErrorOccurred")["error"].endswith("... [cut]")
    swarm.wait_for("Quieting")
    with ControlClient(tmp_path / "c.sock") as client:
        assert client.status().reason == "the file \\udcff is there"
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0, swarm.stderr


def test_a_text_is_told_whole_unless_it_is_too_long():
    assert text_of(ValueError("schön")) == "ValueError: schön"
    assert len(text_of(ValueError("ü" * 10**6)).encode()) <= 8192
    nameless = lambda: None  # noqa: E731
    nameless.__qualname__ = "\udcff"
    assert name_of(nameless) == "\\udcff"


def test_a_check_child_that_cannot_be_watched_is_ended_and_leaves_nothing_open(start):
    swarm = start(
        TELL
        + """
from swarm_supervisor import _child_task as child_task
supervisor = supervise(beat)
def no_pidfd(pid):
    raise OSError(24, "Too many open files")
def count():
    return len(os.listdir("/proc/self/fd")), Path(f"/proc/self/task/{os.getpid()}/children").read_text()
@supervisor.on(events.NodeRunning)
def check(event):
    before, real = count(), child_task.Pidfd
    child_task.Pidfd = no_pidfd
    try:
        supervisor.in_child(lambda: time.sleep(60), 60.0, print)
    except OSError as error:
        tell(error=error.errno, same=before == count())
    child_task.Pidfd = real
    supervisor.stop()
sys.exit(supervisor.run())
"""
    )
    told = swarm.wait_for("Told")
    assert (told["error"], told["same"]) == (24, True)
    assert swarm.end() == 0, swarm.stderr


GO = """
import asyncio, os, sys
from swarm_supervisor._flags import GoFlag
read_fd, write_fd = os.pipe()
go = GoFlag(read_fd)
assert not go.is_set() and not go.wait(0.0)
os.close(write_fd)                    # as the end of the supervisor does
assert not go.is_set()
%s
sys.exit("went")
"""


@pytest.mark.parametrize("wait", ["go.wait()", "asyncio.run(go.wait_async())"])
def test_the_end_of_the_supervisor_is_no_order_to_go(wait, tmp_path):
    script = tmp_path / "go.py"
    script.write_text(GO % wait)
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, str(script)]) == 3


def test_a_listener_that_is_slow_once_a_day_is_told_each_time():
    fleet = Fleet(Settings(), 1, 0.0)
    for day in range(1, 6):
        *_, emit = step(fleet, messages.Slept(5.0, "listener save", True), day * 86400.0)
        assert (emit.event.times, emit.event.severity) == (1, logging.WARNING)


def test_slow_listeners_of_changing_names_fill_no_memory():
    fleet = Fleet(Settings(), 1, 0.0)
    for number in range(2000):
        step(fleet, messages.Slept(5.0, f"timer <function at {number}>", True), float(number))
    assert len(fleet.absences._seen) <= 256
