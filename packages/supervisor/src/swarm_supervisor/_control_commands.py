"""What each command of the control socket does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swarm_supervisor._control import CommandError, Request
from swarm_supervisor._snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlCommands:
    """The commands, each with the supervisor's function for it."""

    snapshot: Callable[[], Snapshot]
    quiet: Callable[[str], None]
    stop: Callable[[str], None]
    restart: Callable[[int | None, str], None]
    scale: Callable[[int], None]
    trace: Callable[[int | None], list[int]]

    def answer(self, request: Request) -> dict[str, Any]:
        """Carry out a request and return its answer. ValueError, with one sentence, if that is not possible."""
        match request.command:
            case "status":
                return {"snapshot": self.snapshot()}
            case "quiet":
                self.quiet(request.reason)
            case "stop":
                self.stop(request.reason)
            case "restart":
                self.restart(request.node, request.reason)
            case "scale":
                if request.nodes is None:
                    raise CommandError('scale needs "nodes", the number of nodes to run')
                self.scale(request.nodes)
            case "trace":
                return {"asked": self.trace(request.node)}
            case _:
                raise CommandError(
                    f"unknown command {request.command!r}: the commands are status, quiet, stop, restart, scale, trace "
                    "and subscribe"
                )
        return {}
