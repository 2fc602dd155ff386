"""A share of the container becomes a limit of each node, anew whenever the number of nodes changes."""

from typing import Any

import pytest

from swarm_cli.composition import limit_memory
from swarm_liveness import LivenessListener
from swarm_liveness._judging import container
from swarm_supervisor.events import Scaled


class Supervisor:
    """Keeps what is subscribed."""

    def __init__(self) -> None:
        self.listeners: dict[type, Any] = {}

    def on(self, kind: type) -> Any:
        return lambda listener: self.listeners.setdefault(kind, listener)


def test_more_nodes_get_less_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "container_limit_mb", lambda: 100_000.0)
    supervisor, listener = Supervisor(), LivenessListener(memory_share=0.8)
    limit_memory(supervisor, listener, 4)  # type: ignore[arg-type]
    four = listener.limits.memory_limit
    assert four is not None
    supervisor.listeners[Scaled](Scaled(at=0.0, before=4, after=8))
    eight = listener.limits.memory_limit
    assert eight is not None
    # The preload of all, which is this process, may have grown a little between the two looks.
    assert eight == pytest.approx(four / 2, rel=0.01)
    assert 8 * eight < 0.8 * 100_000


def test_a_limit_in_mb_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor, listener = Supervisor(), LivenessListener(memory_limit=500)
    limit_memory(supervisor, listener, 4)  # type: ignore[arg-type]
    assert supervisor.listeners == {}
    assert listener.limits.memory_limit == 500
