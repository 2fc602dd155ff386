"""The session of `top`: it asks the supervisor, reads keys, acts on them, and paints.

One thread, one wait: on the keyboard, the subscription and the next look.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm_cli.errors import CommandError
from swarm_cli.exit_codes import ExitCode
from swarm_cli.local_processes import parent_of, same_pids
from swarm_cli.operation import reason, with_full_stop
from swarm_cli.process_figures import ProcessFigures
from swarm_cli.running_swarms import connected
from swarm_cli.top_state import Order, TopState, Trace, press
from swarm_cli.views.event_lines import Event, level, line, noteworthy
from swarm_cli.views.figures import printable
from swarm_cli.views.terminal import Terminal
from swarm_cli.views.top import picture, reading_page

if TYPE_CHECKING:
    from swarm_supervisor import ControlClient, Snapshot

ANSWER_S = 2.0
"""The picture freezes while the supervisor is asked, for at most this time."""
EVENTS_S = 0.01
LEAVING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
SUSPENDING = {signal.SIGTSTP}
PAINT_INTERVAL_S = 0.05


class TopSession:
    """One `swarm-cli top`."""

    def __init__(self, path: Path, interval_s: float) -> None:
        """Connect. Raises ControlError if no supervisor listens at `path`."""
        self._path = path
        self._interval_s = interval_s
        self._client: ControlClient | None = None
        self._subscription: ControlClient | None = None
        self._figures = ProcessFigures()
        snapshot = self._connect()
        self._measures = same_pids(self._client, snapshot.pid)
        self._state = TopState(snapshot, self._figures.cpu, self._figures.memory)
        self._answered = time.monotonic()
        for node in snapshot.nodes:
            if node.statistics is not None:  # a rate needs two samples, and this avoids waiting for the second report
                self._state.reported(node.id, node.generation, self._answered, node.statistics.messages)
        self._stopped: Event | None = None

    def run(self, terminal: Terminal) -> int:
        """Show the swarm and obey keys until the operator quits or the swarm ends. Returns the exit code."""
        self._look()
        look_at = time.monotonic() + self._interval_s
        painted, dirty = 0.0, True
        while self._stopped is None:
            now = time.monotonic()
            if now >= look_at:
                self._look()
                look_at = max(now, look_at) + self._interval_s
                dirty = True
            if dirty and now - painted >= PAINT_INTERVAL_S:
                self._paint(terminal)
                painted, dirty = now, False
            until = min(look_at, painted + PAINT_INTERVAL_S) if dirty else look_at
            happened = terminal.wait(self._events_fd(), until - time.monotonic())
            if happened.signals:
                if happened.signals & LEAVING:
                    return ExitCode.CLEAN
                if happened.signals & SUSPENDING:
                    terminal.suspend()
                dirty, painted = True, 0.0
            for key in happened.keys:
                dirty, painted = True, 0.0
                self._fit(terminal)
                order = press(self._state, key)
                if order is not None:
                    if order.what == "quit":
                        return ExitCode.CLEAN
                    self._carry_out(order)
            if happened.ready and self._read_events():
                # An event arrived: the snapshot shows its result.
                look_at = min(look_at, time.monotonic() + PAINT_INTERVAL_S)
        return ExitCode.CLEAN

    def _events_fd(self) -> int | None:
        return None if self._subscription is None else self._subscription.fileno()

    def last_words(self) -> str:
        """The last words after the terminal is restored: how the swarm ended, if it did."""
        return "" if self._stopped is None else line(self._stopped)

    def close(self) -> None:
        """Hang up."""
        for client in (self._client, self._subscription):
            if client is not None:
                client.close()
        self._client = self._subscription = None

    def _connect(self) -> Snapshot:
        try:
            self._subscription = connected(self._path, ANSWER_S)
            self._subscription.request("subscribe")
            self._client = connected(self._path, ANSWER_S)
            return self._client.status()
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        from swarm_supervisor import ControlError

        try:
            snapshot = self._client.status() if self._client is not None else self._connect()
        except ControlError as error:
            # A late answer would be mistaken for the answer to the next question, so this connection is not used again.
            if self._subscription is not None:
                self._read_events()
            self.close()
            if self._stopped is None and isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError):
                raise CommandError("the swarm has ended without giving a reason: see its log.") from error
            self._state.silent_s = time.monotonic() - self._answered
            return
        self._answered = self._state.now = time.monotonic()
        self._state.silent_s = 0.0
        self._state.take(snapshot)
        if self._measures:
            self._figures.look(node.pid for node in snapshot.nodes if node.pid is not None)

    def _read_events(self) -> bool:
        """Take in new events. Returns whether another look is due, because of an event or the end."""
        assert self._subscription is not None
        events = list(self._subscription.events(EVENTS_S))
        for event in events:
            self._take(event)
        return not events or any(map(noteworthy, events))

    def _take(self, event: Event) -> None:
        match event["event"]:
            case "NodeReported" if event["statistics"] is not None:
                self._state.reported(
                    event["node_id"], event["generation"], event["at"], event["statistics"]["messages"]
                )
            case "StacksDumped":
                self._state.events.append((f"{line(event).splitlines()[0].rstrip(':')} (t shows them)", level(event)))
                if event["node_id"] == self._state.awaited:
                    self._state.awaited = None
                    self._state.trace = Trace(event["node_id"], printable(event["text"], lines=True))
                return
            case "Stopped":
                self._stopped = event
        if noteworthy(event):
            self._state.events.append((line(event), level(event)))

    def _carry_out(self, order: Order) -> None:
        from swarm_supervisor import ControlError

        try:
            if self._client is None:
                raise ControlError("the supervisor does not answer: nothing was done")
            if order.what == "quiet" and order.node is not None:
                self._state.notice = quiet_node(self._client, order.node)
                return
            arguments: dict[str, Any] = {"node": order.node} if order.node is not None else {}
            if order.nodes is not None:
                arguments["nodes"] = order.nodes
            answer = self._client.request(order.what, reason=reason("top"), **arguments)
            if order.what == "trace" and not answer.get("asked"):
                self._state.awaited = None
                self._state.notice = f"node {order.node} cannot dump its stacks now"
        except ControlError as error:
            self._state.notice = with_full_stop(str(error))

    def _paint(self, terminal: Terminal) -> None:
        self._state.now = time.monotonic()
        width, height = self._fit(terminal)
        terminal.paint(picture(self._state, width, height))

    def _fit(self, terminal: Terminal) -> tuple[int, int]:
        """The current size in columns and lines; stacks are folded to it."""
        width, height = terminal.size()
        self._state.page = reading_page(height)
        if self._state.trace is not None:
            self._state.trace.fold(width)
        return width, height


def quiet_node(client: ControlClient, node: int) -> str:
    """Send one node the signal to take no more work. Returns what was done."""
    from swarm_pidfd import Pidfd

    snapshot = client.status()
    pid = _pid_of(snapshot, node)
    if pid is None:
        return f"node {node} has no process now"
    if not same_pids(client, snapshot.pid):
        return f"node {node} cannot be signalled from here: its pid belongs to another pid namespace, as in a container"
    try:
        with Pidfd(pid) as process:
            if parent_of(pid) != snapshot.pid:
                return (
                    f"node {node} is not signalled: process {pid} is not a child of the supervisor (pid {snapshot.pid})"
                )
            # Looked up again while the process is held, so the signal cannot reach another process that got this pid.
            if _pid_of(client.status(), node) != pid or not process.signal("TSTP"):
                return f"node {node} has ended"
    except OSError as error:
        return f"node {node} (pid {pid}) cannot be signalled: {error.strerror}"
    return f"node {node} is becoming quiet"


def _pid_of(snapshot: Snapshot, node: int) -> int | None:
    return next((one.pid for one in snapshot.nodes if one.id == node), None)
