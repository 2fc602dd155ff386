"""How a node is forked: what is created before, and what is closed in the node afterwards."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from swarm_supervisor._core import messages
from swarm_supervisor._listeners import Listeners, note
from swarm_supervisor._node import Node, run_node
from swarm_supervisor._node_handle import Channels, NodeHandle
from swarm_supervisor._warmup import collect_garbage
from swarm_supervisor.fork import end_child, fork
from swarm_supervisor.settings import Settings
from swarm_supervisor.threads import check_threads


class NodeForker:
    """Forks processes of nodes."""

    def __init__(
        self,
        target: Callable[[Node], int | None],
        settings: Settings,
        listeners: Listeners,
        *,
        pid: int,
        close_inherited: Callable[[], None],
    ) -> None:
        """``close_inherited`` closes in the node what belongs to the supervisor."""
        self._target = target
        self._settings = settings
        self._listeners = listeners
        self._pid = pid
        self._close_inherited = close_inherited
        self._warned: set[str] = set()

    def fork(self, action: messages.Fork) -> NodeHandle:
        """Fork a process. `ForkRefusedError`, or OSError without free processes or descriptors: then there is none."""
        threads = check_threads(self._settings.threads)
        self._warn_of_threads(threads)
        held = action.spare and not self._settings.target_waits_for_go
        channels = Channels(go=not action.spare)

        def body(mask: set[int]) -> int:
            node = Node(
                action.node_id,
                action.generation,
                self._pid,
                channels.writer,
                channels.orders_read,
                name=self._settings.name,
                prospect=action.prospect,
            )

            def close_inherited() -> None:
                channels.close_parents_ends()
                self._close_inherited()

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

        try:
            collect_garbage()
            pid = fork(body, beside_threads=bool(threads))
        except BaseException:
            channels.close()
            raise
        channels.close_childs_ends()
        try:
            return NodeHandle(action.node_id, action.generation, pid, channels)
        except BaseException:
            # There is no descriptor for the pidfd, and a child that cannot be watched must not run. It is not reaped
            # yet, so that its pid is still its own.
            try:
                end_child(pid)
            finally:
                channels.close_parents_ends()
                os.close(channels.dump_fd)
            raise

    def _warn_of_threads(self, names: list[str]) -> None:
        for name in set(names) - self._warned if self._settings.threads == "warn" else ():
            self._warned.add(name)
            note(
                logging.WARNING,
                "the supervisor has another thread, %r: a fork may copy a lock that the thread holds",
                name,
            )
