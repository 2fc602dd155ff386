"""A handle on a process that is not a child, and on a child that somebody else has reaped."""

import contextlib
import ctypes
import os
import signal
import threading
import time

import pytest

from swarm_pidfd import ExitStatus, Pidfd, capabilities

needs_exit_info = pytest.mark.skipif(
    not capabilities().exit_info, reason="PIDFD_INFO_EXIT needs Linux 6.15: this kernel does not answer it"
)
ENDED_BY_USR1 = ExitStatus(signal=signal.SIGUSR1)


@pytest.fixture
def short_grace(monkeypatch):
    monkeypatch.setattr("swarm_pidfd._pidfd._REAPING_GRACE_S", 0.05)


def test_life_and_death_of_a_stranger(stranger, each_kernel):
    with Pidfd(stranger.pid) as process:
        assert process.alive()
        assert process.wait(0) is None
        assert process.cleanup() is False
        stranger.end()
        assert not process.alive()
        assert process.signal("TERM") is False
        stranger.reap()
        assert not process.alive()
        assert process.signal("TERM") is False


def test_a_stranger_takes_signals(stranger, each_kernel):
    with Pidfd(stranger.pid) as process:
        assert process.signal("KILL") is True
        assert process.wait(30) is not None


@needs_exit_info
def test_the_status_of_a_reaped_stranger(stranger):
    with Pidfd(stranger.pid) as process:
        stranger.end()
        stranger.reap()
        assert process.wait(0) == process.exit_status == ENDED_BY_USR1


@needs_exit_info
def test_a_wait_lasts_until_the_parent_has_reaped(stranger):
    with Pidfd(stranger.pid) as process:
        stranger.end()
        reaper = threading.Timer(0.05, stranger.reap)
        reaper.start()
        assert process.wait() == ENDED_BY_USR1
        reaper.join()


def test_the_status_of_a_stranger_where_the_kernel_does_not_keep_it(stranger, linux_5_4):
    with Pidfd(stranger.pid) as process:
        stranger.end()
        began = time.monotonic()
        assert process.wait() == ExitStatus(None, None)  # at once: it will never be known
        assert time.monotonic() - began < 0.9
        stranger.reap()
        assert process.wait() == ExitStatus(None, None)
        assert not process.alive()


def test_a_stranger_that_nobody_reaps_is_waited_for_no_longer_than_the_grace(stranger, short_grace):
    with Pidfd(stranger.pid) as process:
        stranger.end()
        assert process.wait(0) == ExitStatus(None, None)
        assert process.wait() == ExitStatus(None, None)
        stranger.reap()
        if capabilities().exit_info:
            assert process.wait(0) == ENDED_BY_USR1  # what was not known was not remembered either


@needs_exit_info
def test_a_child_reaped_by_somebody_else_still_tells_its_status(fork):
    pid = fork(lambda: os._exit(17))
    with Pidfd(pid) as process:
        os.waitpid(pid, 0)
        assert process.wait() == ExitStatus(code=17)
        assert process.cleanup() is True


def test_a_child_reaped_by_somebody_else_where_the_kernel_does_not_keep_it(fork, linux_5_4):
    pid = fork(lambda: os._exit(17))
    with Pidfd(pid) as process:
        os.waitpid(pid, 0)
        assert process.wait() == ExitStatus(None, None)
        assert process.cleanup() is True


@needs_exit_info
def test_children_that_nobody_has_to_reap_tell_their_status(in_child):
    def body():
        # With SIGCHLD ignored the kernel reaps by itself and waitid() says ECHILD.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        gate, open_gate = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(open_gate)
            os.read(gate, 1)
            os._exit(23)
        with Pidfd(pid) as process:
            os.close(open_gate)
            return process.wait(30)

    assert in_child(body) == ExitStatus(code=23)


def test_a_handle_works_in_a_forked_child_as_on_a_stranger(sleeper, in_child):
    def body():
        alive = sleeper.alive()
        return alive, sleeper.signal("USR2")

    assert in_child(body) == (True, True)
    assert sleeper.wait(30) == ExitStatus(signal=signal.SIGUSR2)


def test_a_child_held_by_a_debugger_ends_without_a_status_until_the_debugger_lets_go(fork, short_grace):
    tracee = fork(signal.pause)
    ready, seized = os.pipe()
    hold, let_go = os.pipe()

    def debug():
        os.close(let_go)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        os.write(seized, b"y" if libc.ptrace(0x4206, tracee, None, None) == 0 else b"n")  # PTRACE_SEIZE
        os.read(hold, 1)
        # Ending it lets go of the child: its parent may then reap it.

    debugger = fork(debug)
    os.close(hold)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, ready)
        stack.callback(os.close, seized)
        if os.read(ready, 1) == b"n":
            os.close(let_go)
            pytest.skip("this process may not trace its siblings (ptrace_scope)")
        with Pidfd(tracee) as process:
            process.signal("KILL")
            assert process.wait(30) == ExitStatus(None, None)
            assert process.wait(0) is None  # it is a child, and its status is still to come
            assert process.cleanup() is False
            os.close(let_go)
            os.waitpid(debugger, 0)
            assert process.wait(30) == ExitStatus(signal=signal.SIGKILL)
