"""From the users' declarations to routes and to subscription groups that share a client."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from swarm_consumer._handling.consumer import Consumer
from swarm_consumer._payloads.deserialization import Decoders
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.kafka.redaction import is_secret
from swarm_consumer.routing.dead_letter_loops import check_dead_letters
from swarm_consumer.routing.settings import DEFAULT_ASSIGNOR, DEFAULT_PROPERTIES, TopicSettings


@dataclass(frozen=True, kw_only=True)
class Property:
    """A client property and its source, for error messages."""

    value: Any
    where: str


@dataclass(frozen=True, kw_only=True)
class Route:
    """One topic, or pattern of topics, of one consumer group, with its handler."""

    topic: str
    """A pattern starts with ^."""
    group: str
    consumer: type[Consumer]
    decoders: Decoders
    settings: TopicSettings
    properties: Mapping[str, Property]
    explicit_subscription_group: str | None = None
    active: bool = True
    place: str = ""
    """file:line of the declaration."""

    @property
    def is_pattern(self) -> bool:
        """Whether `topic` is a regular expression."""
        return self.topic.startswith("^")

    @property
    def handler(self) -> str:
        """The handler with the place of its declaration, for error messages."""
        return f"{self.consumer.__qualname__}{f' at {self.place}' if self.place else ''}"

    def covers(self, topic: str) -> bool:
        """Whether a topic of this name would be consumed: by its name, or by a pattern that begins to match it."""
        return re.match(self.topic, topic) is not None if self.is_pattern else self.topic == topic

    @functools.cached_property
    def hooks(self) -> frozenset[str]:
        """The optional hooks that the consumer class defines."""
        names = ("initialized", "revoked", "shutdown", "tick", "eofed", "wrap")
        return frozenset(name for name in names if getattr(self.consumer, name) is not getattr(Consumer, name))


@dataclass(frozen=True, kw_only=True)
class SubscriptionGroup:
    """Topics of one consumer group with equal client properties, which share one client and one owner thread."""

    name: str
    consumer_group: str
    routes: tuple[Route, ...]
    properties: Mapping[str, Property] = field(repr=False)

    @property
    def topics(self) -> tuple[str, ...]:
        """The subscribed topic names and patterns, sorted."""
        return tuple(sorted(route.topic for route in self.routes))

    @property
    def largest_batch(self) -> int:
        """The most messages that any of its handlers is given at once."""
        return max(route.settings.max_messages for route in self.routes)

    @property
    def max_poll_interval_s(self) -> float:
        """max.poll.interval.ms in seconds."""
        given = self.properties.get("max.poll.interval.ms")
        return int(given.value) / 1000 if given is not None else 300.0

    @property
    def protocol(self) -> str:
        """group.protocol: classic or consumer."""
        given = self.properties.get("group.protocol")
        return "classic" if given is None else str(given.value).lower()

    @property
    def session_timeout_s(self) -> float:
        """session.timeout.ms in seconds; under group.protocol=consumer the broker sets it, and no client knows it."""
        given = self.properties.get("session.timeout.ms")
        return int(given.value) / 1000 if given is not None else 45.0

    @property
    def commit_interval_s(self) -> float:
        """auto.commit.interval.ms in seconds."""
        given = self.properties.get("auto.commit.interval.ms")
        return int(DEFAULT_PROPERTIES["auto.commit.interval.ms"] if given is None else given.value) / 1000

    def route_of(self, topic: str) -> Route | None:
        """Return the route for a topic that was assigned: by name, else by the first pattern that matches."""
        patterns = []
        for route in self.routes:
            if route.topic == topic:
                return route
            if route.is_pattern:
                patterns.append(route)
        for route in patterns:
            if route.covers(topic):
                return route
        # librdkafka's and the broker's regular expressions differ from Python's; with a single pattern there is no
        # doubt.
        return patterns[0] if len(patterns) == 1 else None


class Routed(Protocol):
    """Something that has subscription groups: an App."""

    def subscription_groups(self) -> list[SubscriptionGroup]:
        """Return all of them."""


def merge(*layers: Mapping[str, Property]) -> dict[str, Property]:
    """Return the properties of all layers; later ones override earlier ones."""
    merged: dict[str, Property] = {}
    for layer in layers:
        merged.update(layer)
    return merged


def placed(kafka: Mapping[str, Any], where: str) -> dict[str, Property]:
    """Return the properties with their source."""
    return {name: Property(value=value, where=where) for name, value in kafka.items()}


def subscription_groups(routes: Iterable[Route], base: Mapping[str, Mapping[str, Property]]) -> list[SubscriptionGroup]:
    """Group routes that can share a client; `base` holds each consumer group's own properties.

    The names do not depend on the order of definition or on later filters, because static membership
    depends on them: topics with their group's properties form the subscription group named like the group, others
    form one named after a digest of their properties, and an explicit name is kept.
    Raises ConfigurationError for two clients under one name and for a topic claimed twice in a group.
    """
    buckets: dict[tuple[str, str], list[Route]] = {}
    seen: dict[tuple[str, str], Route] = {}
    for route in routes:
        twin = seen.setdefault((route.group, route.topic), route)
        if twin is not route:
            raise ConfigurationError(
                f"topic {route.topic!r} is declared twice in group {route.group!r}, for {twin.handler} and "
                f"{route.handler}; give one of them another group"
            )
        name = route.explicit_subscription_group or _default_name(route, base.get(route.group, {}))
        buckets.setdefault((route.group, name), []).append(route)
    groups: dict[str, SubscriptionGroup] = {}
    for (group, name), members in sorted(buckets.items()):
        first = members[0]
        for other in members[1:]:
            different = _difference(first, other)
            if different is not None:
                raise ConfigurationError(
                    f"topics {first.topic!r} and {other.topic!r} ({first.handler}, {other.handler}) cannot share "
                    f"subscription group {name!r}: {different} differs; leave subscription_group= out of one of them"
                )
        if name in groups:
            raise ConfigurationError(
                f"two subscription groups are named {name!r}, in groups {groups[name].consumer_group!r} and {group!r}; "
                f"name one of them with subscription_group="
            )
        members = sorted(members, key=lambda route: route.topic)
        groups[name] = SubscriptionGroup(
            name=name, consumer_group=group, routes=tuple(members), properties=first.properties
        )
    _check_membership(groups.values())
    _check_patterns(groups.values())
    check_dead_letters([route for group in groups.values() for route in group.routes])
    return list(groups.values())


def _check_membership(groups: Iterable[SubscriptionGroup]) -> None:
    """Raise ConfigurationError for clients that no broker accepts in the same consumer group."""
    members: dict[str, SubscriptionGroup] = {}
    for group in groups:
        if not any(route.active for route in group.routes):
            continue
        other = members.setdefault(group.consumer_group, group)
        for name, default in (("group.protocol", "classic"), ("partition.assignment.strategy", DEFAULT_ASSIGNOR)):
            choices = [_choices(one, name, default) for one in (other, group)]
            if not choices[0] & choices[1]:
                places = " and ".join(
                    f"{', '.join(sorted(choice))} for {one.topics[0]!r} ({_place(one, name)})"
                    for one, choice in zip((other, group), choices, strict=True)
                )
                raise ConfigurationError(
                    f"all members of consumer group {group.consumer_group!r} need the same {name}: it is {places}; set "
                    f"it once, in App(kafka=...) or app.group({group.consumer_group!r}, kafka=...)"
                )


def _check_patterns(groups: Iterable[SubscriptionGroup]) -> None:
    """Raise ConfigurationError for a pattern that means one thing to librdkafka and another to the broker.

    Under the classic protocol the client matches beginnings of names; under group.protocol=consumer the broker matches
    whole names (KIP-848), so that ``^flights-`` silently matches nothing.
    """
    for group in groups:
        if group.protocol == "consumer":
            for route in group.routes:
                if route.active and route.is_pattern and re.search(r"[\w.-]$", route.topic):
                    raise ConfigurationError(
                        f"under group.protocol=consumer the pattern {route.topic!r} ({route.handler}) must match "
                        f"whole names: write {route.topic + '.*'!r} for all that start so, or {route.topic + '$'!r} "
                        f"for exactly that name"
                    )


def _choices(group: SubscriptionGroup, name: str, default: str) -> set[str]:
    given = group.properties.get(name)
    return {choice.strip() for choice in str(given.value if given is not None else default).split(",")}


def _place(group: SubscriptionGroup, name: str) -> str:
    given = group.properties.get(name)
    return given.where if given is not None else "the default"


def _client_settings(route: Route) -> dict[str, Any]:
    settings = {name: given.value for name, given in route.properties.items()}
    settings["auto.offset.reset"] = route.settings.initial_offset
    return settings


def _difference(one: Route, other: Route) -> str | None:
    mine, theirs = _client_settings(one), _client_settings(other)
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            return "initial_offset" if name == "auto.offset.reset" else f"the property {name}"
    return None


def _default_name(route: Route, base: Mapping[str, Property]) -> str:
    own = {name: given.value for name, given in base.items()}
    settings = _client_settings(route)
    if all(name == "auto.offset.reset" or own.get(name) == value for name, value in settings.items()) and (
        settings["auto.offset.reset"] == "earliest"
    ):
        return route.group
    telling = sorted((name, str(value)) for name, value in settings.items() if not is_secret(name))
    return f"{route.group}-{hashlib.sha256(repr(telling).encode()).hexdigest()[:8]}"


def instance_id(prefix: str, node_id: int | None, subscription_group: str) -> str:
    """Return the static member id: ``<prefix>_<node id>_<subscription group>``, without the node id in one process."""
    return f"{prefix}_{subscription_group}" if node_id is None else f"{prefix}_{node_id}_{subscription_group}"
