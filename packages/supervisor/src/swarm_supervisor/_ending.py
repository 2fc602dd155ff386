"""End all nodes without the core, which has failed: TERM, the time of a shutdown, then KILL."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Sequence

from swarm_supervisor._node_handle import NodeHandle
from swarm_supervisor._orders import LEAVE
from swarm_supervisor.signals import FORCING, SignalInbox

_LOOK_MS = 250.0


class Ending:
    """Ends nodes one by one or all together. A problem with one node does not stop the end of others."""

    def __init__(self, handles: Sequence[NodeHandle], inbox: SignalInbox) -> None:
        """Take over the handles. A second INT or TERM from the inbox cuts the time short."""
        self._handles = list(handles)
        self._inbox = inbox
        self._asked = 0

    def drain(self, patience_s: float, grace_s: float, tell: Callable[[], None]) -> None:
        """Ask all nodes to stop, report it, wait, then kill and reap the rest. Every handle is closed afterwards."""
        try:
            for handle in self._handles:
                with contextlib.suppress(BaseException):
                    handle.order(LEAVE)  # no process follows it
                with contextlib.suppress(BaseException):
                    handle.term()
            with contextlib.suppress(BaseException):
                tell()  # after the signals, so that the nodes are asked even if a listener fails
            self._wait(patience_s)
        finally:
            self._kill(grace_s)

    def _kill(self, grace_s: float) -> None:
        for handle in self._handles:
            with contextlib.suppress(BaseException):
                if not _ended(handle):  # a reaped pid may belong to another process by now
                    handle.kill()
        with contextlib.suppress(BaseException):
            self._wait(grace_s, forced=True)
        for handle in self._handles:
            with contextlib.suppress(BaseException):
                handle.close()

    def _wait(self, timeout_s: float, *, forced: bool = False) -> None:
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            running = [handle for handle in self._handles if not _ended(handle)]
            if not running or (not forced and self._forced()):
                return
            poll = select.poll()
            for handle in running:
                # A stop takes effect only when the process next runs, perhaps after it was asked to end.
                with contextlib.suppress(OSError):
                    handle.resume()
                poll.register(handle.pidfd.fileno(), select.POLLIN)
            if not forced:
                poll.register(self._inbox.fileno(), select.POLLIN)
            poll.poll(min(left_s * 1000, _LOOK_MS))

    def _forced(self) -> bool:
        # Some of the numbers are not signals: a wake-up of the loop is a 0.
        self._asked += sum(number in FORCING for number in self._inbox.take())
        return self._asked > 1


def _ended(handle: NodeHandle) -> bool:
    try:
        return handle.reap() is not None
    except BaseException:  # noqa: BLE001  a node that cannot be waited for must not stop the end of the others
        return True
