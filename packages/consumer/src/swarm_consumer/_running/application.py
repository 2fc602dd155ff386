"""What a runtime needs of an application. `App` is one."""

from __future__ import annotations

from typing import Any, Protocol

from swarm_consumer._handling.hooks import Hooks
from swarm_consumer._reporting.bus import Bus
from swarm_consumer.routing.routes import Property, SubscriptionGroup


class Application(Protocol):
    """Declarations: what is subscribed to, with which properties, and who hears of it."""

    client_id: str
    concurrency: int
    revocation_timeout: float | None
    producer_properties: dict[str, Any]
    bus: Bus
    hooks: Hooks
    _properties: dict[str, Property]

    def subscription_groups(self) -> list[SubscriptionGroup]:
        """Return every subscription group with its routes."""
