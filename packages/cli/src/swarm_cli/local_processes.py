"""Whether the pids that a supervisor names are processes of this machine that it may speak for.

A control socket may lie on a path that containers share, or be somebody else's: a pid that is read from it may be an
innocent process here. Nothing is done to a pid before these questions are answered.
"""

import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm_supervisor import ControlClient


def same_pids(client: "ControlClient | None", pid: int) -> bool:
    """Whether the supervisor at the other end is process `pid` here: not when it lives in another pid namespace.

    The kernel tells who listens there, in the pids of the one who asks (SO_PEERCRED, unix(7)).
    """
    if client is None:
        return False
    with socket.fromfd(client.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", credentials)[0] == pid)


def parent_of(pid: int) -> int | None:
    """The parent of a process; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])  # state, ppid (proc(5)); the name before may hold anything
