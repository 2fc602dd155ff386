"""The shell of one run: waits, translates what happens for the core, and carries out what the core decides.

What the operator's signals ask for is in `signal_answers`, what becomes of a request for stacks in `dumps`, and what is
done with a process in `processes`.
"""

import contextlib
import os
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from swarm_supervisor._core import messages
from swarm_supervisor._core.absence import Absence, tolerated_s
from swarm_supervisor._core.decisions import step
from swarm_supervisor._core.fleet import Fleet, Mode, next_deadline
from swarm_supervisor.containment import CoreFailedError, Interrupted, must_pass, text_of
from swarm_supervisor.events import Controlled, ErrorOccurred
from swarm_supervisor.forking import NodeForker
from swarm_supervisor.listeners import Listeners
from swarm_supervisor.loop import Loop
from swarm_supervisor.node import Node
from swarm_supervisor.processes import Processes
from swarm_supervisor.settings import Settings
from swarm_supervisor.signal_answers import SignalAnswers
from swarm_supervisor.signals import SignalInbox
from swarm_supervisor.warmup import warm_up

_ENDING = (Mode.STOPPING, Mode.STOPPED)
_MOST_BAD_TURNS = 100
"""So many turns in a row that fail are no accident: without a loop there is no supervision."""
_BAD_TURN_PAUSE_S = 0.05


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
        self.pid = listeners.pid = os.getpid()
        self.close_in_child: list[Callable[[], None]] = []
        """What else is the supervisor's own, and to be closed in a node."""
        self._settings = settings
        self._listeners = listeners
        self._loop = loop
        self._inbox = inbox
        self._commands: deque[messages.Happening] = deque()
        self._absence = Absence(time.monotonic(), time.thread_time())
        self._tolerated_s = tolerated_s(settings.node_report_timeout)
        self.processes = Processes(
            NodeForker(target, settings, listeners, pid=self.pid, close_inherited=self.close_inherited),
            listeners,
            loop,
            decide=self._decide,
            dump_timeout_s=settings.stack_dump_timeout,
        )
        self._answers = SignalAnswers(
            inbox,
            listeners,
            command=self.command,
            stopping=self._stopping,
            children_ended=self.processes.reap_children,
            dump_stacks=lambda: self.dump_stacks(None),
            pid=self.pid,
        )
        self._actions: dict[type, Callable[[Any], None]] = {
            messages.Emit: lambda action: self._listeners.tell(action.event),
            messages.Finish: self._finish,
            **self.processes.actions,
        }

    def run(self) -> int:
        """Warm up, fork, supervise; return the exit code."""
        try:
            warm_up(self._listeners, self._inbox, self._settings.threads)
        except Interrupted:
            return 4
        self._loop.add_reader(self._inbox.fileno(), select.EPOLLIN, lambda _: self._answers.take())
        self._loop.add_reader(self._inbox.terminal_fileno(), select.EPOLLIN, lambda _: self._answers.take_terminal())
        self._answers.take()
        self._absence.take(time.monotonic(), time.thread_time())
        self._listeners.slowest.clear()
        bad_turns, failure = 0, None
        while self.exit_code is None:
            # A signal handler of the application's may raise at any line: also while the error before is told.
            try:
                if failure is not None:
                    error, failure = failure, None
                    self._listeners.contain("the loop", error)
                    time.sleep(_BAD_TURN_PAUSE_S)
                self._turn()
                bad_turns = 0
            except BaseException as error:
                if must_pass(error, self.pid):
                    raise
                bad_turns, failure = bad_turns + 1, error
                if bad_turns >= _MOST_BAD_TURNS:
                    raise CoreFailedError(f"{bad_turns} turns of the loop failed in a row: {text_of(error)}") from error
        return self.exit_code

    def command(self, happening: messages.Happening) -> None:
        """Have something decided at the next turn of the loop, which begins at once. From any thread."""
        self._commands.append(happening)
        self._inbox.wake()

    def dump_stacks(self, node_id: int | None) -> list[int]:
        """Ask nodes for their stacks; return the ids of those that were asked."""
        return self.processes.dump_stacks(
            [
                (member.id, member.main.generation)
                for member in self.fleet.members.values()
                if node_id in (None, member.id)
            ]
        )

    def give_up(self, error: BaseException) -> None:
        """End every node in order without the core, which has failed."""

        def tell() -> None:
            what = "the supervisor itself: all nodes are stopped"
            self._listeners.tell(ErrorOccurred(at=time.monotonic(), where=what, error=text_of(error)))

        self.processes.end_all(self._inbox, self._settings.shutdown_timeout, self._settings.shutdown_grace, tell)

    def close_inherited(self) -> None:
        """In a forked process: close what is the supervisor's own."""
        # By number: to touch a thousand handles would copy the memory that they are in. The handles themselves are kept
        # alive by the stack of run(), which this child never returns to, so that none of them closes a number again.
        for fd in self.processes.owned:
            with contextlib.suppress(OSError):  # closed already: then it is not open here either
                os.close(fd)
        self._inbox.close_in_child()
        for close in self.close_in_child:
            close()
        self._loop.close()

    def _turn(self) -> None:
        """Wait, dispatch, decide what is due."""
        for _ in range(len(self._commands)):
            self._decide(self._commands.popleft())
            if self.exit_code is not None:
                return
        now = time.monotonic()
        timer = self._loop.next_timer()
        until = min((moment for moment in (self._due(now), timer) if moment is not None), default=None)
        self._absence.wait(now, time.thread_time())
        ready = self._loop.wait(until)
        woke = time.monotonic()
        self._absence.wake(until, woke, time.thread_time())
        self._loop.dispatch(ready)
        self._loop.run_timers(woke)
        now = time.monotonic()
        due = self._due(now)
        # Reports that came first may have moved every deadline: that it was away is to be told all the same.
        away = self._absence.longest(now, time.thread_time()) > self._tolerated_s
        if away or (due is not None and due <= now):
            self._judge()
        else:
            self._listeners.slowest.clear()
        if self._listeners.wants(Controlled):
            now = time.monotonic()
            self._listeners.tell(Controlled(at=now, next_deadline=self._due(now)))

    def _judge(self) -> None:
        """Decide what is due."""
        # This process may have been stopped at any line since it last looked (epoll_wait too returns without another
        # look after a stop and a continue). So it looks again, and judges by the time before that: whatever a node said
        # before `now` has been heard then.
        now = time.monotonic()
        away_s = self._absence.take(now, time.thread_time())
        # What is left when the tolerated part is taken away was the listener's, if it was a listener's.
        culprit = self._listeners.slowest.take(max(self._tolerated_s, away_s - self._tolerated_s))
        self._loop.dispatch(self._loop.look())
        if away_s > self._tolerated_s:
            rested = self._absence.excuse() >= self._tolerated_s
            self._decide(messages.Slept(away_s, culprit, rested))
        due = self._due(now)
        if due is not None and due <= now:
            self._decide(messages.Tick(), now)

    def _due(self, now: float) -> float | None:
        try:
            return next_deadline(self.fleet, now)
        except BaseException as error:
            raise CoreFailedError(f"no deadline can be had: {text_of(error)}") from error

    def _decide(self, happening: messages.Happening, now: float | None = None) -> None:
        try:
            actions = step(self.fleet, happening, time.monotonic() if now is None else now)
            todo = [(self._actions[type(action)], action) for action in actions]
        except BaseException as error:
            raise CoreFailedError(f"{type(happening).__name__} cannot be decided: {text_of(error)}") from error
        for perform, action in todo:
            try:
                perform(action)
            except BaseException as error:  # noqa: BLE001 - of one action: those that follow are carried out
                node_id = action.node_id if isinstance(action, messages.NodeAction) else None
                self._listeners.contain(type(action).__name__.lower(), error, node_id)

    def _stopping(self) -> bool:
        return self.fleet.mode in _ENDING or any(isinstance(each, messages.StopSwarm) for each in self._commands)

    def _finish(self, action: messages.Finish) -> None:
        self.exit_code = action.exit_code
