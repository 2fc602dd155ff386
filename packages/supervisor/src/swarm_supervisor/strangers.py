"""Children that are no nodes: orphans that PID 1, or a subreaper, inherits and has to reap."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from swarm_pidfd import ExitStatus


def children() -> list[int] | None:
    """Return the pids of all children of this process; None where /proc is not there, or of another pid namespace."""
    found: list[int] = []
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return None
        for task in os.listdir("/proc/self/task"):
            found += map(int, Path(f"/proc/self/task/{task}/children").read_text().split())
    except OSError:  # CONFIG_PROC_CHILDREN is off
        return None
    return found


def _candidates() -> Iterator[int]:
    """Yield children that may have ended. Without /proc the kernel shows one, the same until somebody reaps it."""
    pids = children()
    if pids is not None:
        yield from pids
        return
    seen = -1
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid == seen:
            return
        seen = found.si_pid
        yield seen


def reap_strangers(
    is_node: Callable[[int], bool], node_ended: Callable[[int], bool], hosts: frozenset[int] = frozenset()
) -> Iterator[tuple[int, str]]:
    """Reap every child that has ended and that nobody else waits for; yield pid and status of each stranger.

    ``hosts`` are children of the host program, from before the run: it waits for them itself, as its subprocess.Popen
    does. So it does for those that its listeners start meanwhile: they are in the process group of this process, and
    the descendants of a node never are.

    A look with WNOWAIT comes before any reaping: whose child it is is known before its status is taken. The zombie of a
    node is left to ``node_ended``, which returns whether it has reaped it.
    """
    own_group = os.getpgrp()
    for pid in _candidates():
        if pid in hosts:
            continue
        try:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            if is_node(pid):
                node_ended(pid)
                continue
            if os.getpgid(pid) == own_group:
                continue
            reaped = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
        except (ChildProcessError, ProcessLookupError):
            continue
        if reaped is not None:
            yield pid, str(ExitStatus.from_waitid(reaped))
