"""A handle on a child: what it says while the child lives, once it is a zombie, and after it is reaped."""

import os
import signal
import time

import pytest

from swarm_pidfd import ExitStatus, Pidfd, PidfdClosedError


def test_a_living_child(sleeper):
    assert sleeper.alive()
    assert sleeper.wait(0) is None
    assert sleeper.exit_status is None
    assert not sleeper.cleanup()
    assert sleeper.alive()


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_an_exit_code(fork, code):
    with Pidfd(fork(lambda: os._exit(code))) as process:
        assert process.wait(10) == ExitStatus(code=code)
        assert not process.alive()


@pytest.mark.parametrize("sig", [15, "TERM", "SIGTERM", signal.SIGTERM])
def test_every_way_to_name_a_signal(sleeper, sig):
    assert sleeper.signal(sig) is True
    assert sleeper.wait(10) == ExitStatus(signal=signal.SIGTERM)


def test_a_zombie_is_not_alive_and_takes_no_signal(fork):
    pid = fork(lambda: None)
    with Pidfd(pid) as process:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # has ended; is not reaped
        assert not process.alive()
        assert process.signal("KILL") is False
        assert process.wait(0) == ExitStatus(code=0)


def test_the_status_is_remembered_and_the_child_reaped_once(sleeper):
    sleeper.signal("KILL")
    status = sleeper.wait()
    with pytest.raises(ChildProcessError):
        os.waitpid(sleeper.pid, os.WNOHANG)
    assert sleeper.wait() == sleeper.wait(0) == sleeper.exit_status == status
    assert not sleeper.alive()
    assert sleeper.signal("TERM") is False
    sleeper.close()
    assert sleeper.wait() == status


def test_cleanup_reaps_and_closes(sleeper):
    assert sleeper.cleanup() is False
    sleeper.signal("KILL")
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert sleeper.cleanup() is True
    assert sleeper.closed
    assert sleeper.exit_status == ExitStatus(signal=signal.SIGKILL)
    assert sleeper.cleanup() is True
    with pytest.raises(ChildProcessError):
        os.waitpid(sleeper.pid, os.WNOHANG)


def test_after_cleanup_it_is_known_not_to_be_alive(sleeper, fork):
    assert sleeper.signal("KILL")
    assert sleeper.wait(30)
    assert sleeper.cleanup() is True
    assert sleeper.alive() is False
    other = Pidfd(fork(lambda: os._exit(0)))
    while not other.cleanup():
        time.sleep(0.001)
    assert other.alive() is False


def test_a_timeout_is_kept(sleeper):
    began = time.monotonic()
    assert sleeper.wait(0.2) is None
    assert 0.2 <= time.monotonic() - began < 5


@pytest.mark.parametrize(
    "use",
    [
        lambda handle: handle.fileno(),
        lambda handle: handle.alive(),
        lambda handle: handle.signal("TERM"),
        lambda handle: handle.signal("TERM", group=True),
        lambda handle: handle.wait(0),
        lambda handle: handle.getfd(0),
        lambda handle: handle.__enter__(),
    ],
)
def test_a_closed_handle_says_so(sleeper, use):
    sleeper.close()
    sleeper.close()
    with pytest.raises(PidfdClosedError, match="closed"):
        use(sleeper)
    os.kill(sleeper.pid, 0)  # and the process was left alone
