"""The exit codes of every command, in one place."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The meaning of a command's exit code."""

    CLEAN = 0
    ERROR = 1
    """Something failed at run time: no broker in time, a fatal client error, lost records in a demo."""
    USAGE = 2
    """A wrong option, setting or application; raised before any node exists."""
    CHANGES = 2
    """Only with --detailed-exitcode: there were changes to make. Every error is 1 then."""
    ORPHANED = 3
    """A node lost its supervisor."""
    FORCED = 4
    """The shutdown time ran out and the remaining nodes were killed."""
    CRASH_LOOP = 5
    """A node kept dying and the swarm was configured to exit then."""
    INTERRUPTED = 130
    """Ctrl-C before there was anything to stop (128 + SIGINT, as shells count)."""
