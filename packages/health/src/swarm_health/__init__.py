"""A typed, versioned health protocol over pipes, for supervised processes.

``pipe()`` makes a `Reader` for the watcher and a `Writer` for the watched process::

    reader, writer = swarm_health.pipe()
    writer.healthy()
    writer.unhealthy(Status.MEMORY, "612 MB of 512 MB used")
    reading = reader.read()         # reading.status == Status.MEMORY
"""

from __future__ import annotations

from swarm_health.accounts import Accounts, PartitionAccount, Totals
from swarm_health.pipe import Reader, Reading, Writer, pipe
from swarm_health.reports import (
    Healthy,
    NodeStatistics,
    PartitionStatistics,
    Ready,
    Recycle,
    Report,
    Statistics,
    Stopping,
    TopicStatistics,
    Unhealthy,
)
from swarm_health.status import Status, worst

__version__ = "0.1.0"

__all__ = [
    "Accounts",
    "Healthy",
    "NodeStatistics",
    "PartitionAccount",
    "PartitionStatistics",
    "Reader",
    "Reading",
    "Ready",
    "Recycle",
    "Report",
    "Statistics",
    "Status",
    "Stopping",
    "TopicStatistics",
    "Totals",
    "Unhealthy",
    "Writer",
    "__version__",
    "pipe",
    "worst",
]
