"""What a swarm holds at one moment."""

from dataclasses import dataclass


@dataclass(slots=True)
class Sample:
    """What a supervisor holds while all its nodes run and nothing is under way."""

    at: float
    pid: int
    descriptors: int
    threads: int
    resident_mb: float
    zombies: int
    node_descriptors: int
    node_threads: int
