"""Produced records: the producer, deliveries, transactions."""
