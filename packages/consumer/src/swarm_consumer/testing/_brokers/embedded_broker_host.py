"""The embedded broker's own process: it hosts a mock cluster and obeys its owner.

`embedded_broker.py` is the owner's view.
Started as ``python -m swarm_consumer.testing._brokers.embedded_broker_host OWNER_PID``; the first request is ``start``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from swarm_consumer.testing._brokers.host_channel import Channel, OwnerGone
from swarm_consumer.testing._brokers.librdkafka import MissingSymbols
from swarm_consumer.testing._brokers.mock_cluster import Cluster, MockCluster
from swarm_consumer.testing._brokers.plain_cluster import PlainCluster
from swarm_consumer.testing.errors import BrokerError


class Host:
    """Hosts one cluster, made by the first request."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None

    def handle(self, command: str, arguments: dict[str, Any]) -> object:
        """Carry out one request of the owner."""
        if command == "start":
            return self._start(**arguments)
        if self._cluster is None:
            raise BrokerError("The first request to an embedded broker must be 'start'.")
        return self._cluster.execute(command, arguments)

    def _start(self, brokers: int, ports: list[int], hidden: list[str]) -> dict[str, object]:
        try:
            self._cluster = MockCluster(brokers, ports, hidden)
        except MissingSymbols as error:
            self._cluster = PlainCluster(brokers, ports, str(error))
        return {
            "bootstrap": self._cluster.bootstrap,
            "capabilities": sorted(self._cluster.capabilities),
            "limitation": self._cluster.limitation,
        }


def main() -> None:
    """Serve the owner whose process id is the first argument until it ends."""
    channel = Channel(int(sys.argv[1]))
    try:
        channel.serve(Host().handle)
    except OwnerGone:
        # The cluster is memory of this process; freeing it would only wait for librdkafka's threads.
        os._exit(0)


if __name__ == "__main__":
    main()
