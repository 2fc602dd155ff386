"""Supervise any work, without Kafka: two nodes that count, and what becomes of them on stdout."""

import sys

from swarm_supervisor import Node, Supervisor, events


def count(node: Node) -> int:
    """Run in each node: do some work, say that all is well, look whether to stop."""
    done = 0
    while not node.stopping.wait(timeout=0.2):
        done += 1
        node.healthy()
    return 0


def show(event: events.Event) -> None:
    """Write some events: the text of each is fit for a log."""
    if isinstance(event, events.NodeRunning | events.NodeExited | events.NodeRestarting):
        sys.stdout.write(f"{event}\n")
        sys.stdout.flush()


supervisor = Supervisor(count, nodes=2, node_restart_delay=0.5)
supervisor.subscribe(show)

if __name__ == "__main__":
    sys.exit(supervisor.run())
