"""Children that are not nodes: orphans that PID 1 or a subreaper inherits and has to reap."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from swarm_pidfd import ExitStatus


def children() -> list[int] | None:
    """Return the pids of all children of this process; None if /proc is missing or of another pid namespace."""
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
    """Yield children that may have ended. Without /proc the kernel shows only one, the same one until it is reaped."""
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
    """Reap every ended child that no other code waits for; yield pid and status of each stranger.

    ``hosts`` are children that the host program started before the run: it waits for them itself, as subprocess.Popen
    does. The same holds for children started by its listeners: they are in the process group of this process, and
    descendants of a node never are.

    Each child is first checked with WNOWAIT, so that its owner is known before its status is taken. The zombie of a
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
