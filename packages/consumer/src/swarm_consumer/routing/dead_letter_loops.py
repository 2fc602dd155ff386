"""Finds loops of dead letters: a letter that returns to a handler that diverts it again runs for ever. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swarm_consumer.errors import ConfigurationError

if TYPE_CHECKING:
    from swarm_consumer.routing.routes import Route


def check_dead_letters(routes: Sequence[Route]) -> None:
    """Raise ConfigurationError for dead letters that return to their source, directly or through other topics.

    A topic of dead letters may be consumed, by a handler whose own letters go elsewhere or that has none.
    """
    following = {id(route): _consumers_of_letters(route, routes) for route in routes if route.active}
    for start in routes:
        if start.active:
            _refuse_loop(start, following)


def _consumers_of_letters(route: Route, routes: Sequence[Route]) -> list[Route]:
    letters = route.settings.dead_letters
    if letters is None or letters.topic is None:
        return []
    return [other for other in routes if other.active and other.covers(letters.topic)]


def _refuse_loop(start: Route, following: dict[int, list[Route]]) -> None:
    pending, seen = [(other, start) for other in following[id(start)]], set[int]()
    while pending:
        route, sender = pending.pop()
        if route is start:
            raise ConfigurationError(_sentence(start, sender))
        if id(route) not in seen:
            seen.add(id(route))
            pending += [(other, route) for other in following[id(route)]]


def _sentence(start: Route, sender: Route) -> str:
    assert sender.settings.dead_letters is not None
    topic = sender.settings.dead_letters.topic
    by = f"the pattern {start.topic!r}" if start.is_pattern else "that name"
    over = "" if sender is start else f", by way of {sender.topic!r} ({sender.handler})"
    return (
        f"the dead letters of {start.topic!r} go to {topic!r}, which {start.handler} consumes itself by {by}{over}: a "
        f"message that always fails would be written for ever; use another topic, or set dead_letters=None where the "
        f"letters are consumed"
    )
