"""How a node ends: the exit codes of `Runtime.run`."""

from __future__ import annotations

EXIT_CLEAN = 0
EXIT_FATAL = 1
EXIT_DRAIN_OVERRUN = 4
"""A handler did not return in time."""
