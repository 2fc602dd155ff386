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


supervisor = Supervisor(count, nodes=2, node_restart_delay=0.5)


@supervisor.on(events.NodeRunning)
@supervisor.on(events.NodeExited)
@supervisor.on(events.NodeRestarting)
def show(event: events.Event) -> None:
    """Write an event: its text is fit for a log."""
    sys.stdout.write(f"{event}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(supervisor.run())
