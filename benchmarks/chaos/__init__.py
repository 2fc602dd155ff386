"""Chaos harness: a swarm on real Kafka under a seeded schedule of faults, and a ledger that counts every record."""
