"""``python -m swarm_cli.demonstration._tied PARENT_PID COMMAND...``: become COMMAND, and end when the parent ends.

prctl(PR_SET_PDEATHSIG) survives execve(2) of an ordinary program. A separate program can call it at a moment when
no thread exists; a preexec_fn in a parent with Kafka clients cannot.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Arm the death signal, check that the parent is still there, then execute the command."""
    parent = int(sys.argv[1])
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the parent died before the signal was armed, so no signal will come
        sys.exit(3)
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  the demo itself chose the command


if __name__ == "__main__":
    main()
