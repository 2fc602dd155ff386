"""Liveness of Kafka consumers and other workers: heartbeat, polling, consuming, memory, stability."""

__version__ = "0.1.0"
