"""The only place that forks."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import NoReturn

from swarm_pidfd import Pidfd
from swarm_supervisor._containment import text_of
from swarm_supervisor._prctl import set_parent_death_signal
from swarm_supervisor._streams import discard_buffered
from swarm_supervisor.signals import HANDLED
from swarm_supervisor.threads import check_threads

ORPHANED = 3
"""Exit code of a process whose supervisor is gone."""
HANDLED_ACROSS = frozenset({*HANDLED, signal.SIGCHLD})
MOST_BYTES = 16 * 2**20
_LONGEST_POLL_S = 86400.0
"""poll(2) takes 2**31 - 1 ms at most."""


class ChildFailed(RuntimeError):
    """A function in a short-lived child gave no result. The text is the reason."""

    lost = False
    """Whether the child gave no answer at all, because it was slow or killed. Another attempt may succeed."""


def fork(body: Callable[[set[int]], int], *, beside_threads: bool = False) -> int:
    """Fork; return the child's pid. In the child run ``body`` and end with the exit code that it returns.

    The signals that a supervisor and its nodes handle are blocked across the fork: signals that arrive before the child
    has its own handlers wait for them. ``body`` gets the mask to restore. The child never returns from here and runs
    nothing of the parent's stack, atexit hooks or finalizers. OSError (EAGAIN, ENOMEM): no process could be created;
    then nothing has changed.
    """
    parent = os.getpid()
    pid = -1
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_ACROSS)
    try:
        try:
            with _no_warning() if beside_threads else contextlib.nullcontext():
                pid = os.fork()
            if pid == 0:
                _run_child(body, set(mask), parent)
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # a handler may have raised before the mask was restored
        if pid > 0:  # an application's handler raised right here, and the caller would never learn about this child
            end_child(pid)
        raise


def end_child(pid: int) -> None:
    """Kill a child that is not reaped yet, and reap it."""
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # SIGCHLD ignored: the kernel has reaped it
        os.waitpid(pid, 0)


@contextlib.contextmanager
def _no_warning() -> Iterator[None]:
    # Python 3.12 warns about a fork with other threads. They have already been checked by name.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _run_child(body: Callable[[set[int]], int], mask: set[int], parent: int) -> NoReturn:
    code = 1
    try:
        die_with_parent(parent)
        discard_buffered()
        code = body(mask)
    except BaseException:  # noqa: BLE001  no exception may leave the child
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        with contextlib.suppress(BaseException):
            sys.stderr.flush()
        os._exit(code)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends. Exits now, with `ORPHANED`, if the parent has ended."""
    set_parent_death_signal(signal.SIGKILL)
    # The parent may have died before the line above; then no signal will come (prctl(2)).
    if os.getppid() != parent:
        os._exit(ORPHANED)


def run_in_child(function: Callable[[], bytes], timeout_s: float) -> bytes:
    """Run a function in a short-lived forked child and return the bytes that it returns.

    For checks that leave something behind that must not exist at a later fork, such as a Kafka client. Call it
    before the first fork of a node, because it blocks. The child is reaped when it returns or raises. `ChildFailed` if
    the function raises, ends its process, or takes longer than ``timeout_s``.
    """
    beside_threads = bool(check_threads("ignore"))
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        with _children_kept():
            try:
                pid = fork(lambda mask: answer(function, read_fd, write_fd, mask), beside_threads=beside_threads)
            finally:
                os.close(write_fd)
            try:
                with Pidfd(pid) as child:
                    return _result(child, read_fd, timeout_s)
            except BaseException:  # after an interrupt or without a pidfd, the child ends here too
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    if os.waitpid(pid, os.WNOHANG) == (0, 0):
                        end_child(pid)
                raise
    finally:
        os.close(read_fd)


@contextlib.contextmanager
def _children_kept() -> Iterator[None]:
    """Have the kernel keep exit statuses: with an ignored (perhaps inherited) SIGCHLD it would reap children itself."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGCHLD) != signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def answer(function: Callable[[], bytes], read_fd: int, write_fd: int, mask: set[int]) -> int:
    """In a short-lived child: write the function's result or failure for `outcome`. Returns the exit code."""
    os.close(read_fd)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        said, code = b"+" + function(), 0
    except Exception as error:  # noqa: BLE001  raised again in the parent
        said, code = b"-" + text_of(error).encode("utf-8", "backslashreplace"), 1
    view = memoryview(said)
    while view:
        view = view[os.write(write_fd, view) :]
    return code


def _result(child: Pidfd, read_fd: int, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    poll = select.poll()
    poll.register(read_fd, select.POLLIN)
    chunks: list[bytes] = []
    size = 0
    failure = ""
    while not failure:
        left = deadline - time.monotonic()
        if left <= 0:
            failure = f"it took longer than {timeout_s:g} s"
            break
        if not poll.poll(min(left, _LONGEST_POLL_S) * 1000):
            continue
        chunk = os.read(read_fd, 65536)
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
        if size > MOST_BYTES:
            failure = f"it returned more than {MOST_BYTES} bytes"
    # A grandchild may hold the pipe open, and the child may outlive its answer. Either way it ends here.
    status = child.wait(max(0.0, deadline - time.monotonic())) if not failure else None
    if status is None:
        child.signal(signal.SIGKILL)
        status = child.wait()
        failure = failure or f"it took longer than {timeout_s:g} s"
    return outcome(b"".join(chunks), failure, status)


def outcome(said: bytes, failure: str, status: object) -> bytes:
    """The result of a short-lived child. `ChildFailed` if it raised, gave no answer, or for a ``failure``."""
    if failure:
        error = ChildFailed(f"the check in a child process failed: {failure}")
        error.lost = not said
        raise error
    if said[:1] == b"+":
        return said[1:]
    if said[:1] == b"-":
        raise ChildFailed(said[1:].decode("utf-8", "replace"))
    error = ChildFailed(f"the check in a child process gave no answer: it {status}")
    error.lost = True
    raise error
