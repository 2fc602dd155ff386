"""What a run changes in the process that it runs in: taken at its beginning, put back at its end."""

import contextlib
import gc
import os
import resource
from collections.abc import Callable

import swarm_pidfd
from swarm_supervisor import prctl
from swarm_supervisor.settings import Settings, SettingsError
from swarm_supervisor.signals import SignalInbox
from swarm_supervisor.streams import flush_streams, open_standard_streams
from swarm_supervisor.warmup import thaw_memory

FDS_A_NODE = 6
"""Descriptors that the supervisor needs for a node: pidfd, health pipe, orders, stacks, and as much again for a moment
while one of them is forked; with its spare twice that, but not for all nodes at once."""
_FDS_OF_OUR_OWN = 64


def borrow_process(
    undo: contextlib.ExitStack, settings: Settings, nodes: int, inbox: SignalInbox
) -> Callable[[], None]:
    """Change what a run needs changed; ``undo`` puts it back, whatever of it has been done when something fails.

    Returns what gives a node the application's own limits back. `SettingsError`: this cannot run here.
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
    # Programs that a node starts inherit its limit: some close every number below it, select() takes 1024 at most.
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def check_pidfd() -> None:
    """`SettingsError` where processes cannot be watched: without pidfds every fork would be killed again."""
    if not swarm_pidfd.supported():
        raise SettingsError(
            "this machine does not let the supervisor watch its nodes: pidfd_open(), pidfd_send_signal() and "
            "waitid(P_PIDFD) need Linux 5.4 or newer and a seccomp filter that allows them (Docker 20.10.10 or newer; "
            "gVisor does not have them)"
        )


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd")) - 1  # that of the listing itself


def check_descriptors(nodes: int, in_use: int, limit: int) -> None:
    """`SettingsError` if so many nodes would need more descriptors than there may be, beside those in use."""
    needed = nodes * FDS_A_NODE + _FDS_OF_OUR_OWN
    if limit == resource.RLIM_INFINITY or needed + in_use <= limit:
        return
    fit = (limit - in_use - _FDS_OF_OUR_OWN) // FDS_A_NODE
    remedy = f", or run at most {fit} node{'' if fit == 1 else 's'}" if fit >= 1 else ""
    raise SettingsError(
        f"{nodes} nodes need about {needed} file descriptors beside the {in_use} that are open, and the limit is "
        f"{limit}: raise it (ulimit -Hn){remedy}"
    )
