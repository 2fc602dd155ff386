"""The supervisor as its user sees it."""

import contextlib
import gc
import logging
import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from swarm_supervisor import messages, prctl
from swarm_supervisor.child_task import ChildTask, Done
from swarm_supervisor.control import CommandError, ControlServer, Request
from swarm_supervisor.cpus import available_cpus
from swarm_supervisor.events import Event
from swarm_supervisor.listeners import Listener, Listeners
from swarm_supervisor.loop import Loop, Timer
from swarm_supervisor.node import Node
from swarm_supervisor.runner import Runner, error_event, thaw_memory
from swarm_supervisor.settings import Settings, SettingsError
from swarm_supervisor.signals import SignalInbox
from swarm_supervisor.snapshot import Snapshot, take_snapshot

logger = logging.getLogger("swarm_supervisor")

F = TypeVar("F", bound=Callable[[Any], None])

FDS_A_NODE = 6
"""Descriptors that the supervisor needs for a node: pidfd, health pipe, orders, stacks, and as much again for a moment
while one of them is forked; with its spare twice that, but not for all nodes at once."""
_FDS_OF_OUR_OWN = 64


class SettingsKeywords(TypedDict, total=False):
    """The keywords of `Supervisor`: the fields of `Settings`, which explains them."""

    nodes: int | Literal["auto"]
    name: str
    liveness_interval: float
    statistics_interval: float
    node_report_timeout: float
    boot_timeout: float
    stack_dump_timeout: float
    shutdown_timeout: float
    shutdown_grace: float
    node_restart_delay: float
    restart_delay_max: float
    stable_after: float
    max_restarts: int
    restart_window: float
    restart: Literal["always", "on-failure", "never"]
    on_crash_loop: Literal["degrade", "exit"]
    max_unavailable: int
    target_waits_for_go: bool
    threads: Literal["warn", "refuse", "ignore"]
    subreaper: bool
    control_socket: Path | str | None


class Supervisor:
    """Loads once, forks N nodes, watches them, restarts what misbehaves and stops everything in order.

    ::

        def work(node):
            while not node.stopping.is_set():
                node.healthy()
                ...

        sys.exit(Supervisor(work, nodes=4).run())
    """

    def __init__(self, target: Callable[[Node], int | None], **settings: Unpack[SettingsKeywords]) -> None:
        """Check the settings; nothing is started. `SettingsError` says in one sentence what is wrong with them.

        ``target`` runs in each node, and what it returns becomes the node's exit code. The settings are the fields of
        `Settings`.
        """
        if not callable(target):
            raise SettingsError(f"the target must be something to call, not {target!r}")
        self.settings = Settings.of(settings)
        self._target = target
        self._listeners = Listeners()
        self._loop: Loop | None = None
        self._runner: Runner | None = None
        self._readers: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._held = ""
        self._children: list[ChildTask] = []
        self._close_in_child: list[Callable[[], None]] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell a listener every event, in the supervisor. Returns a function that ends it.

        A listener must not block: nothing is supervised while it runs. One that raises is reported as `ErrorOccurred`.
        """
        return self._listeners.subscribe(listener)

    def on(self, kind: type[Event]) -> Callable[[F], F]:
        """Tell the decorated function about one kind of event: ``@supervisor.on(NodeExited)``.

        `NodeStarted` happens in the node, all others in the supervisor. TypeError if ``kind`` is no kind of event.
        """
        return self._listeners.on(kind)

    def run(self) -> int:
        """Fork the nodes and supervise them until the end; return the exit code.

        0 clean, 1 a node that was not to be restarted has failed, 4 forced, 5 crash loop. Whatever run() changed
        (signal handlers, mask, descriptor limit, frozen memory) is as before when it returns.

        RuntimeError: not in the main thread, or running already. `SettingsError`: these nodes do not fit.
        `ForkRefusedError`: a thread is there that must not be.
        """
        # PR_SET_PDEATHSIG fires when the forking thread ends, be it long before its process (prctl(2)).
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("run() must be called in the main thread: nodes die with the thread that forked them")
        if self._runner is not None:
            raise RuntimeError("this supervisor is running already")
        nodes = available_cpus() if self.settings.nodes == "auto" else self.settings.nodes
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        _raise_descriptor_limit(limits, nodes)
        frozen_before = gc.get_freeze_count()
        was_subreaper = prctl.is_child_subreaper()
        inbox = SignalInbox()
        inbox.open(children=self.settings.subreaper or os.getpid() == 1)
        self._loop = Loop()
        try:
            return self._run(nodes, inbox)
        finally:
            self._loop.close()
            self._loop = self._runner = None
            inbox.close()
            thaw_memory(frozen_before)
            if prctl.is_child_subreaper() != was_subreaper:
                prctl.set_child_subreaper(was_subreaper)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    def stop(self, reason: str = "stop() was called", exit_code: int = 0) -> None:
        """Stop all nodes in order; run() then returns. To be called in a listener or a callback of the loop.

        ``exit_code``: what it returns if nothing worse comes.
        """
        self._running().command(messages.StopSwarm(reason, exit_code))

    def hold(self, reason: str) -> None:
        """Fork no node until `release`: something is awaited first, as ``reason`` says in the snapshot.

        Before run(), or in a listener or a callback while there is no node; a second call gives another reason. The
        loop turns meanwhile: signals, the control socket and all readers are answered.
        """
        self._held = reason
        if self._runner is not None:
            self._runner.command(messages.Hold(reason))

    def release(self) -> None:
        """Fork the nodes that `hold` kept back."""
        self._held = ""
        if self._runner is not None:
            self._runner.command(messages.Release())

    def in_child(self, function: Callable[[], bytes], timeout_s: float, done: Done) -> None:
        """Run a function in a short-lived forked child; ``done`` is called, from the loop, with what it returns.

        Or with a `ChildFailed` if it raises, ends its process, or takes longer than ``timeout_s``. Only while running:
        RuntimeError before. For what must not be done in this process, such as to make a Kafka client.
        """
        runner = self._running()
        assert self._loop is not None
        self._children = [child for child in self._children if not child.over]
        self._children.append(
            ChildTask(
                function,
                timeout_s,
                lambda result: self._guarded("child", lambda: done(result)),
                loop=self._loop,
                close_inherited=runner.close_inherited,
            )
        )

    def close_in_children(self, close: Callable[[], None]) -> None:
        """Call back first thing in each forked process: to close descriptors that are the supervisor's own."""
        self._close_in_child.append(close)

    def quiet(self, reason: str = "quiet() was called") -> None:
        """Have all nodes finish what they have and take no more."""
        self._running().command(messages.QuietSwarm(reason))

    def restart(self, node_id: int | None = None, reason: str = "restart() was called") -> None:
        """Replace the process of one node, or of all, max_unavailable at a time. ValueError: there is no such node.

        New processes are forked from the loaded supervisor: they run the same code as the old ones.
        """
        runner = self._running()
        _check_node(runner, node_id)
        runner.command(messages.Restart(reason, node_id))

    def scale(self, nodes: int) -> None:
        """Run so many nodes from now on. The highest ids go first. `SettingsError` if that cannot be."""
        runner = self._running()
        if isinstance(nodes, bool) or not isinstance(nodes, int) or nodes < 1:
            raise SettingsError(f"the number of nodes must be a whole number of at least 1, not {nodes!r}")
        _check_descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[0], nodes)
        runner.command(messages.Scale(nodes))

    def trace(self, node_id: int | None = None) -> list[int]:
        """Ask one node, or all, for the stacks of every thread; they come as `StacksDumped` events.

        Returns the ids of the nodes that were asked: a stopped one cannot answer. ValueError: there is no such node.
        """
        runner = self._running()
        _check_node(runner, node_id)
        return runner.dump_stacks(node_id)

    def snapshot(self) -> Snapshot:
        """Return the state of everything at this moment. RuntimeError before and after run()."""
        runner = self._running()
        return take_snapshot(runner.fleet, time.monotonic(), pid=runner.pid, listener_errors=self._listeners.errors)

    def add_reader(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Have the loop call back with the ready events (select.EPOLLIN, ...) of a descriptor. It must not block.

        An exception in the callback is reported as `ErrorOccurred`. The descriptor is closed in nodes. ValueError if it
        has a reader already.
        """
        if fd in self._readers:
            raise ValueError(f"file descriptor {fd} has a reader already: remove that one first")
        self._readers[fd] = (events, callback)
        if self._loop is not None:
            self._loop.add_reader(fd, events, self._guarded_reader(callback))

    def modify_reader(self, fd: int, events: int) -> None:
        """Wait for other events of a descriptor. KeyError if it has no reader."""
        self._readers[fd] = (events, self._readers[fd][1])
        if self._loop is not None:
            self._loop.modify_reader(fd, events)

    def remove_reader(self, fd: int) -> bool:
        """Call back no more; to be done before the descriptor is closed. False if it has no reader."""
        if self._readers.pop(fd, None) is None:
            return False
        return self._loop is None or self._loop.remove_reader(fd)

    def call_at(self, deadline: float, callback: Callable[[], None]) -> Timer:
        """Have the loop call back once, at a moment of time.monotonic(). Only while running: RuntimeError before."""
        if self._loop is None:
            raise RuntimeError("timers belong to a run: call call_at() in a listener or a callback")
        return self._loop.call_at(deadline, lambda: self._guarded("timer", callback))

    def _run(self, nodes: int, inbox: SignalInbox) -> int:
        assert self._loop is not None
        for fd, (events, callback) in self._readers.items():
            self._loop.add_reader(fd, events, self._guarded_reader(callback))
        if self.settings.subreaper:
            prctl.set_child_subreaper(True)
        control, end_publishing = self._open_control()
        runner = self._runner = Runner(self._target, self.settings, nodes, self._listeners, self._loop, inbox)
        runner.close_in_child = [*([control.close_in_child] if control is not None else []), *self._close_in_child]
        if self._held:
            runner.command(messages.Hold(self._held))
        try:
            return runner.run()
        except BaseException as error:
            if os.getpid() == runner.pid:
                runner.emit(error_event("the supervisor itself: all nodes are killed", error))
                runner.kill_all()
            raise
        finally:
            for child in self._children:
                child.close()
            self._children.clear()
            if control is not None:
                end_publishing()
                control.close()

    def _open_control(self) -> tuple[ControlServer | None, Callable[[], None]]:
        if self.settings.control_socket is None:
            return None, lambda: None
        assert self._loop is not None
        control = ControlServer(self.settings.control_socket, self._loop, self._answer)
        return control, self._listeners.subscribe_for(control.publish, lambda: control.subscribed)

    def _answer(self, request: Request) -> dict[str, Any]:
        match request.command:
            case "status":
                return {"snapshot": self.snapshot()}
            case "quiet":
                self.quiet(request.reason)
            case "stop":
                self.stop(request.reason)
            case "restart":
                self.restart(request.node, request.reason)
            case "scale":
                if request.nodes is None:
                    raise CommandError('scale needs "nodes", the number of nodes to run')
                self.scale(request.nodes)
            case "trace":
                return {"asked": self.trace(request.node)}
            case _:
                raise CommandError(
                    f"there is no command {request.command!r}: there are status, quiet, stop, restart, scale, trace "
                    "and subscribe"
                )
        return {}

    def _running(self) -> Runner:
        if self._runner is None:
            raise RuntimeError("this supervisor is not running")
        return self._runner

    def _guarded_reader(self, callback: Callable[[int], None]) -> Callable[[int], None]:
        return lambda events: self._guarded("reader", lambda: callback(events))

    def _guarded(self, what: str, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - a callback hurts nobody
            logger.debug("a callback raised", exc_info=True)
            self._listeners.tell(error_event(what, error))


def _raise_descriptor_limit(limits: tuple[int, int], nodes: int) -> None:
    hard = limits[1]
    _check_descriptors(hard, nodes)
    with contextlib.suppress(OSError, ValueError):  # "unlimited" is more than the kernel grants (fs.nr_open)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _check_descriptors(limit: int, nodes: int) -> None:
    needed = nodes * FDS_A_NODE + _FDS_OF_OUR_OWN
    if limit != resource.RLIM_INFINITY and needed > limit:
        raise SettingsError(
            f"{nodes} nodes need about {needed} file descriptors and the limit is {limit}: raise it (ulimit -Hn) or "
            f"run at most {max(1, (limit - _FDS_OF_OUR_OWN) // FDS_A_NODE)} nodes"
        )


def _check_node(runner: Runner, node_id: int | None) -> None:
    if node_id is not None and node_id not in runner.fleet.members:
        raise ValueError(f"there is no node {node_id!r}: there are {_ids(list(runner.fleet.members))}")


def _ids(ids: list[int]) -> str:
    ids.sort()
    return f"{ids[0]} to {ids[-1]}" if ids and ids[-1] - ids[0] == len(ids) - 1 else ", ".join(map(str, ids))
