"""A Kafka consumer runtime that loses nothing: batches, typed payloads, at-least-once by construction."""

__version__ = "0.1.0"
