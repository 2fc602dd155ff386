"""The orders that a supervisor sends to a node through a pipe. Each is a byte or two, identified by their value.

They are never removed from the pipe, so that every thread of the node, and every process that it forked, sees the
same at any time, and a poll for the first of them stays true. They are read as a copy: tee(2) leaves the data
in the pipe.
"""

from __future__ import annotations

import os
import termios
from array import array
from fcntl import ioctl

from swarm_supervisor._prctl import tee

GO = b"g"
"""A spare may take over. Any other node has this order from its start."""
RETURN = b"r"
"""The node has to stop, and its successor comes at once."""
LEAVE = b"ll"
"""The node has to stop, and no successor comes, or not soon. It may follow a `RETURN`, and then it counts."""
REMOVE = b"m"
"""The node is scaled away. It follows a `LEAVE`."""
_BY_NUMBER = (b"", GO, GO + RETURN)
"""The orders by their number of bytes. A node is never told to leave or return before it is told to go, and to return
at most once. So three bytes or more include a `LEAVE`, which is the reason for its two bytes. Whether they include a
`REMOVE` is not known then."""


def orders_sent(pipe_fd: int) -> bytes:
    """Return the orders in the pipe so far, oldest first."""
    waiting = array("i", [0])
    ioctl(pipe_fd, termios.FIONREAD, waiting)
    if waiting[0] == 0:
        return b""
    try:
        return _copy(pipe_fd, waiting[0])
    except OSError:  # the node has no descriptors left, or a sandbox refuses tee(2), but it must still leave
        return _BY_NUMBER[waiting[0]] if waiting[0] < len(_BY_NUMBER) else GO + LEAVE


def _copy(pipe_fd: int, size: int) -> bytes:
    # Each call has its own pipe: with a shared one, a thread or process might read another's copy.
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(read_fd, tee(pipe_fd, write_fd, size))
    finally:
        os.close(read_fd)
        os.close(write_fd)
