"""The part of an application that a runtime needs. `App` implements it."""

from __future__ import annotations

from typing import Any, Protocol

from swarm_consumer._handling.hooks import Hooks
from swarm_consumer._reporting.bus import Bus
from swarm_consumer.routing.routes import Property, SubscriptionGroup


class Application(Protocol):
    """Declarations: subscriptions, their properties, and listeners."""

    client_id: str
    concurrency: int
    revocation_timeout: float | None
    producer_properties: dict[str, Any]
    bus: Bus
    hooks: Hooks
    _properties: dict[str, Property]

    def subscription_groups(self) -> list[SubscriptionGroup]:
        """Return every subscription group with its routes."""
