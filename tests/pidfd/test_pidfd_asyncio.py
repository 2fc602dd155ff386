"""wait_async(): in the loop that runs, several at once, cancelled, closed, for children and for strangers."""

import asyncio
import os
import signal
import time

import pytest

from swarm_pidfd import ExitStatus, Pidfd, PidfdClosedError, capabilities

ENDED_BY_TERM = ExitStatus(signal=signal.SIGTERM)


async def waiting(*processes):
    """Return tasks that have got as far as to wait."""
    tasks = [asyncio.ensure_future(process.wait_async()) for process in processes]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    return tasks


def test_several_waits_for_one_handle(sleeper):
    async def main():
        tasks = await waiting(sleeper, sleeper, sleeper)
        sleeper.signal("TERM")
        return await asyncio.wait_for(asyncio.gather(*tasks), 30)

    assert asyncio.run(main()) == [ENDED_BY_TERM] * 3
    assert asyncio.run(sleeper.wait_async()) == ENDED_BY_TERM  # in another loop, from memory
    assert sleeper.wait() == ENDED_BY_TERM


def test_two_processes_at_once(fork):
    async def main():
        with Pidfd(fork(signal.pause)) as first, Pidfd(fork(signal.pause)) as second:
            tasks = await waiting(first, second)
            second.signal("KILL")
            done, _ = await asyncio.wait(tasks, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            assert done == {tasks[1]}
            first.signal("TERM")
            return await asyncio.wait_for(asyncio.gather(*tasks), 30)

    assert asyncio.run(main()) == [ENDED_BY_TERM, ExitStatus(signal=signal.SIGKILL)]


def test_a_process_that_has_ended_already(fork):
    async def main():
        with Pidfd(fork(lambda: os._exit(4))) as process:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            return await asyncio.wait_for(process.wait_async(), 30)

    assert asyncio.run(main()) == ExitStatus(code=4)


def test_a_wait_that_is_cancelled_leaves_nothing_behind(sleeper):
    async def main():
        fds = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sleeper.wait_async(), 0.001)
        assert len(os.listdir("/proc/self/fd")) == fds + 1  # what close() would wake them with
        (task,) = await waiting(sleeper)
        sleeper.signal("TERM")
        return await asyncio.wait_for(task, 30)

    assert asyncio.run(main()) == ENDED_BY_TERM


def test_close_ends_the_wait_with_an_error(sleeper):
    async def main():
        (task,) = await waiting(sleeper)
        sleeper.close()
        with pytest.raises(PidfdClosedError):
            await asyncio.wait_for(task, 30)
        with pytest.raises(PidfdClosedError):
            await sleeper.wait_async()

    asyncio.run(main())


@pytest.mark.skipif(not capabilities().exit_info, reason="PIDFD_INFO_EXIT needs Linux 6.15")
def test_a_stranger_once_its_parent_has_reaped_it(stranger):
    async def main():
        with Pidfd(stranger.pid) as process:
            (task,) = await waiting(process)
            stranger.end()
            asyncio.get_running_loop().call_later(0.05, stranger.reap)
            return await asyncio.wait_for(task, 30)

    assert asyncio.run(main()) == ExitStatus(signal=signal.SIGUSR1)


def test_a_stranger_that_nobody_reaps(stranger, monkeypatch):
    monkeypatch.setattr("swarm_pidfd._pidfd._REAPING_GRACE_S", 0.05)

    async def main():
        with Pidfd(stranger.pid) as process:
            stranger.end()
            return await asyncio.wait_for(process.wait_async(), 30)

    assert asyncio.run(main()) == ExitStatus(None, None)


def test_the_loop_runs_on_meanwhile(sleeper):
    async def main():
        (task,) = await waiting(sleeper)
        began, spent = time.monotonic(), time.process_time()
        for _ in range(10):
            await asyncio.sleep(0.02)
        spent = (time.process_time() - spent) / (time.monotonic() - began)
        sleeper.signal("TERM")
        return await asyncio.wait_for(task, 30), spent

    status, spent = asyncio.run(main())
    assert status == ENDED_BY_TERM
    assert spent < 0.5  # it waited, and did not ask in a loop, which takes all the time there is
