"""Which consumer gets which topics: routes, subscription groups, settings, dead-letter limits."""

from __future__ import annotations

from swarm_consumer.routing.declared_topics import DeclaredTopic
from swarm_consumer.routing.routes import Property, Route, SubscriptionGroup, placed
from swarm_consumer.routing.static_ids import StaticIds

__all__ = ["DeclaredTopic", "Property", "Route", "StaticIds", "SubscriptionGroup", "placed"]
