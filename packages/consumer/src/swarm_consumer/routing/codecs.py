"""Which codec is used for what is produced to a topic: the one that the app reads the topic with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swarm_consumer._payloads.codec import DEFAULT, Codec, Headers
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.routing.routes import Route, SubscriptionGroup


class TopicCodecs:
    """The codecs of an app, by topic."""

    def __init__(self, groups: Iterable[SubscriptionGroup]) -> None:
        # With the topics that their subscription group has routes of their own for: its pattern does not read those.
        self._routes = [
            (route, frozenset(other.topic for other in group.routes))
            for group in groups
            for route in group.routes
            if route.decoders.codec is not None
        ]
        self._known: dict[str, Codec] = {}

    def of(self, topic: str) -> Codec:
        """Return the codec of a topic: by its name, else by the patterns that read it, else the default."""
        if not self._routes:
            return DEFAULT
        if topic not in self._known:
            matching = [route for route, _ in self._routes if route.topic == topic] or [
                route
                for route, names in self._routes
                if route.is_pattern and route.covers(topic) and topic not in names
            ]
            codecs = {id(codec): codec for route in matching if (codec := route.decoders.codec) is not None}
            found = next(iter(codecs.values()), DEFAULT)
            self._known[topic] = found if len(codecs) < 2 else _Undecided(topic, matching)
        return self._known[topic]


class _Undecided(Codec):
    """Stands where an app reads one topic with several codecs: to take just any of them could leak a secret."""

    def __init__(self, topic: str, routes: Iterable[Route]) -> None:
        self._topic = topic
        self._handlers = ", ".join(route.handler for route in routes)

    def decode(self, value: bytes, headers: Headers) -> Any:
        """Refuse."""
        raise NotImplementedError

    def encode(self, payload: Any) -> bytes:
        """Refuse."""
        raise ConfigurationError(
            f"topic {self._topic!r} is read with several codecs ({self._handlers}): say which one to produce with, "
            f"produce(..., codec=...)"
        )
