"""Liveness of Kafka consumers and other workers: heartbeat, polling, consuming, memory, stability."""

from swarm_liveness.listener import LivenessListener
from swarm_liveness.memory import ProcessMemory
from swarm_liveness.memory_watch import MemorySample
from swarm_liveness.protocols import Loop, Observable, PollStamp, Reporter, RunStamp
from swarm_liveness.settings import LivenessSettingsError
from swarm_liveness.verdict import Finding, Verdict

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
