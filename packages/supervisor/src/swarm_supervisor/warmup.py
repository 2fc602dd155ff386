"""Prepares the memory of the supervisor for its forks, so that nodes share it and go on sharing it."""

import gc
import select
import sys

from swarm_supervisor.prctl import malloc_trim


def freeze_memory(*, trim: bool) -> None:
    """Collect garbage and freeze what is left.

    A collection writes into the header of every object that it looks at, and so copies the page of each: frozen objects
    are not looked at (gc.freeze()). With ``trim`` the C heap's free pages go back to the kernel first; that is worth
    its milliseconds once, before the first fork.
    """
    gc.collect()
    if trim:
        malloc_trim()
    gc.freeze()


def flush_streams() -> None:
    """Write out what stdout and stderr hold, or a child would write it a second time. Never waits for a full pipe."""
    for stream in (sys.stdout, sys.stderr):
        try:
            poll = select.poll()
            poll.register(stream.fileno(), select.POLLOUT)
            if any(mask & select.POLLOUT for _, mask in poll.poll(0)):
                stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # closed, replaced by something without a descriptor, or detached: nothing to duplicate
