"""What each node opens for itself: a connection made in the node, never inherited from the supervisor."""

import sqlite3
import sys

from swarm_supervisor import Node, Supervisor, events

connections: list[sqlite3.Connection] = []


def work(node: Node) -> int:
    """Use the connection of this process."""
    (answer,) = connections[0].execute("select 1 + 1").fetchone()
    node.healthy()
    return 0 if answer == 2 and len(connections) == 1 else 1


supervisor = Supervisor(work, nodes=2, restart="on-failure", on_crash_loop="exit")


@supervisor.on(events.NodeStarted)
def connect(event: events.NodeStarted) -> None:
    """Connect: this runs in the node."""
    connections.append(sqlite3.connect(":memory:"))


if __name__ == "__main__":
    sys.exit(supervisor.run())
