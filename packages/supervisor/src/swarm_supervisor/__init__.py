"""A fork supervisor: loads once, forks N nodes copy-on-write, watches and restarts them.

::

    def work(node):
        while not node.stopping.is_set():
            node.healthy()
            ...

    sys.exit(Supervisor(work, nodes=4).run())
"""

from __future__ import annotations

from swarm_supervisor import events
from swarm_supervisor._control_client import ControlClient, ControlError
from swarm_supervisor._flags import Flag
from swarm_supervisor._node import Node
from swarm_supervisor._snapshot import NodeSnapshot, Snapshot
from swarm_supervisor._supervisor import Supervisor
from swarm_supervisor.fork import ChildFailed, run_in_child
from swarm_supervisor.settings import DO_NOT_RESTART, Settings, SettingsError
from swarm_supervisor.threads import ForkRefusedError

__version__ = "0.1.0"

__all__ = [
    "DO_NOT_RESTART",
    "ChildFailed",
    "ControlClient",
    "ControlError",
    "Flag",
    "ForkRefusedError",
    "Node",
    "NodeSnapshot",
    "Settings",
    "SettingsError",
    "Snapshot",
    "Supervisor",
    "__version__",
    "events",
    "run_in_child",
]
