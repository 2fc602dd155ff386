"""The lines that a swarm logs when it starts, is ready and stops: where to look and what to do."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarm_cli import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from swarm_supervisor import Snapshot, Supervisor
    from swarm_supervisor.events import NodeRunning, Stopping

logger = logging.getLogger("swarm_cli")


@dataclass(frozen=True)
class Facts:
    """The facts that the start lines show."""

    application: str
    nodes: int
    servers: str
    probe: tuple[str, int] | None
    control: Path | None
    stop_within_s: float


def lines(facts: Facts) -> list[str]:
    """Return the start lines."""
    several = "s" if facts.nodes != 1 else ""
    found = [f"Swarm {__version__}: {facts.application} on {facts.nodes} node{several}, Kafka at {facts.servers}"]
    if facts.probe is not None:
        host, port = facts.probe
        found.append(f"page: http://{_in_url(host)}:{port}/, with /metrics, /status, /readyz and /livez beside it")
    if facts.control is not None:
        found.append(f"control: swarm-cli status, top, restart, stop (--control {facts.control})")
    found.append(f"Ctrl-C or TERM stops it gracefully, within {facts.stop_within_s:g} s; a second one kills the rest")
    return found


def _in_url(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104  every address: the local one is as good as any to look at
        return "localhost"
    return f"[{host}]" if ":" in host else host


class Banner:
    """Logs the lines."""

    def __init__(self, facts: Facts, snapshot: Callable[[], Snapshot]) -> None:
        self._facts = facts
        self._snapshot = snapshot
        self._started = time.monotonic()
        self._ready = False

    def attach(self, supervisor: Supervisor) -> None:
        """Log the start lines, and afterwards each event of the swarm as a whole."""
        from swarm_supervisor import events

        for line in lines(self._facts):
            logger.info("%s", line)
        supervisor.on(events.NodeRunning)(self._node_running)
        supervisor.on(events.Stopping)(self._stopping)

    def _node_running(self, event: NodeRunning) -> None:
        snapshot = self._snapshot()
        if not self._ready and snapshot.running >= snapshot.wanted > 0:
            self._ready = True
            took = event.at - self._started
            logger.info("ready after %.1f s: %d of %d nodes run", took, snapshot.running, snapshot.wanted)

    def _stopping(self, event: Stopping) -> None:
        at_work = sum(1 for node in self._snapshot().nodes if node.pid is not None)
        if at_work:
            within = self._facts.stop_within_s
            # Only a second INT or TERM forces the end. After a stop of another kind, the next one counts as the first.
            times = "again kills" if event.reason in ("SIGINT", "SIGTERM") else "twice kills"
            text = "%d nodes finish current batches, within %g s; Ctrl-C or TERM %s them"
            logger.info(text if at_work > 1 else text.replace("nodes finish", "node finishes"), at_work, within, times)
