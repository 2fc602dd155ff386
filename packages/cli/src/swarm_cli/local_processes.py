"""Check whether the pids that a supervisor names are its own processes on this machine.

A control socket may be on a path shared by containers, or belong to another user: a pid read from it may be an
unrelated process here. Nothing is done to a pid before these checks.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm_supervisor import ControlClient


def same_pids(client: ControlClient | None, pid: int) -> bool:
    """Whether the supervisor at the other end is process `pid` here. It is not if it lives in another pid namespace.

    The kernel gives the listener's pid in the pid namespace of the caller (SO_PEERCRED, unix(7)).
    """
    if client is None:
        return False
    with socket.fromfd(client.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", credentials)[0] == pid)


def parent_of(pid: int) -> int | None:
    """The parent of a process; None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])  # state, ppid (proc(5)); the name before them may contain anything
