"""A subscription group with its Kafka client: the shared state, and the thread that owns the client."""

from __future__ import annotations

import threading
from collections.abc import Callable

from swarm_consumer._connection.client_properties import ClientProperties
from swarm_consumer._connection.group_state import GroupState, Handlers
from swarm_consumer._connection.owner import Owner
from swarm_consumer._connection.workers import Workers
from swarm_consumer._reporting.bus import Bus
from swarm_consumer.kafka.clients import ClientFactory
from swarm_consumer.routing.routes import SubscriptionGroup


class SubscriptionClient(GroupState):
    """One subscription group, and its owner thread once it is started."""

    def __init__(
        self,
        group: SubscriptionGroup,
        clients: ClientFactory,
        properties: ClientProperties,
        workers: Workers,
        execution: Handlers,
        bus: Bus,
        wake: Callable[[], None],
        revocation_timeout_s: float,
    ) -> None:
        super().__init__(group, workers, execution, bus, wake)
        self._owner = Owner(self, clients, properties, revocation_timeout_s)
        self.thread = threading.Thread(target=self._owner.run, name=f"swarm-owner-{group.name}"[:60], daemon=True)

    def start(self) -> None:
        """Start the owner thread, which makes the client."""
        self.thread.start()
