"""Who is told about what."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from swarm_supervisor.events import ErrorOccurred, Event, NodeStarted, StacksDumped
from swarm_supervisor.node import guarded

logger = logging.getLogger("swarm_supervisor")

F = TypeVar("F", bound=Callable[[Any], None])
Listener = Callable[[Any], None]


class Listeners:
    """The listeners of a supervisor. Each takes one event; one that raises is reported and hurts nobody."""

    def __init__(self) -> None:
        self.errors = 0
        self._every: list[Listener] = []
        self._sometimes: list[tuple[Listener, Callable[[], bool]]] = []
        self._typed: dict[type[Event], list[Listener]] = {}

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell a listener everything. Returns a function that ends it."""
        self._every.append(listener)

        def end() -> None:
            if listener in self._every:
                self._every.remove(listener)

        return end

    def subscribe_for(self, listener: Listener, wanted: Callable[[], bool]) -> Callable[[], None]:
        """Tell a listener everything while it wants anything. Returns a function that ends it."""
        entry = (listener, wanted)
        self._sometimes.append(entry)
        return lambda: self._sometimes.remove(entry)

    def on(self, kind: type[Event]) -> Callable[[F], F]:
        """Tell the decorated function about one kind of event. TypeError if it is no kind of event."""
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise TypeError(f"on() takes a class of swarm_supervisor.events, not {kind!r}")

        def decorate(listener: F) -> F:
            self._typed.setdefault(kind, []).append(listener)
            return listener

        return decorate

    def wants(self, kind: type[Event]) -> bool:
        """Whether anybody would be told, so that events of which there are many need not be made for nobody."""
        if self._every or kind in self._typed or logger.isEnabledFor(kind.level):
            return True
        return bool(self._sometimes) and any(wanted() for _, wanted in self._sometimes)

    def tell(self, event: Event) -> None:
        """Log an event and tell the listeners."""
        _log(event)
        for listener in (*self._typed.get(type(event), ()), *self._every, *self._now_wanted()):
            error = guarded(listener, event)
            if error is not None:
                self.errors += 1
                if not isinstance(event, ErrorOccurred):  # a listener of errors that raises is not told of its own
                    self.tell(error)

    def _now_wanted(self) -> list[Listener]:
        return [listener for listener, wanted in self._sometimes if wanted()]

    def tell_in_node(self, event: NodeStarted) -> None:
        """In a node: tell the listeners of `NodeStarted`. Those of everything are the supervisor's."""
        _log(event)
        for listener in self._typed.get(type(event), ()):
            error = guarded(listener, event)
            if error is not None:
                logger.error("%s", error)
                for other in self._typed.get(ErrorOccurred, ()):
                    guarded(other, error)


def _log(event: Event) -> None:
    if logger.isEnabledFor(event.level):
        for text in event.parts() if isinstance(event, StacksDumped) else (event,):
            logger.log(event.level, "%s", text)
