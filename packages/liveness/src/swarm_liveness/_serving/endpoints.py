"""The paths of a probe server: /livez, /readyz, /status, /metrics, and the page at / for people."""

from __future__ import annotations

from collections.abc import Callable

from swarm_liveness._serving.answers import JSON, Answer, Endpoint
from swarm_liveness._serving.checks import Check, check_body, live, process_live, ready, status_parts
from swarm_liveness._serving.page import page
from swarm_liveness._serving.request import Request
from swarm_liveness.protocols import SnapshotView


def endpoints(
    snapshot: Callable[[], SnapshotView],
    *,
    supervised: bool = True,
    metrics: Endpoint | None = None,
) -> dict[str, Endpoint]:
    """Return the endpoints of one source of snapshots, by path.

    - `snapshot`: returns the current state; the `snapshot` of a supervisor or of a ProcessObserver.
    - `supervised`: whether a supervisor restarts unhealthy nodes; without one, /livez reports the process itself.
    - `metrics`: the endpoint of /metrics, which a SwarmCollector makes; None: there is no /metrics.
    """
    is_live = live if supervised else process_live

    def check(of: Callable[[SnapshotView], Check]) -> Endpoint:
        def answer(request: Request) -> Answer:
            now = snapshot()
            result = of(now)
            return Answer(result.code, JSON, check_body(result, now))

        return Endpoint(answer)

    def status(request: Request) -> Answer:
        now = snapshot()
        return Answer(200, JSON, status_parts(now, {"live": is_live(now), "ready": ready(now)}))

    table = {"/": page(), "/livez": check(is_live), "/readyz": check(ready), "/status": Endpoint(status)}
    if metrics is not None:
        table["/metrics"] = metrics
    return table
