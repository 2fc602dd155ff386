"""The shell of one run: it waits, translates events for the core, and carries out the core's decisions.

`signal_answers` handles the operator's signals, `dumps` handles requests for stacks, and
`processes` handles processes.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from swarm_supervisor._containment import CoreFailedError, Interrupted, must_pass, text_of
from swarm_supervisor._core import messages
from swarm_supervisor._core.absence import Absence, tolerated_s
from swarm_supervisor._core.decisions import step
from swarm_supervisor._core.fleet import Fleet, Mode, next_deadline
from swarm_supervisor._forking import NodeForker
from swarm_supervisor._listeners import Listeners
from swarm_supervisor._loop import Loop
from swarm_supervisor._node import Node
from swarm_supervisor._processes import Processes
from swarm_supervisor._signal_answers import SignalAnswers
from swarm_supervisor._warmup import warm_up
from swarm_supervisor.events import Controlled, ErrorOccurred
from swarm_supervisor.settings import Settings
from swarm_supervisor.signals import SignalInbox

_ENDING = (Mode.STOPPING, Mode.STOPPED)
_MOST_BAD_TURNS = 100
"""This many failed turns in a row are not a coincidence, and without a loop there is no supervision."""
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
        """Other things of the supervisor to close in a node."""
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
            messages.Conclude: lambda action: self._decide(messages.Concluded(action.node_id, action.generation)),
            messages.Finish: self._finish,
            **self.processes.actions,
        }

    def run(self) -> int:
        """Warm up, fork and supervise. Returns the exit code."""
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
            # An application's signal handler may raise at any line, even while the previous error is being reported.
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
        """Queue a happening for the next turn of the loop, which starts at once. Callable from any thread."""
        self._commands.append(happening)
        self._inbox.wake()

    def excuse(self, node_id: int, generation: int, reason: str) -> bool:
        """Decide at once that an end is explained. Return False if it is too late for that, or no such end."""
        before = self.fleet.explained
        self._decide(messages.Excuse(node_id, generation, reason))
        return self.fleet.explained > before

    def dump_stacks(self, node_id: int | None) -> list[int]:
        """Ask nodes for their stacks. Returns the ids of the nodes asked."""
        return self.processes.dump_stacks(
            [
                (member.id, member.main.generation)
                for member in self.fleet.members.values()
                if node_id in (None, member.id)
            ]
        )

    def give_up(self, error: BaseException) -> None:
        """End every node gracefully without the core, which has failed."""

        def tell() -> None:
            what = "a bug in the supervisor: all nodes are stopped"
            self._listeners.tell(ErrorOccurred(at=time.monotonic(), where=what, error=text_of(error)))

        self.processes.end_all(self._inbox, self._settings.shutdown_timeout, self._settings.shutdown_grace, tell)

    def close_inherited(self) -> None:
        """In a forked process: close everything that belongs to the supervisor."""
        # By number, because touching a thousand handles would copy their memory. The handles themselves are kept
        # alive by the stack of run(), to which this child never returns, so that none of them closes a number again.
        for fd in self.processes.owned:
            with contextlib.suppress(OSError):  # already closed, so it is not open here either
                os.close(fd)
        self._inbox.close_in_child()
        for close in self.close_in_child:
            close()
        self._loop.close()

    def _turn(self) -> None:
        """Wait, dispatch, and decide what is due."""
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
        # Earlier reports may have moved every deadline, but the absence must be reported anyway.
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
        # This process may have been stopped at any line since its last check (epoll_wait too returns without another
        # check after a stop and a continue). So it checks again and uses the time before that: everything that a node
        # reported before `now` has been read then.
        now = time.monotonic()
        away_s = self._absence.take(now, time.thread_time())
        # The time beyond the tolerated part is blamed on the listener, if there was one.
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
            raise CoreFailedError(f"the next deadline is unknown: {text_of(error)}") from error

    def _decide(self, happening: messages.Happening, now: float | None = None) -> None:
        try:
            actions = step(self.fleet, happening, time.monotonic() if now is None else now)
            todo = [(self._actions[type(action)], action) for action in actions]
        except BaseException as error:
            raise CoreFailedError(f"{type(happening).__name__} could not be handled: {text_of(error)}") from error
        for perform, action in todo:
            try:
                perform(action)
            except BaseException as error:  # noqa: BLE001  one action failed; the following ones are still carried out
                node_id = action.node_id if isinstance(action, messages.NodeAction) else None
                self._listeners.contain(type(action).__name__.lower(), error, node_id)

    def _stopping(self) -> bool:
        return self.fleet.mode in _ENDING or any(isinstance(each, messages.StopSwarm) for each in self._commands)

    def _finish(self, action: messages.Finish) -> None:
        self.exit_code = action.exit_code
