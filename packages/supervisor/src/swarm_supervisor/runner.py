"""The shell of one run: waits, translates what happens for the core, and carries out what the core decides."""

import gc
import logging
import os
import select
import signal
import time
from array import array
from collections.abc import Callable
from typing import Any

from swarm_supervisor import messages
from swarm_supervisor.absence import Absence, tolerated_s
from swarm_supervisor.decisions import step
from swarm_supervisor.events import (
    AfterFork,
    AfterWarmup,
    BeforeFork,
    BeforeWarmup,
    Controlled,
    ErrorOccurred,
    Event,
    NodeReported,
    SignalReceived,
    StacksDumped,
)
from swarm_supervisor.fleet import Fleet, Mode, next_deadline
from swarm_supervisor.fork import fork
from swarm_supervisor.listeners import Listeners
from swarm_supervisor.loop import Loop
from swarm_supervisor.node import Node, run_node
from swarm_supervisor.node_handle import GO, LEAVE, Channels, NodeHandle
from swarm_supervisor.oom import OomWatch
from swarm_supervisor.settings import Settings
from swarm_supervisor.signals import FORCING, STOPPING, SignalInbox
from swarm_supervisor.strangers import reap_strangers
from swarm_supervisor.threads import ForkRefusedError, check_threads
from swarm_supervisor.warmup import freeze_memory

logger = logging.getLogger("swarm_supervisor")

_ENDING = (Mode.STOPPING, Mode.STOPPED)
_DUMP_LOOK_S = 0.025
_LOOK_EVERY_S = 2.0


class Runner:
    """One run of a supervisor, from warm-up to the last reaped node."""

    def __init__(
        self,
        target: Callable[[Node], int | None],
        settings: Settings,
        nodes: int,
        listeners: Listeners,
        loop: Loop,
        inbox: SignalInbox,
    ) -> None:
        self.fleet = Fleet(settings, nodes, time.monotonic())
        self.exit_code: int | None = None
        self.pid = os.getpid()
        self._target = target
        self._settings = settings
        self._listeners = listeners
        self._loop = loop
        self._inbox = inbox
        self._handles: dict[tuple[int, int], NodeHandle] = {}
        self._owned = array("i")
        """Descriptors of the handles: numbers without objects."""
        self._commands: list[Any] = []
        self.close_in_child: list[Callable[[], None]] = []
        """What else is the supervisor's own, and to be closed in a node."""
        self._warned: set[str] = set()
        self._oom = OomWatch()
        self._absence = Absence(time.monotonic(), time.thread_time())
        self._tolerated_s = tolerated_s(settings.node_report_timeout)
        self._actions: dict[type, Callable[[Any], None]] = {
            messages.Emit: self._emit,
            messages.Fork: self._fork,
            messages.Term: self._term,
            messages.Kill: self._kill,
            messages.Dump: self._dump,
            messages.Go: self._go,
            messages.Leave: self._leave,
            messages.Quiet: self._quiet,
            messages.Finish: self._finish,
        }

    def run(self) -> int:
        """Warm up, fork, supervise; return the exit code."""
        try:
            self._warm_up()
        except KeyboardInterrupt:
            return 4
        self._loop.add_reader(self._inbox.fileno(), select.EPOLLIN, lambda _: self._signals())
        self._loop.add_reader(self._inbox.terminal_fileno(), select.EPOLLIN, lambda _: self._terminal_stops())
        self._signals()
        self._absence.take(time.monotonic(), time.thread_time())
        while self.exit_code is None:
            self._turn()
        return self.exit_code

    def command(self, happening: Any) -> None:
        """Have something decided at the next turn of the loop. For callbacks and listeners, which run within one."""
        self._commands.append(happening)

    def dump_stacks(self, node_id: int | None) -> list[int]:
        """Ask nodes for their stacks; return the ids of those that were asked."""
        asked = []
        for member in self.fleet.members.values():
            handle = self._handles.get((member.id, member.main.generation))
            if handle is not None and node_id in (None, member.id) and handle.ask_for_stacks():
                asked.append(member.id)
                self._look_for_dump(handle, time.monotonic() + self._settings.stack_dump_timeout)
        return asked

    def emit(self, event: Event) -> None:
        """Tell the listeners."""
        self._listeners.tell(event)

    def kill_all(self) -> None:
        """End every node at once, and wait for it: the supervisor itself has failed."""
        for handle in self._handles.values():
            handle.kill()
        for handle in self._handles.values():
            handle.pidfd.wait(self._settings.shutdown_grace)
            handle.close()
        self._handles.clear()

    def _turn(self) -> None:
        """Wait, dispatch, decide what is due."""
        if self._commands:
            commands, self._commands = self._commands, []
            for happening in commands:
                self._decide(happening)
            if self.exit_code is not None:
                return
        now = time.monotonic()
        due = next_deadline(self.fleet, now)
        timer = self._loop.next_timer()
        until = min((moment for moment in (due, timer) if moment is not None), default=None)
        self._absence.wait(now, time.thread_time())
        ready = self._loop.wait(until)
        woke = time.monotonic()
        self._absence.wake(until, woke, time.thread_time())
        self._loop.dispatch(ready)
        self._loop.run_timers(woke)
        now = time.monotonic()
        due = next_deadline(self.fleet, now)
        # Reports that came first may have moved every deadline: that it was away is to be told all the same.
        away = self._absence.longest(now, time.thread_time()) > self._tolerated_s
        if away or (due is not None and due <= now):
            self._judge()
        if self._listeners.wants(Controlled):
            now = time.monotonic()
            self._listeners.tell(Controlled(at=now, next_deadline=next_deadline(self.fleet, now)))

    def _judge(self) -> None:
        """Decide what is due."""
        # This process may have been stopped at any line since it last looked (epoll_wait too returns without another
        # look after a stop and a continue). So it looks again, and judges by the time before that: whatever a node said
        # before `now` has been heard then.
        now = time.monotonic()
        away_s = self._absence.take(now, time.thread_time())
        self._loop.dispatch(self._loop.look())
        if away_s > self._tolerated_s:
            self._decide(messages.Slept(away_s))
        due = next_deadline(self.fleet, now)
        if due is not None and due <= now:
            self._decide(messages.Tick(), now)

    def _decide(self, happening: Any, now: float | None = None) -> None:
        for action in step(self.fleet, happening, time.monotonic() if now is None else now):
            self._actions[type(action)](action)

    def _warm_up(self) -> None:
        started = time.monotonic()
        self._inbox.interruptible = True
        self._listeners.tell(BeforeWarmup(at=started))
        freeze_memory(trim=True)
        self._inbox.interruptible = False
        now = time.monotonic()
        self._listeners.tell(AfterWarmup(at=now, duration_s=now - started, frozen_objects=gc.get_freeze_count()))
        check_threads(self._settings.threads)

    def _emit(self, action: messages.Emit) -> None:
        self._listeners.tell(action.event)

    def _fork(self, action: messages.Fork) -> None:
        self._listeners.tell(
            BeforeFork(at=time.monotonic(), node_id=action.node_id, generation=action.generation, spare=action.spare)
        )
        started = time.monotonic()
        try:
            threads = check_threads(self._settings.threads)
            self._warn_of_threads(threads)
            handle = self._forked(action, threads)
        except (OSError, ForkRefusedError) as error:
            self._decide(messages.ForkFailed(action.node_id, action.generation, str(error)))
            return
        self._handles[action.node_id, action.generation] = handle
        self._owned.extend(handle.descriptors())
        self._loop.add_reader(handle.reader.fileno(), select.EPOLLIN, lambda _: self._reported(handle), patient=True)
        self._loop.add_reader(handle.pidfd.fileno(), select.EPOLLIN, lambda _: self._ended(handle))
        now = time.monotonic()
        self._decide(messages.Forked(handle.node_id, handle.generation, handle.pid, now - started))
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

    def _forked(self, action: messages.Fork, threads: list[str]) -> NodeHandle:
        held = action.spare and not self._settings.target_waits_for_go
        channels = Channels(go=not action.spare)
        supervisor_pid = self.pid

        def body(mask: set[signal.Signals]) -> int:
            node = Node(
                action.node_id,
                action.generation,
                supervisor_pid,
                channels.writer,
                channels.orders_read,
                name=self._settings.name,
            )

            def close_inherited() -> None:
                channels.close_parents_ends()
                self.close_inherited()

            return run_node(
                node,
                self._target,
                mask=mask,
                close_inherited=close_inherited,
                listeners=self._listeners.tell_in_node,
                dump_fd=channels.dump_fd,
                held=held,
                quiet=action.quiet,
            )

        freeze_memory(trim=False)
        try:
            pid = fork(body, beside_threads=bool(threads))
        except BaseException:
            channels.close()
            raise
        channels.close_childs_ends()
        try:
            return NodeHandle(action.node_id, action.generation, pid, channels)
        except OSError:
            # No descriptor for the pidfd: a child that cannot be watched must not run. It is ours and not reaped yet,
            # so that its pid is still its own.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            channels.close_parents_ends()
            os.close(channels.dump_fd)
            raise

    def close_inherited(self) -> None:
        """In a forked process: close what is the supervisor's own."""
        # By number: to touch a thousand handles would copy the memory that they are in. The handles themselves are kept
        # alive by the stack of run(), which this child never returns to, so that none of them closes a number again.
        for fd in self._owned:
            os.close(fd)
        self._inbox.close_in_child()
        for close in self.close_in_child:
            close()
        self._loop.close()

    def _warn_of_threads(self, names: list[str]) -> None:
        for name in set(names) - self._warned if self._settings.threads == "warn" else ():
            self._warned.add(name)
            logger.warning("thread %r runs in the supervisor: a fork may copy a lock that it holds", name)

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
        if now >= handle.look_at and not handle.dump_wanted:
            handle.look_at = now + _LOOK_EVERY_S
            self._tell_dump(handle, handle.take_dump())  # of a TTIN that somebody else has sent

    def _ended(self, handle: NodeHandle) -> None:
        self._reported(handle)  # its last words
        dump = handle.take_dump()
        if handle.killed or handle.died_of_signal():
            handle.kill_group()  # what its handlers started; a node that exits by itself may leave things on purpose
        status = handle.reap()
        if status is None:
            return  # a stale wake-up: it lives
        self._tell_dump(handle, dump)
        for fd in (handle.reader.fileno(), handle.pidfd.fileno()):
            self._loop.remove_reader(fd)
        for fd in handle.descriptors():
            self._owned.remove(fd)
        handle.close()
        del self._handles[handle.node_id, handle.generation]
        hint = self._oom.hint() if status.signal == signal.SIGKILL and not handle.killed else ""
        self._decide(messages.Exited(handle.node_id, handle.generation, status.code, status.signal, str(status), hint))

    def _handle_of(self, action: messages.NodeAction) -> NodeHandle | None:
        return self._handles.get((action.node_id, action.generation))

    def _term(self, action: messages.Term) -> None:
        if (handle := self._handle_of(action)) is not None:
            self._tell_dump(handle, handle.take_dump())
            if handle.term():
                logger.warning("node %d (pid %d) was stopped by a signal: continued", handle.node_id, handle.pid)

    def _kill(self, action: messages.Kill) -> None:
        if (handle := self._handle_of(action)) is not None:
            self._tell_dump(handle, handle.take_dump())
            handle.kill()

    def _dump(self, action: messages.Dump) -> None:
        handle = self._handle_of(action)
        if handle is None:
            return
        now = time.monotonic()
        if self._settings.stack_dump_timeout == 0 or not handle.ask_for_stacks():
            self._loop.call_at(now, lambda: self._stacks_there(handle))
            return
        self._look_for_dump(handle, now + self._settings.stack_dump_timeout)

    def _look_for_dump(self, handle: NodeHandle, until: float) -> None:
        """Look until the dump is whole. Nothing tells when a memfd is written to, and a look costs 2 us."""
        now = time.monotonic()
        if not handle.dump_wanted:
            return
        if handle.dump_grown():
            self._stacks_there(handle)
        elif now < until:
            self._loop.call_at(min(now + _DUMP_LOOK_S, until), lambda: self._look_for_dump(handle, until))

    def _stacks_there(self, handle: NodeHandle) -> None:
        if (handle.node_id, handle.generation) in self._handles:
            self._tell_dump(handle, handle.take_dump())
            self._decide(messages.StacksThere(handle.node_id, handle.generation))

    def _tell_dump(self, handle: NodeHandle, text: str) -> None:
        if text:
            self._listeners.tell(
                StacksDumped(
                    at=time.monotonic(),
                    node_id=handle.node_id,
                    generation=handle.generation,
                    pid=handle.pid,
                    text=text,
                )
            )

    def _go(self, action: messages.Go) -> None:
        if (handle := self._handle_of(action)) is not None:
            handle.order(GO)

    def _leave(self, action: messages.Leave) -> None:
        if (handle := self._handle_of(action)) is not None:
            handle.order(LEAVE)

    def _quiet(self, action: messages.Quiet) -> None:
        if (handle := self._handle_of(action)) is not None:
            handle.quiet()

    def _finish(self, action: messages.Finish) -> None:
        self.exit_code = action.exit_code

    def _signals(self) -> None:
        for number in self._inbox.take():
            if number == signal.SIGCHLD:
                self._reap_strangers()
                continue
            name = signal.Signals(number).name
            action = self._answer(number, name)
            if action:
                self._listeners.tell(SignalReceived(at=time.monotonic(), signal=number, name=name, action=action))

    def _terminal_stops(self) -> None:
        for typed in self._inbox.take_terminal():
            action = "quieting"
            if typed:
                action = f'ignored: typed at the terminal; "kill -TSTP {self.pid}" quiets the swarm'
            else:
                self.command(messages.QuietSwarm("SIGTSTP"))
            self._listeners.tell(
                SignalReceived(at=time.monotonic(), signal=signal.SIGTSTP, name="SIGTSTP", action=action)
            )

    def _reap_strangers(self) -> None:
        handles = {handle.pid: handle for handle in self._handles.values()}

        def node_ended(pid: int) -> bool:
            handle = handles.pop(pid)
            self._ended(handle)
            return (handle.node_id, handle.generation) not in self._handles

        for pid, status in reap_strangers(handles.__contains__, node_ended):
            logger.debug("reaped process %d, which is no node of ours: it %s", pid, status)

    def _answer(self, number: int, name: str) -> str:
        stopping = self.fleet.mode in _ENDING or any(isinstance(each, messages.StopSwarm) for each in self._commands)
        if number in FORCING and stopping:
            self.command(messages.ForceStop(f"second {name}"))
            return "killing all nodes"
        if number in STOPPING:
            self.command(messages.StopSwarm(name))
            return "stopping"
        if number == signal.SIGTSTP:
            self.command(messages.QuietSwarm(name))
            return "quieting"
        if number == signal.SIGUSR2:
            self.command(messages.Restart(name))
            return "rolling restart"
        if number == signal.SIGTTIN:
            asked = self.dump_stacks(None)
            return f"asking {len(asked)} node(s) for their stacks"
        return ""


def error_event(where: str, error: BaseException) -> ErrorOccurred:
    """Return what tells of an error of the supervisor itself."""
    return ErrorOccurred(at=time.monotonic(), where=where, error=f"{type(error).__name__}: {error}")


def thaw_memory(frozen_before: int) -> None:
    """Undo gc.freeze(), unless the application had frozen something itself."""
    if frozen_before == 0:
        gc.unfreeze()
