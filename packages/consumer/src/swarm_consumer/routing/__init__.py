"""Which consumer gets which topics: routes, subscription groups, settings, dead-letter limits."""

from __future__ import annotations

from swarm_consumer.routing.declared_topics import DeclaredTopic
from swarm_consumer.routing.routes import Property, Route, SubscriptionGroup, placed

__all__ = ["DeclaredTopic", "Property", "Route", "SubscriptionGroup", "placed"]
