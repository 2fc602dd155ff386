"""Run a swarm of Kafka consumer processes: one command, one supervisor, N forked nodes."""

__version__ = "0.1.0"
