"""Fixtures of the process handle's tests: real processes, each of them gone when its test is over."""

import contextlib
import os
import signal

import pytest

from swarm_pidfd import Pidfd


@pytest.fixture
def fork():
    """Return a function that forks a child, which runs ``body`` and then exits with 0, and returns its pid.

    Whatever is left of these children is killed and reaped after the test.
    """
    pids = []

    def fork(body):
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_DFL)
                body()
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
        return pid

    yield fork
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            # A child that is not reaped keeps its pid: nobody else can be meant by it.
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.fixture
def sleeper(fork):
    """Return the handle of a child that does nothing until a signal ends it."""
    with Pidfd(fork(signal.pause)) as process:
        yield process
