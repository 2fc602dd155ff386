"""A race-free handle on a Linux process: once open, it never refers to another process that reuses the pid.

::

    with Pidfd(pid) as process:
        process.signal("TERM")
        status = process.wait(timeout=5.0)      # ExitStatus, or None if it has not ended by then
"""

from __future__ import annotations

from swarm_pidfd._capabilities import Capabilities, PidfdUnsupportedError, capabilities, supported
from swarm_pidfd._exit_status import ExitStatus
from swarm_pidfd._pidfd import Pidfd, PidfdClosedError

__version__ = "0.1.0"

__all__ = [
    "Capabilities",
    "ExitStatus",
    "Pidfd",
    "PidfdClosedError",
    "PidfdUnsupportedError",
    "__version__",
    "capabilities",
    "supported",
]
