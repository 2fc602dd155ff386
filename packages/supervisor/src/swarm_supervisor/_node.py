"""The child's side of a node: what a target sees of its supervisor, and what runs before and after the target.

The parent's view of the same process is `node_handle.NodeHandle`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from swarm_health import NodeStatistics, Writer
from swarm_supervisor import _offspring as offspring
from swarm_supervisor._containment import ListenerFailedError, text_of, told
from swarm_supervisor._core.prospect import Prospect
from swarm_supervisor._flags import Flag, GoFlag
from swarm_supervisor._orders import LEAVE, REMOVE, RETURN, orders_sent
from swarm_supervisor._prctl import cut_name, set_thread_name
from swarm_supervisor.events import NodeStarted
from swarm_supervisor.fork import ORPHANED
from swarm_supervisor.settings import DO_NOT_RESTART

logger = logging.getLogger("swarm_supervisor.node")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
QUIET_SIGNAL = signal.SIGTSTP
DUMP_SIGNAL = signal.SIGTTIN
MAIN_STACK_SIGNAL = signal.SIGURG
"""The thread that receives it dumps its stack; the supervisor sends it to the main thread. Without a handler it is
ignored (signal(7)), so an early one, or one from a socket, does no harm."""


class Node:
    """A node as its target sees it."""

    def __init__(
        self,
        node_id: int,
        generation: int,
        supervisor_pid: int,
        writer: Writer,
        orders_fd: int,
        *,
        name: str,
        prospect: Prospect,
    ) -> None:
        """Created by the supervisor, in the child."""
        self.id = node_id
        """0 to nodes - 1; the same in every generation of this node."""
        self.generation = generation
        """1 for the first process of this id, then 2, ..."""
        self.name = name
        """The swarm's name."""
        self.supervisor_pid = supervisor_pid
        self.stopping = Flag()
        """Set when this node must finish its work and return."""
        self.quieting = Flag()
        """Set when this node must take no more work, but stay."""
        self.go: Flag = GoFlag(orders_fd)
        """Set when the work may begin: at once, except in the spare of a planned replacement, where it waits until the
        old node has gone."""
        self._orders_fd = orders_fd
        self._writer = writer
        self._pid = os.getpid()
        self._prospect = prospect
        self._healthy_at: float | None = None
        self._recycles = False

    @property
    def leaving(self) -> bool:
        """Whether this process, if it ends now with exit code 0, has to give back what is bound to this node's id.

        Ask when the work ends. True means that no process takes over within about a second: leave groups, release
        locks. It is True if the whole swarm stops, if the node is scaled away, if nothing follows under the restart
        mode, and if the delay of the restart is longer. It is False in a rolling restart and any other replacement by
        a spare, and if the delay is short. A process that was forked by the node may ask too.
        """
        return self.leaving_with(0)

    def leaving_with(self, code: int) -> bool:
        """As `leaving`, for a process that ends with an exit code. True for `DO_NOT_RESTART`."""
        sent = orders_sent(self._orders_fd)
        if LEAVE in sent or code == DO_NOT_RESTART:
            return True
        if RETURN in sent:
            return False
        healthy_s = None if self._healthy_at is None else time.monotonic() - self._healthy_at
        signalled = self.stopping.is_set()
        return self._prospect.ends_for_good(code, healthy_s, signalled=signalled, recycles=self._recycles)

    @property
    def removed(self) -> bool:
        """Whether this node is scaled away, so that its id is not used any more. `leaving` is True then, too."""
        return REMOVE in orders_sent(self._orders_fd)

    def healthy(self) -> bool:
        """Report that this node is healthy. Call it at least every liveness_interval from the working thread.

        Never blocks; False if the report was dropped. Ends this process, with exit code 3, if the supervisor is gone.
        RuntimeError in a process forked by this node, as for every report: it could hide that the node hangs.
        """
        told = self._reported(self._writer.healthy)
        if self._healthy_at is None:
            self._healthy_at = time.monotonic()
        return told

    def unhealthy(self, code: int, reason: str) -> bool:
        """Report a problem: the supervisor stops this node. ``code`` is a `swarm_health.Status` or your own code.

        Never blocks; False if the report was dropped. ValueError if the code is not a positive int.
        """
        return self._reported(lambda: self._writer.unhealthy(code, reason))

    def recycle(self, reason: str) -> bool:
        """Ask for a fresh process. This one keeps working until it is told to stop: no crash, no delay.

        It is replaced in turn, by a spare that is ready. A target may also return 0 after it. Never blocks; False
        if it was dropped.
        """
        self._recycles = True
        return self._reported(lambda: self._writer.recycle(reason))

    def ending(self, reason: str) -> bool:
        """Give the reason for the coming end of this process, shown in log, events and snapshot.

        Never blocks; False if it was dropped.
        """
        return self._reported(lambda: self._writer.stopping(reason))

    def ready(self) -> bool:
        """Report that this spare is prepared; call ``node.go.wait()`` next. Has no effect in other nodes."""
        return self._reported(self._writer.ready)

    def report(self, statistics: NodeStatistics) -> bool:
        """Report statistics. They are not a heartbeat. Never blocks; False if some of them were dropped."""
        return self._reported(lambda: self._writer.statistics(statistics))

    def orphaned(self) -> bool:
        """Whether the supervisor is gone. The kernel kills orphans (PR_SET_PDEATHSIG); this is a second check."""
        return os.getppid() != self.supervisor_pid

    def _reported(self, report: Callable[[], bool]) -> bool:
        if (pid := os.getpid()) != self._pid:
            raise RuntimeError(
                f"process {pid} is not node {self.id} but was forked by it (process {self._pid}), but only the node "
                "itself may report: send your report to the node, for example through a queue"
            )
        if self.orphaned():
            # An orphan is no longer supervised, and its successor may be running, so not even a drain is safe.
            os._exit(ORPHANED)
        return report()

    def _say(self, reason: str) -> None:
        """Report the reason of an end, but not for a process forked by the target that returns here."""
        if os.getpid() == self._pid:
            self._writer.stopping(reason)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # A process forked by the node inherits this handler. Its own stop (Process.terminate()) is not the
            # node's.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        # A repeated signal has no effect here: only the supervisor escalates.
        if self.stopping.set():
            self._writer.stopping(signal.Signals(number).name)

    def _quiet(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._pid:
            self.quieting.set()


def run_node(
    node: Node,
    target: Callable[[Node], int | None],
    *,
    mask: set[int],
    close_inherited: Callable[[], None],
    listeners: Callable[[NodeStarted], None],
    dump_fd: int,
    held: bool,
    quiet: bool,
) -> int:
    """Make a fresh fork into a node, run its target, and return its exit code. Signals are blocked on entry."""
    offspring.forget_inherited()
    who = "what prepares it"
    try:
        _prepare(node, mask, close_inherited, dump_fd, quiet)
        who = "the target"
        listeners(NodeStarted(at=time.monotonic(), node_id=node.id, generation=node.generation, pid=os.getpid()))
        if held and not _wait_for_go(node):
            return 0
        return _exit_code(node, target(node))
    except SystemExit as request:
        return _exit_code(node, request.code)
    except BaseException as error:
        node._say(text_of(error))
        if isinstance(error, ListenerFailedError):
            who = "a listener of its start"
        logger.exception("node %d failed: %s raised %s", node.id, who, type(error.__cause__ or error).__name__)
        return 1
    finally:
        offspring.end_all()
        for handler in logging.getLogger().handlers + logger.handlers:
            with contextlib.suppress(BaseException):
                handler.flush()


def _prepare(node: Node, mask: set[int], close_inherited: Callable[[], None], dump_fd: int, quiet: bool) -> None:
    with contextlib.suppress(PermissionError):
        os.setpgid(0, 0)  # a terminal sends Ctrl-C to its foreground group, but only the supervisor decides
    _drop_terminal_signals()
    close_inherited()
    _reset_signals(node)
    _detach_stdin()
    _reseed()
    if dump_fd >= 0:
        # The handler of faulthandler is C code, so it also writes while other C code holds the GIL.
        faulthandler.register(DUMP_SIGNAL, file=dump_fd, all_threads=True, chain=False)
        if signal.getsignal(MAIN_STACK_SIGNAL) is signal.SIG_DFL:
            faulthandler.register(MAIN_STACK_SIGNAL, file=dump_fd, all_threads=False, chain=False)
    set_thread_name(cut_name(node.name, f"-{node.id}"))
    if quiet:
        node.quieting.set()
    # The supervisor blocks TSTP to read it from a descriptor; the process that started it may have blocked others.
    signal.pthread_sigmask(signal.SIG_SETMASK, mask - {QUIET_SIGNAL, DUMP_SIGNAL, MAIN_STACK_SIGNAL, *STOP_SIGNALS})


def _wait_for_go(node: Node) -> bool:
    """Hold a spare until the old node has gone. Return False if it is not needed."""
    import select

    node.ready()
    poll = select.poll()
    poll.register(node.go.fileno(), select.POLLIN)
    poll.register(node.stopping.fileno(), select.POLLIN)
    while not node.go.is_set():
        if node.stopping.is_set():
            return False
        poll.poll()
        if node.orphaned():
            os._exit(ORPHANED)
    return True


def _exit_code(node: Node, result: object) -> int:
    if result is None:
        return 0
    if isinstance(result, int) and not isinstance(result, bool):
        return int(result) & 0xFF
    if isinstance(result, bool):
        result = f"the target returned {result}, which is not an exit code: return None for success, or a number"
    with contextlib.suppress(Exception):  # its str() is application code, and there may be no stderr
        node._say(told(str(result)))
        sys.stderr.write(f"{result}\n")  # as the interpreter does for SystemExit("text")
    return 1


def _drop_terminal_signals() -> None:
    # Between the fork and setpgid() a Ctrl-C may have reached this process too. No one else sends INT or QUIT by now.
    while signal.sigtimedwait((signal.SIGINT, signal.SIGQUIT), 0) is not None:
        pass


def _reset_signals(node: Node) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(DUMP_SIGNAL, signal.SIG_IGN)  # until faulthandler takes it
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a background group may write to its terminal
    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup requires
            signal.signal(number, node._stop)
    signal.signal(QUIET_SIGNAL, node._quiet)


def _detach_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null != 0:
        os.close(null)


def _reseed() -> None:
    """Reseed numpy's random numbers in every node. The random module does so itself since Python 3.7."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        with contextlib.suppress(Exception):
            numpy_random.seed()
