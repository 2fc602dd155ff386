"""Eviction: members of processes that have died are removed from their group, whose partitions need not wait then.

Needs the extra swarm-consumer[evict] (kafka-python): librdkafka has no request for it. `access` says how to reach a
cluster with the properties of a librdkafka client, and `Evictor` is what a `Runtime` is given as `evict`.
"""

from __future__ import annotations

from swarm_consumer.eviction.evictor import Evictor
from swarm_consumer.eviction.library import missing, preload
from swarm_consumer.eviction.properties import Access, Unmapped, access

__all__ = ["Access", "Evictor", "Unmapped", "access", "missing", "preload"]
