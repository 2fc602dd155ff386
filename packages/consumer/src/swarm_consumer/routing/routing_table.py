"""The routing table as text: topics, handlers, settings, and the source of each property."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from swarm_consumer.kafka.redaction import redacted
from swarm_consumer.routing.routes import Route, SubscriptionGroup
from swarm_consumer.routing.settings import TopicSettings

_DEFAULTS = dataclasses.asdict(TopicSettings())


def routing_table(groups: Iterable[SubscriptionGroup]) -> str:
    """Return one block for each subscription group: its topics, and its properties without secrets."""
    return "\n\n".join(_block(group) for group in groups) or "nothing is consumed"


def _block(group: SubscriptionGroup) -> str:
    lines = [f"subscription group {group.name} of consumer group {group.consumer_group}"]
    lines += [f"  {_topic(route)}" for route in group.routes]
    shown = redacted({name: given.value for name, given in group.properties.items()})
    width = max(map(len, shown), default=0)
    lines += [f"    {name:<{width}} = {shown[name]}  ({group.properties[name].where})" for name in sorted(shown)]
    return "\n".join(lines)


def _topic(route: Route) -> str:
    kind = "pattern" if route.is_pattern else "topic"
    body = getattr(route.consumer, "function", None) or route.consumer
    handler = getattr(body, "__qualname__", type(body).__qualname__)
    settings = dataclasses.asdict(route.settings)
    own = [f"{name}={value}" for name, value in settings.items() if value != _DEFAULTS[name]]
    inactive = [] if route.active else ["inactive"]
    return ", ".join([f"{kind} {route.topic} -> {handler}", *own, *inactive])
