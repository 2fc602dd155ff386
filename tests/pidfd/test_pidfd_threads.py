"""One handle in many threads: everybody learns the same, and close() never leaves anybody with a wrong descriptor."""

import concurrent.futures
import os
import signal
import threading

import pytest

from swarm_pidfd import ExitStatus, Pidfd, PidfdClosedError, _syscalls


def test_everybody_who_waits_learns_the_status(sleeper):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(sleeper.wait) for _ in range(8)]
        assert sleeper.signal("TERM")
        assert {wait.result(30) for wait in waits} == {ExitStatus(signal=signal.SIGTERM)}


def test_close_wakes_those_who_wait(sleeper, monkeypatch):
    waiting = threading.Semaphore(0)

    def poll(events_by_fd, timeout_s):
        if timeout_s is None:
            waiting.release()
        return real_poll(events_by_fd, timeout_s)

    real_poll = _syscalls.poll
    monkeypatch.setattr(_syscalls, "poll", poll)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        waits = [pool.submit(sleeper.wait) for _ in range(4)]
        for _ in waits:
            assert waiting.acquire(timeout=30)
        sleeper.close()
        for wait in waits:
            assert isinstance(wait.exception(30), PidfdClosedError)


def test_the_descriptor_stays_taken_until_nobody_uses_it(sleeper):
    with sleeper._use() as fd:
        sleeper.close()
        os.fstat(fd)
        with pytest.raises(PidfdClosedError):
            sleeper.alive()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_threads_that_open_signal_wait_and_close_at_once(fork):
    """Every call answers as documented, and no descriptor of one round is used in the next."""
    before = len(os.listdir("/proc/self/fd"))
    outcomes = []

    def use(process, barrier):
        barrier.wait()
        try:
            outcomes.append((process.alive(), process.signal("CONT"), process.wait(0.001)))
        except PidfdClosedError:
            outcomes.append("closed")

    for _ in range(50):
        process = Pidfd(fork(signal.pause))
        barrier = threading.Barrier(4)
        threads = [threading.Thread(target=use, args=(process, barrier)) for _ in range(3)]
        for thread in threads:
            thread.start()
        barrier.wait()
        process.close()
        for thread in threads:
            thread.join(30)
        os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)
    assert len(outcomes) == 150
    assert set(outcomes) <= {"closed", (True, True, None)}
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_signal_handler_may_use_the_handle_that_it_interrupts(sleeper):
    seen = []
    previous = signal.signal(signal.SIGALRM, lambda *_: seen.append(sleeper.alive()) or sleeper.signal("TERM"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        assert sleeper.wait(30) == ExitStatus(signal=signal.SIGTERM)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert seen == [True]
