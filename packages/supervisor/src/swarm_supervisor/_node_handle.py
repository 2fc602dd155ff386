"""The parent's view of one process of a node: its pidfd, its pipes, its stacks.

The child's side of the same process is `node.Node`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import tempfile
from pathlib import Path

from swarm_health import Reader, Ready, Recycle, Status, Stopping, Writer
from swarm_health import pipe as health_pipe
from swarm_pidfd import ExitStatus, Pidfd
from swarm_supervisor._core.messages import Reported
from swarm_supervisor._node import DUMP_SIGNAL, MAIN_STACK_SIGNAL, QUIET_SIGNAL, STOP_SIGNALS
from swarm_supervisor._orders import GO, LEAVE, REMOVE, RETURN
from swarm_supervisor._prctl import signal_thread
from swarm_supervisor._stack_text import half, stack_text

_SIGNAL_NAMES = frozenset(number.name for number in STOP_SIGNALS)
_LOOKS_FOR_MAIN = 3
"""How often to check for the dump of the main thread before all threads are dumped."""
_P_PIDFD = 3  # os.P_PIDFD, which some builds of Python lack


class Channels:
    """The channels of supervisor and node, created before the fork: health pipe, pipe of orders, memfd for stacks."""

    def __init__(self, *, go: bool) -> None:
        """Open all of them, or none. OSError (EMFILE, ENFILE) if no descriptors are left."""
        self.go = go
        with contextlib.ExitStack() as undo:
            self.reader: Reader
            self.writer: Writer
            self.reader, self.writer = health_pipe()
            undo.callback(self.reader.close)
            undo.callback(self.writer.close)
            self.orders_read, self.orders_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            undo.callback(os.close, self.orders_read)
            undo.callback(os.close, self.orders_write)
            # It never holds more than some bytes, and an unprivileged user's pipes have 16,384 pages in total: sixteen
            # for each would leave a thousand nodes without space for their statistics (pipe(7)).
            with contextlib.suppress(OSError):
                fcntl.fcntl(self.orders_write, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
            if go:
                os.write(self.orders_write, GO)
            self.dump_fd = _anonymous_file()
            undo.callback(os.close, self.dump_fd)
            # Both sides share one file offset; append mode makes it safe for the reader to truncate.
            fcntl.fcntl(self.dump_fd, fcntl.F_SETFL, os.O_APPEND)
            undo.pop_all()

    def close_parents_ends(self) -> None:
        """In the child: close the supervisor's ends."""
        self.reader.close()
        os.close(self.orders_write)

    def close_childs_ends(self) -> None:
        """In the supervisor: close the node's end, or its hang-up would never be seen."""
        self.writer.close()
        os.close(self.orders_read)

    def close(self) -> None:
        """Close everything, because the fork failed."""
        self.close_childs_ends()
        self.close_parents_ends()
        os.close(self.dump_fd)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("stacks", os.MFD_CLOEXEC)
    # For a Python built against an old libc: an unnamed file works too.
    return os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)


class NodeHandle:
    """The supervisor's handle on one process of a node."""

    __slots__ = (
        "_beat",
        "_dump",
        "_dump_size",
        "_looks_for_main",
        "_main_size",
        "_orders",
        "_told_to_go",
        "dump_wanted",
        "ended_at",
        "generation",
        "killed",
        "look_at",
        "node_id",
        "pid",
        "pidfd",
        "reader",
    )

    def __init__(self, node_id: int, generation: int, pid: int, channels: Channels) -> None:
        """Take over the parent's ends of the channels of a process that has just been forked."""
        self.node_id = node_id
        self.generation = generation
        self.pid = pid
        self.pidfd = Pidfd(pid)
        self.reader = channels.reader
        self.killed = False
        self.ended_at: float | None = None
        """When it was found to have ended without an available status (monotonic seconds)."""
        self.dump_wanted = False
        self._dump_size = self._main_size = self._looks_for_main = 0
        self.look_at = 0.0
        """When to look for a dump that was not requested here (monotonic seconds)."""
        self._orders = channels.orders_write
        self._told_to_go = channels.go
        self._dump = channels.dump_fd
        self._beat = Reported(node_id, generation, Status.HEALTHY)

    def read(self) -> tuple[Reported | None, bool]:
        """Return the node's reports since the last call, and whether its end of the pipe is closed."""
        reading = self.reader.read()
        if len(reading.reports) == 1 and reading.status == Status.HEALTHY:
            return self._beat, reading.closed
        ready, leaving, said, recycle = False, "", "", ""
        for report in reading.reports:
            if isinstance(report, Ready):
                ready = True
            elif isinstance(report, Recycle):
                recycle = report.reason or "asked for by the node"
            elif isinstance(report, Stopping):
                if report.reason in _SIGNAL_NAMES:
                    leaving = report.reason
                else:
                    said = report.reason
        if not reading.reports:
            return None, reading.closed
        return (
            Reported(
                self.node_id,
                self.generation,
                reading.status,
                reading.reason,
                ready,
                leaving,
                said,
                reading.statistics,
                recycle,
            ),
            reading.closed,
        )

    def term(self) -> bool:
        """Send TERM, and CONT after it if the process is stopped. Return whether it was."""
        self.pidfd.signal(signal.SIGTERM)
        return self.resume()

    def resume(self) -> bool:
        """Send CONT if the process is stopped. Return whether it was."""
        stopped = self.state() == "T"
        if stopped:
            self.pidfd.signal(signal.SIGCONT)
        return stopped

    def kill(self) -> None:
        """Send KILL to the process and its group, which includes processes started by its handlers."""
        self.killed = True
        try:
            self.pidfd.signal(signal.SIGKILL)
        finally:  # a process that we may not signal may have started others that we may signal
            self.kill_group()

    def kill_group(self) -> None:
        """Send KILL to the process group. Only before the leader is reaped: until then its number cannot be reused."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, signal.SIGKILL)

    def died_of_signal(self) -> bool:
        """Whether a signal ended the process. It stays a zombie; call this before `reap`."""
        try:
            found = os.waitid(_P_PIDFD, self.pidfd.fileno(), os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return found is not None and found.si_code != os.CLD_EXITED

    def quiet(self) -> None:
        """Ask the node to take no more work."""
        self.pidfd.signal(QUIET_SIGNAL)

    def order(self, what: bytes) -> None:
        """Send an order down the pipe. If the node is gone, do nothing.

        A spare that was not told to go holds nothing that it could leave, and its first order must be `GO`.
        """
        if what in (LEAVE, REMOVE, RETURN) and not self._told_to_go:
            return
        self._told_to_go = self._told_to_go or what == GO
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(self._orders, what)

    def ask_for_stacks(self, *, main_first: bool = True) -> bool:
        """Ask the node to dump its stacks, its main thread first. Return False if it is stopped and cannot."""
        if self.state() == "T":
            return False
        self.dump_wanted = True
        self._dump_size = self._main_size = 0
        # The application may use the main thread's signal in nodes too. The pid is still valid, because it is not
        # reaped.
        main_first = main_first and signal.getsignal(MAIN_STACK_SIGNAL) is signal.SIG_DFL
        main_first = main_first and signal_thread(self.pid, self.pid, MAIN_STACK_SIGNAL)
        self._looks_for_main = _LOOKS_FOR_MAIN if main_first else 0
        if not self._looks_for_main:
            self.pidfd.signal(DUMP_SIGNAL)
        return True

    def dump_grown(self) -> bool:
        """Whether there is a dump that has not grown since the last call and so is complete.

        Two threads that dump at the same time would mix their lines, so the others follow when the main thread is done,
        or when it does not answer.
        """
        size = os.fstat(self._dump).st_size
        unchanged = self._main_size < size == self._dump_size
        self._dump_size = size
        if not self._looks_for_main:
            return unchanged
        self._looks_for_main = 0 if unchanged else self._looks_for_main - 1
        if not self._looks_for_main:
            self._main_size = size
            self.pidfd.signal(DUMP_SIGNAL)
        return False

    def take_dump(self) -> str:
        """Return the dumped stacks and discard them. "" if there are none."""
        size = os.fstat(self._dump).st_size
        if size == 0:
            return ""
        kept = half(size)
        head, tail = os.pread(self._dump, kept, 0), os.pread(self._dump, kept, size - kept)
        os.ftruncate(self._dump, 0)
        self.dump_wanted = False
        return stack_text(head, tail, size)

    def state(self) -> str:
        """Return the process state from /proc: R, S, D, T (stopped), Z; "" if the process is gone."""
        try:
            text = Path(f"/proc/{self.pid}/stat").read_bytes().decode("utf-8", "replace")  # the name may be any bytes
        except OSError:
            return ""
        return text.rpartition(")")[2].split()[0]

    def reap(self) -> ExitStatus | None:
        """Reap the process and return how it ended; None if it has not ended."""
        return self.pidfd.wait(0)

    def descriptors(self) -> tuple[int, int, int, int]:
        """Return all of them: pidfd, health pipe, orders, stacks."""
        return self.pidfd.fileno(), self.reader.fileno(), self._orders, self._dump

    def close(self, *, keep_pidfd: bool = False) -> None:
        """Close every descriptor, or all except the pidfd."""
        if not keep_pidfd:
            self.pidfd.close()
        self.reader.close()
        self.dump_wanted = False  # a timer may still look for it
        for name in ("_orders", "_dump"):
            fd = getattr(self, name)
            if fd >= 0:
                setattr(self, name, -1)
                os.close(fd)
