"""The processes of the nodes: fork, signal, listen to and reap them, as the core decides."""

from __future__ import annotations

import contextlib
import logging
import select
import signal
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from swarm_pidfd import ExitStatus, Pidfd
from swarm_supervisor._containment import must_pass, text_of
from swarm_supervisor._core import messages
from swarm_supervisor._dumps import Dumps
from swarm_supervisor._ending import Ending
from swarm_supervisor._forking import NodeForker
from swarm_supervisor._listeners import Listeners, note
from swarm_supervisor._loop import Loop
from swarm_supervisor._node_handle import NodeHandle
from swarm_supervisor._oom import Hint, OomWatch
from swarm_supervisor._orders import GO, LEAVE, REMOVE, RETURN
from swarm_supervisor._strangers import children, reap_strangers
from swarm_supervisor.events import AfterFork, BeforeFork, NodeReported
from swarm_supervisor.signals import SignalInbox
from swarm_supervisor.threads import ForkRefusedError

T = TypeVar("T")

_LOOK_EVERY_S = 2.0
_TRACED_LOOK_S = 0.05
_TRACED_PATIENCE_S = 1.0
_left: list[Pidfd] = []
"""Processes that a run had to leave behind. The next run in this program reaps them."""


class Processes:
    """The handles of all processes, and the operations on them.

    A failure with one process is reported and affects only that process: silence, a deadline or the next KILL still
    ends it.
    """

    def __init__(
        self,
        forker: NodeForker,
        listeners: Listeners,
        loop: Loop,
        *,
        decide: Callable[[messages.Happening], None],
        dump_timeout_s: float,
    ) -> None:
        """``decide`` takes a happening and carries out the resulting actions."""
        self.owned = array("i")
        """The descriptors of the handles, as plain numbers."""
        self._forker = forker
        self._listeners = listeners
        self._loop = loop
        self._decide = decide
        self._handles: dict[tuple[int, int], NodeHandle] = {}
        self._hosts = frozenset(children() or ())
        self.helpers: Callable[[], set[int]] = set
        """The pids of short-lived children that other code waits for."""
        self._oom = OomWatch()
        _left[:] = [pidfd for pidfd in _left if not pidfd.cleanup()]
        self._dumps = Dumps(listeners, loop, decide=decide, alive=self._alive, timeout_s=dump_timeout_s)
        self.actions: dict[type, Callable[[Any], None]] = {
            messages.Fork: self._fork,
            messages.Term: self._term,
            messages.Kill: self._kill,
            messages.Dump: self._dump,
            messages.Go: lambda action: self._order(action, GO),
            messages.Leave: lambda action: self._order(action, LEAVE),
            messages.Remove: lambda action: self._order(action, REMOVE),
            messages.Return: lambda action: self._order(action, RETURN),
            messages.Quiet: self._quiet,
        }

    def dump_stacks(self, nodes: list[tuple[int, int]]) -> list[int]:
        """Ask processes, by node id and generation, for their stacks. Returns the ids of the processes asked."""
        handles = [self._handles[each] for each in nodes if each in self._handles]
        return [handle.node_id for handle in handles if self._attempt("dump", handle, self._dumps.ask, handle)]

    def reap_children(self) -> None:
        """Reap ended processes that are not our nodes: the orphans that a subreaper or PID 1 inherits."""
        handles = {handle.pid: handle for handle in self._handles.values()}

        def node_ended(pid: int) -> bool:
            handle = handles.pop(pid)
            self._ended(handle)
            return not self._alive(handle)

        for pid, status in reap_strangers(handles.__contains__, node_ended, self._hosts | self.helpers()):
            note(logging.DEBUG, "reaped process %d, which is not one of our nodes: it %s", pid, status)

    def end_all(self, inbox: SignalInbox, patience_s: float, grace_s: float, tell: Callable[[], None]) -> None:
        """End every node without the core, which has failed."""
        ending = Ending(list(self._handles.values()), inbox)
        self._handles.clear()
        ending.drain(patience_s, grace_s, tell)

    def leave(self) -> None:
        """At the end of a run: let go of processes that KILL has not ended in time (state D)."""
        for handle in list(self._handles.values()):
            left = handle.pidfd
            self._release(handle, keep_pidfd=True)
            _left.append(left)

    def _fork(self, action: messages.Fork) -> None:
        key = action.node_id, action.generation
        self._listeners.tell(
            BeforeFork(at=time.monotonic(), node_id=action.node_id, generation=action.generation, spare=action.spare)
        )
        started = time.monotonic()
        try:
            handle = self._forker.fork(action)
            try:
                self._watch(handle)
            except BaseException:
                self._undo(handle)
                raise
        except BaseException as error:
            if must_pass(error, self._listeners.pid):
                raise
            why = str(error) if isinstance(error, OSError | ForkRefusedError) else text_of(error)
            self._decide(messages.ForkFailed(*key, why))
            return
        now = time.monotonic()
        self._decide(messages.Forked(*key, handle.pid, now - started))
        self._listeners.tell(
            AfterFork(
                at=now,
                node_id=handle.node_id,
                generation=handle.generation,
                pid=handle.pid,
                spare=action.spare,
                duration_s=now - started,
            )
        )

    def _watch(self, handle: NodeHandle) -> None:
        self._handles[handle.node_id, handle.generation] = handle
        self.owned.extend(handle.descriptors())
        self._loop.add_reader(handle.reader.fileno(), select.EPOLLIN, lambda _: self._reported(handle), patient=True)
        self._loop.add_reader(handle.pidfd.fileno(), select.EPOLLIN, lambda _: self._ended(handle))

    def _undo(self, handle: NodeHandle) -> None:
        """End a process that was just forked and cannot be watched: it must not run."""
        handle.kill()
        handle.pidfd.wait(_LOOK_EVERY_S)
        self._release(handle)

    def _release(self, handle: NodeHandle, *, keep_pidfd: bool = False) -> None:
        self._handles.pop((handle.node_id, handle.generation), None)
        if not self._attempt("end", handle, self._forget_descriptors, handle):
            # A stale number would be closed in every node, whatever file has it now.
            self.owned[:] = array("i", [fd for each in self._handles.values() for fd in each.descriptors()])
        self._attempt("end", handle, lambda: handle.close(keep_pidfd=keep_pidfd))

    def _forget_descriptors(self, handle: NodeHandle) -> bool:
        pidfd, reader, *others = handle.descriptors()
        for fd in (pidfd, reader):
            self._attempt("end", handle, self._loop.remove_reader, fd)
        for fd in (pidfd, reader, *others):
            with contextlib.suppress(ValueError):
                self.owned.remove(fd)
        return True

    def _alive(self, handle: NodeHandle) -> bool:
        return (handle.node_id, handle.generation) in self._handles

    def _reported(self, handle: NodeHandle) -> None:
        report, closed = handle.read()
        if closed:
            self._loop.remove_reader(handle.reader.fileno())
        if report is None:
            return
        if self._listeners.wants(NodeReported):
            self._listeners.tell(
                NodeReported(
                    at=time.monotonic(),
                    node_id=handle.node_id,
                    generation=handle.generation,
                    pid=handle.pid,
                    status=report.status,
                    reason=report.reason,
                    statistics=report.statistics,
                )
            )
        self._decide(report)
        now = time.monotonic()
        self._oom.look(now)
        if now >= handle.look_at and not handle.dump_wanted:
            handle.look_at = now + _LOOK_EVERY_S
            self._dumps.take(handle)  # from a TTIN of another sender

    def _ended(self, handle: NodeHandle) -> None:
        self._attempt("last words", handle, self._reported, handle)
        self._attempt("dump", handle, self._dumps.take, handle)
        if handle.killed or self._attempt("end", handle, handle.died_of_signal):
            # Processes that its handlers started end with it; a node that exits on its own may leave some on purpose.
            self._attempt("end", handle, handle.kill_group)
        status = handle.reap()
        if not self._alive(handle):
            return
        if status is None:
            self._held_by_tracer(handle)
            return
        self._gone(handle, status, "")

    def _held_by_tracer(self, handle: NodeHandle) -> None:
        """Check again for a process that has ended but cannot be reaped, because its tracer gets its status first.

        strace -p lets go of it at once, a debugger at its prompt perhaps after an hour. After a moment the node counts
        as ended with an unknown status, so that it is replaced; the process is reaped when possible.
        """
        if self._alive(handle) and handle.state() != "Z":
            return  # a stale wake-up: the process is alive
        self._attempt("end", handle, self._loop.remove_reader, handle.pidfd.fileno())  # readable all the time
        now = time.monotonic()
        if handle.ended_at is None:
            handle.ended_at = now
        self._loop.call_at(now + _TRACED_LOOK_S, lambda: self._look_at_traced(handle))

    def _look_at_traced(self, handle: NodeHandle) -> None:
        pidfd = handle.pidfd
        status = handle.reap()
        if not self._alive(handle):  # already reported
            if status is None:
                self._loop.call_at(time.monotonic() + _TRACED_PATIENCE_S, lambda: self._look_at_traced(handle))
            elif pidfd in _left:  # otherwise SIGCHLD has reported it, and it is closed
                _left.remove(pidfd)
                pidfd.close()
        elif status is not None:
            self._gone(handle, status, "")
        elif time.monotonic() - (handle.ended_at or 0.0) < _TRACED_PATIENCE_S:
            self._held_by_tracer(handle)
        else:
            _left.append(pidfd)
            self._gone(handle, ExitStatus(), "a debugger holds the process and its exit status", keep_pidfd=True)
            self._loop.call_at(time.monotonic() + _TRACED_PATIENCE_S, lambda: self._look_at_traced(handle))

    def _gone(self, handle: NodeHandle, status: ExitStatus, hint: str, *, keep_pidfd: bool = False) -> None:
        self._release(handle, keep_pidfd=keep_pidfd)
        oom = False
        if status.signal == signal.SIGKILL and not handle.killed:
            told = self._attempt("end", handle, self._oom.hint, time.monotonic()) or Hint()
            hint, oom = told.text, told.sure
        self._decide(
            messages.Exited(handle.node_id, handle.generation, status.code, status.signal, str(status), hint, oom)
        )

    def _attempt(self, what: str, handle: NodeHandle, function: Callable[..., T], *arguments: Any) -> T | None:
        """Call a function for a process. An exception is reported, and the rest continues."""
        try:
            return function(*arguments)
        except BaseException as error:  # noqa: BLE001  see `Listeners.contain`
            self._listeners.contain(what, error, handle.node_id)
            return None

    def _handle_of(self, action: messages.NodeAction) -> NodeHandle | None:
        return self._handles.get((action.node_id, action.generation))

    def _term(self, action: messages.Term) -> None:
        if (handle := self._handle_of(action)) is not None:
            self._attempt("dump", handle, self._dumps.take, handle)
            with _permission(handle):
                if handle.term():
                    note(
                        logging.WARNING,
                        "node %d (pid %d) was stopped by a signal: continued",
                        handle.node_id,
                        handle.pid,
                    )

    def _kill(self, action: messages.Kill) -> None:
        if (handle := self._handle_of(action)) is not None:
            self._attempt("dump", handle, self._dumps.take, handle)
            with _permission(handle):
                handle.kill()

    def _dump(self, action: messages.Dump) -> None:
        if (handle := self._handle_of(action)) is not None and not self._attempt(
            "dump", handle, self._dumps.ask, handle
        ):
            self._dumps.give_up(handle)

    def _order(self, action: messages.NodeAction, what: bytes) -> None:
        if (handle := self._handle_of(action)) is not None:
            handle.order(what)

    def _quiet(self, action: messages.Quiet) -> None:
        if (handle := self._handle_of(action)) is not None:
            with _permission(handle):
                handle.quiet()


@contextlib.contextmanager
def _permission(handle: NodeHandle) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise PermissionError(
            error.errno,
            f"pid {handle.pid} may not be signalled: it now runs as another user (setuid, sudo), so end it "
            "by hand, or let the supervisor run as that user",
        ) from error
