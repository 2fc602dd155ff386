"""The supervisor's reaction to each signal."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from swarm_supervisor._core import messages
from swarm_supervisor._foreign_handlers import name_of_signal
from swarm_supervisor._listeners import Listeners
from swarm_supervisor.events import SignalReceived
from swarm_supervisor.signals import FORCING, HANDLED, STOPPING, SignalInbox


class SignalAnswers:
    """Takes signals from the inbox, gives commands, and reports both."""

    def __init__(
        self,
        inbox: SignalInbox,
        listeners: Listeners,
        *,
        command: Callable[[messages.Happening], None],
        stopping: Callable[[], bool],
        children_ended: Callable[[], None],
        dump_stacks: Callable[[], list[int]],
        pid: int,
    ) -> None:
        """``command`` takes a happening; ``stopping`` returns whether the swarm is already stopping."""
        self._inbox = inbox
        self._listeners = listeners
        self._command = command
        self._stopping = stopping
        self._children_ended = children_ended
        self._dump_stacks = dump_stacks
        self._pid = pid
        self._again: list[int] = []
        self._asked = False
        """Whether an INT or TERM has arrived, so that the next one forces. A stop of another kind does not count."""

    def take(self) -> None:
        """Handle the signals that have arrived. If that fails for one, it is retried in the next turn."""
        again, self._again = self._again, []
        for number, first in [*((each, False) for each in again), *((each, True) for each in self._inbox.take())]:
            try:
                self._take(number)
            except BaseException as error:  # noqa: BLE001  one signal failed; the following ones are still handled
                if first:
                    self._again.append(number)
                    self._inbox.wake()
                self._listeners.contain(f"signal {number}", error)
        for number, raised in self._inbox.foreign.take():
            self._listeners.contain(f"the application's handler of {name_of_signal(number)}", raised)

    def take_terminal(self) -> None:
        """Handle each TSTP that has arrived; a Ctrl-Z is refused."""
        for typed in self._inbox.take_terminal():
            action = "quieting"
            if typed:
                action = f'ignored: typed at the terminal; "kill -TSTP {self._pid}" quiets the swarm'
            else:
                self._command(messages.QuietSwarm("SIGTSTP"))
            self._tell(signal.SIGTSTP, action)

    def _take(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._children_ended()
        elif number in HANDLED:
            self._tell(signal.Signals(number), self._answer(signal.Signals(number)))
        # Any other number is the application's signal: the wakeup descriptor receives all of them, and
        # real-time signals have no name.

    def _tell(self, number: signal.Signals, action: str) -> None:
        self._listeners.tell(SignalReceived(at=time.monotonic(), signal=number, name=number.name, action=action))

    def _answer(self, number: signal.Signals) -> str:
        name = number.name
        if number in STOPPING:
            self._inbox.stop_answered = True
            if number in FORCING and self._asked:
                self._command(messages.ForceStop(f"second {name}"))
                return "killing all nodes"
            action = "stopping already" if self._stopping() else "stopping"
            if action == "stopping":
                self._command(messages.StopSwarm(name))
            self._asked = self._asked or number in FORCING
            return action
        if number == signal.SIGTSTP:
            self._command(messages.QuietSwarm(name))
            return "quieting"
        if number == signal.SIGUSR2:
            self._command(messages.Restart(name))
            return "rolling restart"
        asked = self._dump_stacks()
        return f"asking {len(asked)} node(s) for their stacks"
