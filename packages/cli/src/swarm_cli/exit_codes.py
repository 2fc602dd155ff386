"""The exit codes of every command, in one place."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit code of a command says."""

    CLEAN = 0
    ERROR = 1
    """Something failed at run time: no broker within the time given, a fatal client error, lost records in a demo."""
    USAGE = 2
    """A wrong option, setting or application; raised before any node exists."""
    CHANGES = 2
    """Under --detailed-exitcode alone: there were changes to make. Every error is 1 then."""
    ORPHANED = 3
    """A node whose supervisor is gone."""
    FORCED = 4
    """The shutdown budget ran out and what was left was killed."""
    CRASH_LOOP = 5
    """A node kept dying and the swarm was told to exit then."""
    INTERRUPTED = 130
    """Ctrl-C before there was anything to stop (128 + SIGINT, as shells count)."""
