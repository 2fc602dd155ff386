"""A runtime that is alone in its process: signals stop it and quiet it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarm_consumer.process.signals import handling

if TYPE_CHECKING:
    from swarm_consumer._running.runtime import Runtime


def run_under_signals(runtime: Runtime) -> int:
    """Run until stopped: INT and TERM stop, TSTP quiets; the handlers of before are put back. Returns the exit code."""
    with handling(runtime):
        return runtime.run()
