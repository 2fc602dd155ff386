"""`--progress-memory`: what the nodes' notes are kept in, made before the first fork."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from swarm_cli.errors import UsageError

if TYPE_CHECKING:
    from swarm_consumer.progress import ProgressMemory

logger = logging.getLogger("swarm_cli")

LEAST_NODES = 64
"""Node ids with room for notes, at least: a swarm may be scaled up while it runs, and unused room costs nothing."""


def progress_memory(setting: str, nodes: int) -> ProgressMemory | None:
    """Return the memory for a swarm of `nodes` nodes; None for "off".

    With "auto" the notes end with the last process of the swarm, and a machine that refuses the memory only costs the
    feature: a warning says so. A path that cannot be used raises UsageError (exit code 2).
    """
    if setting == "off":
        return None
    from swarm_consumer import ConfigurationError
    from swarm_consumer.progress import ProgressMemory

    room = max(LEAST_NODES, 2 * nodes)
    if setting != "auto":
        try:
            return ProgressMemory(room, setting)
        except ConfigurationError as error:
            raise UsageError(f"--progress-memory: {error}.") from error
    try:
        return ProgressMemory(room)
    except ConfigurationError as error:
        logger.warning("nodes start at committed offsets after a death, because their progress is not kept: %s", error)
        return None
