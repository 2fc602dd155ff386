"""The orders that a supervisor sends a node down a pipe: one byte each, told apart by its value.

They are never taken out of the pipe, so that every thread of the node and every process that it has forked sees the
same, at any time, and that a poll for the first of them stays true. They are read as a copy: tee(2) leaves what it
copies where it is.
"""

import os
import termios
from array import array
from fcntl import ioctl

from swarm_supervisor.prctl import tee

GO = b"g"
"""A spare may take over. A node that is no spare has it from its start."""
LEAVE = b"l"
"""The node's id goes for good."""
_AS_THEY_COME = GO + LEAVE
"""No node is told to leave before it was told to go."""


def orders_sent(pipe_fd: int) -> bytes:
    """Return the orders that have come down the pipe so far, the first one first."""
    waiting = array("i", [0])
    ioctl(pipe_fd, termios.FIONREAD, waiting)
    if waiting[0] == 0:
        return b""
    try:
        return _copy(pipe_fd, waiting[0])
    except OSError:  # the node has used its descriptors up, or a sandbox refuses tee(2): it must leave all the same
        return _AS_THEY_COME[: waiting[0]]


def _copy(pipe_fd: int, size: int) -> bytes:
    # A pipe of this call's own: in one that threads or processes share, each might read the copy of another.
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(read_fd, tee(pipe_fd, write_fd, size))
    finally:
        os.close(read_fd)
        os.close(write_fd)
