"""Keeps what each process notes about its partitions in memory that all nodes of a swarm share."""

from __future__ import annotations

from swarm_consumer._scheduling.remembrance import (
    Epitaph,
    InHand,
    Member,
    Place,
    Remembered,
    Remembrance,
    Suspects,
    Verdict,
    is_token,
)
from swarm_consumer.progress.memory import ProgressMemory

__all__ = [
    "Epitaph",
    "InHand",
    "Member",
    "Place",
    "ProgressMemory",
    "Remembered",
    "Remembrance",
    "Suspects",
    "Verdict",
    "is_token",
]
