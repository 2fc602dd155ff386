"""What a run changes in its process at the start and restores at the end."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
from collections.abc import Callable

import swarm_pidfd
from swarm_supervisor import _prctl as prctl
from swarm_supervisor._streams import flush_streams, open_standard_streams
from swarm_supervisor._warmup import thaw_memory
from swarm_supervisor.settings import Settings, SettingsError
from swarm_supervisor.signals import SignalInbox

FDS_A_NODE = 6
"""Descriptors that the supervisor needs per node: pidfd, health pipe, orders, stacks, and the same again for a moment
during a fork; twice that with a spare, but not for all nodes at once."""
_FDS_OF_OUR_OWN = 64


def borrow_process(
    undo: contextlib.ExitStack, settings: Settings, nodes: int, inbox: SignalInbox
) -> Callable[[], None]:
    """Make the changes that a run needs; ``undo`` reverts them, also after a partial failure.

    Returns a function that restores the application's limits in a node. `SettingsError`: a swarm cannot run here.
    """
    check_pidfd()
    open_standard_streams()
    flush_streams()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    check_descriptors(nodes, open_descriptors(), limits[1])
    undo.callback(thaw_memory, gc.get_freeze_count())
    undo.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
    with contextlib.suppress(OSError, ValueError):  # "unlimited" is more than the kernel grants (fs.nr_open)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    undo.callback(prctl.set_child_subreaper, prctl.is_child_subreaper())
    if settings.subreaper:
        prctl.set_child_subreaper(True)
    undo.callback(prctl.set_thread_name_bytes, prctl.thread_name_bytes())
    prctl.set_thread_name(settings.name)
    undo.callback(inbox.close)
    inbox.open(children=settings.subreaper or os.getpid() == 1)
    # Programs started by a node inherit its limit: some close every number below it, and select() takes at most 1024.
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def check_pidfd() -> None:
    """`SettingsError` if processes cannot be watched: without pidfds every forked process would be killed at once."""
    if not swarm_pidfd.supported():
        raise SettingsError(
            "this machine does not let the supervisor watch its nodes: pidfd_open(), pidfd_send_signal() and "
            "waitid(P_PIDFD) need Linux 5.4 or newer and a seccomp filter that allows them (Docker 20.10.10 or newer; "
            "gVisor does not have them)"
        )


def open_descriptors() -> int:
    """Return the number of open descriptors of this process."""
    return len(os.listdir("/proc/self/fd")) - 1  # the descriptor of the listing itself


def check_descriptors(nodes: int, in_use: int, limit: int) -> None:
    """`SettingsError` if the nodes would need more descriptors than the limit leaves."""
    needed = nodes * FDS_A_NODE + _FDS_OF_OUR_OWN
    if limit == resource.RLIM_INFINITY or needed + in_use <= limit:
        return
    fit = (limit - in_use - _FDS_OF_OUR_OWN) // FDS_A_NODE
    remedy = f", or run at most {fit} node{'' if fit == 1 else 's'}" if fit >= 1 else ""
    raise SettingsError(
        f"{nodes} nodes need about {needed} file descriptors beside the {in_use} that are open, and the limit is "
        f"{limit}: raise it (ulimit -Hn){remedy}"
    )
