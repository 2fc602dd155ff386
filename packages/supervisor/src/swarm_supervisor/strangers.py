"""Children that are no nodes: orphans that PID 1, or a subreaper, inherits and has to reap."""

import os
from collections.abc import Callable, Iterator

from swarm_pidfd import ExitStatus


def reap_strangers(is_node: Callable[[int], bool], node_ended: Callable[[int], bool]) -> Iterator[tuple[int, str]]:
    """Reap every child that has ended; yield pid and status of each stranger.

    A look with WNOWAIT comes before any reaping: whose child it is is known before its status is taken. The zombie of a
    node is left to ``node_ended``, which returns whether it has reaped it.
    """
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None:
            return
        if is_node(found.si_pid):
            if not node_ended(found.si_pid):
                return
            continue
        try:
            reaped = os.waitid(os.P_PID, found.si_pid, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            continue
        if reaped is not None:
            yield found.si_pid, str(ExitStatus.from_waitid(reaped))
