"""The public face of the supervisor."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, Unpack

from swarm_supervisor._child_task import ChildTask, Done
from swarm_supervisor._containment import name_of, told
from swarm_supervisor._control import ControlServer
from swarm_supervisor._control_commands import ControlCommands
from swarm_supervisor._core import messages
from swarm_supervisor._core.view import take_snapshot
from swarm_supervisor._host import borrow_process, check_descriptors, open_descriptors
from swarm_supervisor._listeners import Listener, Listeners
from swarm_supervisor._loop import Loop, Timer
from swarm_supervisor._node import Node
from swarm_supervisor._runner import Runner
from swarm_supervisor._snapshot import Snapshot
from swarm_supervisor._streams import detach, identity
from swarm_supervisor._targets import check_target
from swarm_supervisor.cpus import available_cpus
from swarm_supervisor.events import Event
from swarm_supervisor.settings import Settings, SettingsError, SettingsKeywords, check_most_nodes
from swarm_supervisor.signals import SignalInbox

F = TypeVar("F", bound=Callable[[Any], None])


class Supervisor:
    """Loads once, forks N nodes, watches them, restarts failed ones and stops everything gracefully.

    ::

        def work(node):
            while not node.stopping.is_set():
                node.healthy()
                ...

        sys.exit(Supervisor(work, nodes=4).run())
    """

    def __init__(self, target: Callable[[Node], int | None], **settings: Unpack[SettingsKeywords]) -> None:
        """Check the settings; nothing is started. `SettingsError` explains a wrong setting in one sentence.

        ``target`` runs in each node, and its return value becomes the node's exit code. The settings are the fields of
        `Settings`.
        """
        check_target(target)
        self.settings = Settings.of(settings)
        self._target = target
        self._listeners = Listeners()
        self._loop: Loop | None = None
        self._runner: Runner | None = None
        self._readers: dict[int, tuple[int, Callable[[int], None], tuple[int, int] | None]] = {}
        self._held = ""
        self.stop_was_requested = False
        """Whether a client of the control socket has asked for the end, be it of a swarm that was stopping already."""
        self._children: list[ChildTask] = []
        self._close_in_child: list[Callable[[], None]] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Send a listener every event, in the supervisor. Returns a function that ends it.

        A listener must not block, because supervision stops while it runs. An exception is reported as `ErrorOccurred`.
        """
        return self._listeners.subscribe(listener)

    def on(self, kind: type[Event]) -> Callable[[F], F]:
        """Call the decorated function for one kind of event: ``@supervisor.on(NodeExited)``.

        `NodeStarted` happens in the node, all others in the supervisor. TypeError if ``kind`` is not a kind of event.
        """
        return self._listeners.on(kind)

    def run(self) -> int:
        """Fork the nodes and supervise them until the end; return the exit code.

        0 clean, 1 a node failed and was not restarted, 4 forced, 5 crash loop. Everything that run() changed
        (signal handlers, mask, descriptor limit, frozen memory) is restored when it returns.

        RuntimeError: not in the main thread, or running already. `SettingsError`: these nodes do not fit.
        `ForkRefusedError`: there is a thread that must not exist at a fork.
        """
        # PR_SET_PDEATHSIG fires when the forking thread ends, even long before its process (prctl(2)).
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("run() must be called in the main thread: nodes end with the thread that forked them")
        if self._runner is not None:
            raise RuntimeError("this supervisor is already running")
        nodes = available_cpus() if self.settings.nodes == "auto" else self.settings.nodes
        inbox = SignalInbox()
        with contextlib.ExitStack() as undo:
            give_back_limits = borrow_process(undo, self.settings, nodes, inbox)
            self._listeners.pid = os.getpid()
            self._loop = Loop(self._listeners.contain)
            undo.callback(self._close_loop)
            return self._run(nodes, inbox, give_back_limits)

    def stop(self, reason: str = "stop() was called", exit_code: int = 0) -> None:
        """Stop all nodes gracefully; run() then returns. Callable in any thread and in listeners.

        ``exit_code``: the return value of run(), unless something worse happens.
        """
        self._running(any_thread=True).command(messages.StopSwarm(told(reason), exit_code))

    def hold(self, reason: str) -> None:
        """Fork no node until `release`. The snapshot shows ``reason``.

        Call this before run(), or in a listener or callback while there is no node; a second call changes the reason.
        The loop keeps running: it answers signals, the control socket and all readers.
        """
        self._held = reason = told(reason)
        if self._runner is not None:
            self._running(any_thread=True).command(messages.Hold(reason))

    def release(self) -> None:
        """Fork the nodes that `hold` held back."""
        self._held = ""
        if self._runner is not None:
            self._running(any_thread=True).command(messages.Release())

    def in_child(self, function: Callable[[], bytes], timeout_s: float, done: Done) -> None:
        """Run a function in a short-lived forked child; the loop calls ``done`` with its result.

        The result is a `ChildFailed` if it raises, ends its process, or takes longer than ``timeout_s``. Only while
        running: RuntimeError otherwise. Use it for anything that must not happen in this process, such as creating a
        Kafka client.
        """
        runner = self._running()
        assert self._loop is not None
        self._children = [child for child in self._children if not child.over]
        self._children.append(
            ChildTask(
                function,
                timeout_s,
                done,
                loop=self._loop,
                close_inherited=runner.close_inherited,
            )
        )

    def close_in_children(self, close: Callable[[], None]) -> None:
        """Add a function that is called first in each forked process, to close descriptors of the supervisor."""
        self._close_in_child.append(close)

    def quiet(self, reason: str = "quiet() was called") -> None:
        """Let all nodes finish their work and take no more."""
        self._running(any_thread=True).command(messages.QuietSwarm(told(reason)))

    def restart(self, node_id: int | None = None, reason: str = "restart() was called") -> None:
        """Replace the process of one node, or of all, max_unavailable at a time. ValueError: there is no such node.

        New processes are forked from the loaded supervisor: they run the same code as the old ones.
        """
        runner = self._running(any_thread=True)
        _check_node(runner, node_id)
        if node_id is not None and node_id >= runner.fleet.wanted:
            raise ValueError(f"node {node_id} is being scaled away: it gets no new process (scale up to keep it)")
        runner.command(messages.Restart(told(reason), node_id))

    def scale(self, nodes: int) -> None:
        """Change the number of nodes. A lower number removes the highest ids. `SettingsError` for a wrong number."""
        runner = self._running(any_thread=True)
        if isinstance(nodes, bool) or not isinstance(nodes, int) or nodes < 1:
            raise SettingsError(f"the number of nodes must be a whole number of at least 1, not {nodes!r}")
        check_most_nodes(nodes)
        in_use = open_descriptors() - len(runner.processes.owned)
        check_descriptors(nodes, in_use, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        runner.command(messages.Scale(nodes))

    def excuse(self, node_id: int, generation: int, reason: str) -> bool:
        """Explain the end of a process, in a listener of its `NodeExited`: by what it worked on, not by the program.

        An unplanned end that is explained is no crash: it counts for no crash loop, and the next process starts after
        first_restart_delay (in a crash loop, as late as before). ``reason`` is shown beside that of the end. To explain
        each end of a node that never works hides a crash loop, so require evidence: other work was done since the last
        one. False, and without effect, if there is no such end, or if what follows it was decided already.
        """
        return self._running().excuse(node_id, generation, told(reason))

    def trace(self, node_id: int | None = None) -> list[int]:
        """Ask one node, or all, for the stacks of every thread; they arrive as `StacksDumped` events.

        Returns the ids of the nodes asked: a stopped one cannot answer. ValueError: there is no such node.
        """
        runner = self._running()
        _check_node(runner, node_id)
        return runner.dump_stacks(node_id)

    def snapshot(self) -> Snapshot:
        """Return the current snapshot. RuntimeError before and after run()."""
        runner = self._running()
        return take_snapshot(runner.fleet, time.monotonic(), pid=runner.pid, listener_errors=self._listeners.errors)

    def add_reader(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Have the loop call a function with the ready events (select.EPOLLIN, ...) of a descriptor. It must not block.

        An exception in the callback is reported as `ErrorOccurred`; a callback that keeps raising is called after
        pauses of up to a second. In nodes the descriptor is replaced by /dev/null, including those inside it if it is
        an epoll. ValueError if it already has a reader; OSError if epoll refuses it (a regular file).
        """
        what = identity(fd)
        if fd in self._readers and self._readers[fd][2] == what:
            raise ValueError(f"file descriptor {fd} already has a reader: remove it first")
        if self._loop is not None:
            self._running()
            self._loop.add_reader(fd, events, self._timed_reader(callback))
        self._readers[fd] = (events, callback, what)

    def modify_reader(self, fd: int, events: int) -> None:
        """Wait for other events of a descriptor. KeyError if it has no reader."""
        _, callback, what = self._readers[fd]
        if self._loop is not None:
            self._running()
            self._loop.modify_reader(fd, events)
        self._readers[fd] = (events, callback, what)

    def remove_reader(self, fd: int) -> bool:
        """Remove the reader; do this before the descriptor is closed. False if it has no reader."""
        if self._readers.pop(fd, None) is None:
            return False
        return self._loop is None or self._loop.remove_reader(fd)

    def call_at(self, deadline: float, callback: Callable[[], None]) -> Timer:
        """Have the loop call a function once, at a time of time.monotonic(). RuntimeError if it is not running."""
        if self._loop is None:
            raise RuntimeError("timers belong to a run: call call_at() in a listener or a callback")
        self._running()
        return self._loop.call_at(
            deadline, lambda: self._listeners.timed(lambda: f"timer {name_of(callback)}", callback)
        )

    def _timed_reader(self, callback: Callable[[int], None]) -> Callable[[int], None]:
        return lambda events: self._listeners.timed(lambda: f"reader {name_of(callback)}", callback, events)

    def _run(self, nodes: int, inbox: SignalInbox, give_back_limits: Callable[[], None]) -> int:
        assert self._loop is not None
        for fd, (events, callback, _) in self._readers.items():
            self._loop.add_reader(fd, events, self._timed_reader(callback))
        control, end_publishing = self._open_control()
        runner = self._runner = Runner(self._target, self.settings, nodes, self._listeners, self._loop, inbox)
        runner.close_in_child = [give_back_limits, self._close_readers, *self._close_in_child]
        if control is not None:
            runner.close_in_child.append(control.close_in_child)
        runner.processes.helpers = lambda: {child.pid for child in self._children if not child.over}
        if self._held:
            runner.command(messages.Hold(self._held))
        try:
            return runner.run()
        except BaseException as error:
            if os.getpid() == runner.pid:
                runner.give_up(error)
            raise
        finally:
            if os.getpid() == runner.pid:
                self._end_run(runner, control, end_publishing)
            elif control is not None:  # a process forked by a listener does not own the socket
                control.close_in_child()

    def _end_run(self, runner: Runner, control: ControlServer | None, end_publishing: Callable[[], None]) -> None:
        with contextlib.ExitStack() as each:  # run all of them, even if one raises
            if control is not None:
                each.callback(control.close)
            each.callback(end_publishing)
            for child in self._children:
                each.callback(child.close)
            each.callback(runner.processes.leave)
            self._children = []

    def _close_loop(self) -> None:
        self._listeners.called_out = lambda: None
        if self._loop is not None:
            self._loop.close()
        self._loop = self._runner = None

    def _close_readers(self) -> None:
        """In a forked process: keep none of the loop's descriptors open."""
        detach([fd for fd, (*_, what) in self._readers.items() if fd > 2 and what == identity(fd)])

    def _open_control(self) -> tuple[ControlServer | None, Callable[[], None]]:
        if self.settings.control_socket is None:
            return None, lambda: None
        assert self._loop is not None
        control = ControlServer(self.settings.control_socket, self._loop, self._control_commands().answer)
        return control, self._listeners.subscribe_for(control.publish, lambda: control.subscribed)

    def _control_commands(self) -> ControlCommands:
        return ControlCommands(
            snapshot=self.snapshot,
            quiet=self.quiet,
            stop=self._stop_on_request,
            restart=self.restart,
            scale=self.scale,
            trace=self.trace,
        )

    def _stop_on_request(self, reason: str) -> None:
        self.stop_was_requested = True
        self.stop(reason)

    def _running(self, *, any_thread: bool = False) -> Runner:
        runner = self._runner
        if runner is None:
            raise RuntimeError("this supervisor is not running")
        if os.getpid() != runner.pid:
            raise RuntimeError(
                f"process {os.getpid()} is a node, or another child of the supervisor: control the supervisor in its "
                f"own process ({runner.pid}), or through its control socket"
            )
        if not any_thread and threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "call this in the loop's thread, in a listener or a callback; stop(), quiet(), "
                "restart() and scale() may be called in any thread"
            )
        return runner


def _check_node(runner: Runner, node_id: int | None) -> None:
    if node_id is not None and node_id not in runner.fleet.members:
        raise ValueError(f"there is no node {node_id!r}; the nodes are {_ids(list(runner.fleet.members))}")


def _ids(ids: list[int]) -> str:
    ids.sort()
    return f"{ids[0]} to {ids[-1]}" if ids and ids[-1] - ids[0] == len(ids) - 1 else ", ".join(map(str, ids))
