"""The answers of /livez, /readyz and /status: status code and body from the same snapshot. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from swarm_liveness.protocols import NodeView, SnapshotView

ROWS_A_PART = 100


@dataclass(frozen=True, slots=True)
class Check:
    """Passed, or failed with the reasons."""

    ok: bool
    reasons: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        """The HTTP status: 200 or 503."""
        return 200 if self.ok else 503


def live(snapshot: SnapshotView) -> Check:
    """Whether the supervisor works. Its own loop answers, so any answer proves most of that.

    An unhealthy node is the supervisor's business and no reason to restart the pod, and neither is a swarm that is
    quiet or drains. Only a supervisor that has stopped is not live.
    """
    if snapshot.state == "stopped":
        return Check(False, (f"the swarm has stopped: {snapshot.reason}" if snapshot.reason else "it has stopped",))
    return Check(True)


def process_live(snapshot: SnapshotView) -> Check:
    """Whether a process without a supervisor is healthy: only the service that probes it can restart it."""
    stopped = live(snapshot)
    if not stopped.ok:
        return stopped
    reasons = tuple(f"{node.reason}" for node in snapshot.nodes if node.status != 0)
    return Check(not reasons, reasons)


def ready(snapshot: SnapshotView) -> Check:
    """Whether all wanted nodes are healthy and consuming, or idle because they have no partitions."""
    reasons: list[str] = []
    if snapshot.state != "running":
        why = f": {snapshot.reason}" if snapshot.reason else ""
        reasons.append(f"the swarm is {snapshot.state}{why}")
    healthy = 0
    for node in snapshot.nodes:
        trouble = node_trouble(node)
        if trouble:
            reasons.append(f"node {node.id} {trouble}")
        else:
            healthy += 1
    if healthy >= snapshot.wanted and snapshot.state == "running":
        return Check(True)  # a surplus node that is being removed does not count
    if snapshot.running < snapshot.wanted:
        reasons.append(f"{snapshot.running} of {snapshot.wanted} wanted nodes are healthy")
    return Check(False, tuple(reasons))


def node_trouble(node: NodeView) -> str:
    """Why a node is not ready, or "". The phase of its runtime counts if the runtime reports one."""
    why = f": {node.reason}" if node.reason else ""
    if node.state != "running":
        return f"is {node.state}{why}"
    if node.status != 0:
        return f"is unhealthy ({node.status}){why}"
    phase = node.statistics.state if node.statistics is not None else ""
    return f"is {phase}" if phase not in ("", "running") else ""


def shown_state(node: NodeView) -> str:
    """The state of a node in every view: of its process or, while that runs, of its runtime."""
    phase = node.statistics.state if node.statistics is not None else ""
    return phase if node.state == "running" and phase else node.state


def check_body(check: Check, snapshot: SnapshotView) -> bytes:
    """The JSON body of a check."""
    return encode(
        {
            "status": "ok" if check.ok else "failed",
            "reasons": list(check.reasons),
            "name": snapshot.name,
            "state": snapshot.state,
            "pid": snapshot.pid,
        }
    )


def status_parts(snapshot: SnapshotView, checks: Mapping[str, Check]) -> Iterator[bytes]:
    """The JSON body of /status in parts: with many partitions, rendering it at once would block the loop too long."""
    lists = ("nodes", "topics", "partitions")
    top = {name: value for name, value in plain_fields(snapshot) if name not in lists}
    top["checks"] = {name: {"ok": check.ok, "reasons": list(check.reasons)} for name, check in checks.items()}
    yield encode(plain(top))[:-1]
    for name in lists:
        yield f', "{name}": ['.encode()
        rows, at_once = getattr(snapshot, name), 1 if name == "nodes" else ROWS_A_PART
        for start in range(0, len(rows), at_once):
            part = encode([plain(row) for row in rows[start : start + at_once]])[1:-1]
            yield (b", " if start else b"") + part
        yield b"]"
    yield b"}"


def encode(value: object) -> bytes:
    """Encode as JSON. NaN and infinities, which JSON does not have, become null."""
    try:
        return json.dumps(value, allow_nan=False).encode()
    except ValueError:
        return json.dumps(_finite(value)).encode()


def plain(value: Any) -> Any:
    """Turn structs, dataclasses and collections of them into values that JSON can hold."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence):
        return [plain(one) for one in value]
    named = dict(plain_fields(value))
    return {key: plain(one) for key, one in named.items()} if named else str(value)


def plain_fields(value: Any) -> Iterator[tuple[str, Any]]:
    """The named fields of a msgspec.Struct or a dataclass."""
    names = getattr(value, "__struct_fields__", None)
    if names is None:
        names = tuple(one.name for one in fields(value)) if is_dataclass(value) else ()
    for name in names:
        yield name, getattr(value, name)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list) else value
