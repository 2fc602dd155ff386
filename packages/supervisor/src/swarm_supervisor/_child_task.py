"""A function in a short-lived forked child, followed from the loop: `fork.run_in_child` without blocking."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable

from swarm_pidfd import Pidfd
from swarm_supervisor._loop import Loop, Timer
from swarm_supervisor.fork import MOST_BYTES, ChildFailed, answer, end_child, fork, outcome
from swarm_supervisor.threads import check_threads

Done = Callable[[bytes | ChildFailed], None]

_CHUNK_BYTES = 65536
_END_S = 1.0
"""How long `close` waits for a child after killing it."""


class ChildTask:
    """One such child. ``done`` is called once, from the loop, with the function's result or its failure."""

    def __init__(
        self,
        function: Callable[[], bytes],
        timeout_s: float,
        done: Done,
        *,
        loop: Loop,
        close_inherited: Callable[[], None],
    ) -> None:
        """Fork the child. It first calls ``close_inherited``, to close what belongs to the supervisor.

        OSError: no process could be created. `ForkRefusedError`: there is a thread of librdkafka.
        """
        self._loop = loop
        self._done: Done | None = done
        self._timeout_s = timeout_s
        self._said = bytearray()
        self._failure = ""
        self._timer: Timer | None = None
        beside_threads = bool(check_threads("ignore"))
        self._read_fd, write_fd = os.pipe2(os.O_CLOEXEC)

        def body(mask: set[int]) -> int:
            os.setpgid(0, 0)  # Ctrl-C is for the supervisor, which ends this child itself
            close_inherited()
            return answer(function, self._read_fd, write_fd, mask)

        try:
            pid = fork(body, beside_threads=beside_threads)
        except BaseException:
            os.close(self._read_fd)
            raise
        finally:
            os.close(write_fd)
        self.pid = pid
        self._child: Pidfd | None = None
        try:
            self._watch(pid)
        except BaseException:  # a child that cannot be watched must not run
            try:
                end_child(pid)
            finally:
                self._release()
            raise

    def _watch(self, pid: int) -> None:
        os.set_blocking(self._read_fd, False)  # a flag of the open file description, and each end has its own
        self._child = child = Pidfd(pid)
        self._loop.add_reader(self._read_fd, select.EPOLLIN, lambda _: self._read())
        self._loop.add_reader(child.fileno(), select.EPOLLIN, lambda _: self._ended())
        self._timer = self._loop.call_at(time.monotonic() + self._timeout_s, self._overdue)

    @property
    def over(self) -> bool:
        """Whether the child has been reaped."""
        return self._child is None

    def close(self) -> None:
        """End the child if it still runs, without calling ``done``."""
        self._done = None
        if self._child is not None:
            self._child.signal(signal.SIGKILL)
            self._child.wait(_END_S)
            self._release()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._read_fd, _CHUNK_BYTES)
            except BlockingIOError:
                return
            if not chunk:
                break
            self._said += chunk
            if len(self._said) > MOST_BYTES:
                self._give_up(f"it returned more than {MOST_BYTES} bytes")
                break
        self._loop.remove_reader(
            self._read_fd
        )  # it is about to end; a grandchild that holds the pipe is not waited for

    def _ended(self) -> None:
        if self._child is None:
            return
        if not self._failure:
            self._read()
        status = self._child.wait(0)
        if status is None:
            return  # a stale wake-up
        try:
            self._release()
        finally:
            self._tell(status)

    def _overdue(self) -> None:
        self._timer = None
        self._give_up(f"it took longer than {self._timeout_s:g} s")

    def _give_up(self, failure: str) -> None:
        if self._child is not None and not self._failure:
            self._failure = failure
            self._child.signal(signal.SIGKILL)
            self._tell(None)  # a process that hangs in the kernel is not waited for

    def _tell(self, status: object) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        try:
            result: bytes | ChildFailed = outcome(bytes(self._said), self._failure, status)
        except ChildFailed as error:
            result = error
        done(result)

    def _release(self) -> None:
        read_fd, self._read_fd = self._read_fd, -1
        child, self._child = self._child, None
        if self._timer is not None:
            self._timer.cancel()
        with contextlib.ExitStack() as each:  # run all of them, even if one raises
            if read_fd >= 0:
                each.callback(os.close, read_fd)
                each.callback(self._loop.remove_reader, read_fd)
            if child is not None:
                each.callback(child.close)
                each.callback(self._loop.remove_reader, child.fileno())
