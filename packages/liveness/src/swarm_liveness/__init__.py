"""Liveness of Kafka consumers and other workers: heartbeat, polling, consuming, memory, stability."""

from __future__ import annotations

from swarm_liveness._judging.listener import LivenessListener
from swarm_liveness._judging.memory import ProcessMemory
from swarm_liveness._judging.memory_watch import MemorySample
from swarm_liveness._judging.verdict import Finding, Verdict
from swarm_liveness.protocols import Loop, Observable, PollStamp, Reporter, RunStamp
from swarm_liveness.settings import LivenessSettingsError

__version__ = "0.1.0"

__all__ = [
    "Finding",
    "LivenessListener",
    "LivenessSettingsError",
    "Loop",
    "MemorySample",
    "Observable",
    "PollStamp",
    "ProcessMemory",
    "Reporter",
    "RunStamp",
    "Verdict",
    "__version__",
]
