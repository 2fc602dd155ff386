"""Serves probes and metrics and notifies systemd, for a whole swarm or for one process.

Probes and metrics need the extras swarm-liveness[probes,metrics]; systemd needs no extra.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from swarm_liveness._integrations.swarm_events import SwarmEvents
from swarm_liveness._integrations.systemd import Notifier, SystemdListener
from swarm_liveness._judging.listener import LivenessListener
from swarm_liveness._serving.loop import ThreadLoop
from swarm_liveness._serving.snapshots import ProcessObserver
from swarm_liveness.metrics_table import Detail
from swarm_liveness.protocols import Loop, Observable, SnapshotView
from swarm_liveness.settings import ProbeError

if TYPE_CHECKING:
    from swarm_liveness._serving.metrics import SwarmCollector
    from swarm_liveness._serving.server import ProbeServer

DEFAULT_HOST = "127.0.0.1"


class SupervisorView(Loop, Protocol):
    """The part of a supervisor that this module needs: its loop, its events, its snapshots."""

    def subscribe(self, listener: Callable[[Any], None]) -> object:
        """Call the listener with every event."""

    def close_in_children(self, close: Callable[[], None]) -> object:
        """Call back first in each forked process, to close what belongs to the supervisor."""

    def snapshot(self) -> SnapshotView:
        """The current state."""


def parse_address(text: str) -> tuple[str, int]:
    """Split "8080" (loopback), "0.0.0.0:8080" or "[::]:8080" into host and port.

    Raises ProbeError for anything else.
    """
    host, separator, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isascii() or not port.isdigit() or (separator and not host) or int(port) > 65535:
        raise ProbeError(
            f"{text!r} is not an address for probes: give PORT, HOST:PORT or [HOST]:PORT, like 0.0.0.0:8080"
        )
    return host or DEFAULT_HOST, int(port)


def serve_supervisor(
    supervisor: SupervisorView,
    address: str | None = None,
    *,
    version: str = "",
    swarm_version: str = "",
    detail: Detail = "partition",
    max_partitions: int = 1000,
    notifier: Notifier | None = None,
) -> ProbeServer | None:
    """Serve probes and metrics from the supervisor's own loop, and notify systemd of its state.

    Call it before `supervisor.run()`. The address is bound at once and closed in every node. Close the returned server
    after `run()`.

    - `address`: as `parse_address` takes it; None: no probes, systemd only.
    - `version`, `swarm_version`: the versions of the application and of Swarm, for the metric swarm_info.
    - `detail`: the level of the partition metrics: "partition", "topic" or "node".
    - `max_partitions`: the largest number of series of one partition metric.
    - `notifier`: the service manager to notify; None: the one in this process's environment, if there is one.

    Raises ProbeError when the address cannot be served, LivenessSettingsError for a bad `detail` or `max_partitions`.
    """
    systemd = SystemdListener(supervisor, supervisor.snapshot, notifier)
    if systemd.notifier.enabled:
        supervisor.subscribe(systemd)
        supervisor.close_in_children(systemd.notifier.close)
    if address is None:
        return None
    _check_extras()
    from swarm_liveness._serving.metrics import SwarmCollector

    events = SwarmEvents()
    server: ProbeServer | None = None
    collector = SwarmCollector(
        supervisor.snapshot,
        events=events,
        probe=lambda: server,
        version=version,
        swarm_version=swarm_version,
        detail=detail,
        max_partitions=max_partitions,
    )
    server = _bind(collector, supervisor.snapshot, address, supervised=True)
    supervisor.subscribe(events)
    supervisor.close_in_children(server.close_in_child)
    server.attach(supervisor)
    return server


class ProcessProbes:
    """The same endpoints for one process without a supervisor, served by a small loop in its own thread."""

    def __init__(
        self,
        listener: LivenessListener,
        observable: Observable,
        address: str,
        *,
        name: str = "server",
        version: str = "",
        swarm_version: str = "",
        detail: Detail = "partition",
        max_partitions: int = 1000,
    ) -> None:
        """Bind the address and start to serve. The caller calls `listener.start(observable)` itself.

        Raises ProbeError when the address cannot be served.
        """
        _check_extras()
        from swarm_liveness._serving.metrics import SwarmCollector

        observer = self._observer = ProcessObserver(listener, observable, name=name)
        collector = SwarmCollector(
            observer.snapshot,
            probe=lambda: self.server,
            version=version,
            swarm_version=swarm_version,
            detail=detail,
            max_partitions=max_partitions,
        )
        self.server = _bind(collector, observer.snapshot, address, supervised=False)
        self._loop = ThreadLoop()
        self.server.attach(self._loop)
        self._loop.start()

    def waits_for(self, reason: str) -> None:
        """Set what this process waits for before it starts, which all answers then show; "" for nothing."""
        self._observer.waits_for = reason

    def close(self) -> None:
        """Stop serving. Idempotent."""
        self._loop.stop()
        self.server.close()


def _check_extras() -> None:
    missing = [name for name in ("h11", "prometheus_client") if importlib.util.find_spec(name) is None]
    if missing:
        raise ProbeError(
            f"probes need {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'swarm-liveness[probes,metrics]'"
        )


def _bind(
    collector: SwarmCollector, snapshot: Callable[[], SnapshotView], address: str, *, supervised: bool
) -> ProbeServer:
    from swarm_liveness._serving.endpoints import endpoints
    from swarm_liveness._serving.server import ProbeServer

    host, port = parse_address(address)
    table = endpoints(snapshot, supervised=supervised, metrics=collector.endpoint())
    return ProbeServer(table, host=host, port=port)
