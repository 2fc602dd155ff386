"""Stack dumps of nodes: request them, wait for them, report them."""

from __future__ import annotations

import time
from collections.abc import Callable

from swarm_supervisor._core import messages
from swarm_supervisor._listeners import Listeners
from swarm_supervisor._loop import Loop
from swarm_supervisor._node_handle import NodeHandle
from swarm_supervisor.events import StacksDumped

_LOOK_S = 0.025
_TIME_FOR_MAIN_S = 0.2
"""With less time than this, all threads are dumped at once, without dumping the main thread first."""


class Dumps:
    """There is no notification for writes to a memfd, so it is polled, 2 us each time, until the dump is complete."""

    def __init__(
        self,
        listeners: Listeners,
        loop: Loop,
        *,
        decide: Callable[[messages.Happening], None],
        alive: Callable[[NodeHandle], bool],
        timeout_s: float,
    ) -> None:
        """``alive`` returns whether a process has not been reaped yet."""
        self._listeners = listeners
        self._loop = loop
        self._decide = decide
        self._alive = alive
        self._timeout_s = timeout_s

    def ask(self, handle: NodeHandle) -> bool:
        """Ask a process for its stacks. Return False if there will be none."""
        if self._timeout_s == 0 or not handle.ask_for_stacks(main_first=self._timeout_s >= _TIME_FOR_MAIN_S):
            return False
        self._look(handle, time.monotonic() + self._timeout_s)
        return True

    def give_up(self, handle: NodeHandle) -> None:
        """Stop waiting for the stacks of a process."""
        self._loop.call_at(time.monotonic(), lambda: self._there(handle))

    def take(self, handle: NodeHandle) -> None:
        """Report the dump of a process, if there is one."""
        text = handle.take_dump()
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

    def _look(self, handle: NodeHandle, until: float) -> None:
        now = time.monotonic()
        if not handle.dump_wanted:
            return
        if handle.dump_grown():
            self._there(handle)
        elif now < until:
            self._loop.call_at(min(now + _LOOK_S, until), lambda: self._look(handle, until))
        else:
            handle.dump_wanted = False  # a late dump is handled like that of a TTIN from outside

    def _there(self, handle: NodeHandle) -> None:
        if not self._alive(handle):
            return
        try:
            self.take(handle)
        finally:
            self._decide(messages.StacksThere(handle.node_id, handle.generation))
