"""Listeners of events, and the log."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from swarm_supervisor._containment import ListenerFailedError, must_pass, name_of, text_of
from swarm_supervisor._core.repeats import Repeats
from swarm_supervisor._slowest import Slowest
from swarm_supervisor.events import ErrorOccurred, Event, NodeStarted, StacksDumped

logger = logging.getLogger("swarm_supervisor")

F = TypeVar("F", bound=Callable[[Any], None])
Listener = Callable[[Any], None]


class Listeners:
    """The listeners of a supervisor. Each takes one event; an exception in one is reported and affects no other.

    The log is one of them: an application's log handler or filter may raise like any listener.
    """

    def __init__(self) -> None:
        self.errors = 0
        self.slowest = Slowest()
        self._repeats = Repeats()
        self.called_out: Callable[[], None] = lambda: None
        """Called after each call of application code in the supervisor."""
        self.pid = os.getpid()
        """The process that contains errors: see `containment.must_pass`."""
        self._every: list[Listener] = []
        self._sometimes: list[tuple[Listener, Callable[[], bool]]] = []
        self._typed: dict[type[Event], list[Listener]] = {}

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Send a listener every event. Returns a function that ends it."""
        self._every.append(listener)

        def end() -> None:
            if listener in self._every:
                self._every.remove(listener)

        return end

    def subscribe_for(self, listener: Listener, wanted: Callable[[], bool]) -> Callable[[], None]:
        """Send a listener every event while it wants any. Returns a function that ends it."""
        entry = (listener, wanted)
        self._sometimes.append(entry)
        return lambda: self._sometimes.remove(entry)

    def on(self, kind: type[Event]) -> Callable[[F], F]:
        """Call the decorated function for one kind of event, or for all kinds below a base class.

        TypeError if it is not a kind of event.
        """
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise TypeError(f"on() takes a class of swarm_supervisor.events, not {kind!r}")

        def decorate(listener: F) -> F:
            self._typed.setdefault(kind, []).append(listener)
            return listener

        return decorate

    def wants(self, kind: type[Event]) -> bool:
        """Whether anything listens, so that frequent events are only created when needed."""
        if self._every or any(each in self._typed for each in kind.__mro__) or _logged(kind):
            return True
        return bool(self._sometimes) and any(wanted() for _, wanted in self._sometimes)

    def tell(self, event: Event) -> None:
        """Log an event and call the listeners. Exceptions of listeners and log handlers are contained."""
        self._tell(_log, event)
        for kind in type(event).__mro__:
            for listener in tuple(self._typed.get(kind, ())):  # one may register another
                self._tell(listener, event)
        for listener in (*self._every, *(each for each, wanted in self._sometimes if wanted())):
            self._tell(listener, event)

    def contain(self, where: str, error: BaseException, node_id: int | None = None) -> None:
        """Report an error, and raise it again if it must not be contained."""
        if must_pass(error, self.pid):
            raise error
        note(logging.DEBUG, "error in %s", where, error=error)
        self._tell_failure(where, text_of(error), node_id)

    def tell_in_node(self, event: NodeStarted) -> None:
        """In a node: call the listeners of `NodeStarted`. Listeners of every event belong to the supervisor.

        `ListenerFailedError` if one raises: it is the place to connect, and a target without its connection is of no
        use. The node ends with that reason and is restarted; sys.exit() in a listener ends it as in the target.
        """
        note(event.level, "%s", event)
        for listener in self._typed.get(type(event), ()):
            try:
                listener(event)
            except SystemExit:
                raise
            except BaseException as error:
                raise ListenerFailedError(f"listener {name_of(listener)} raised {text_of(error)}") from error

    def timed(self, name: Callable[[], str], callback: Callable[..., None], *arguments: Any) -> None:
        """Call application code, note how long it blocked the supervisor, and contain handlers that it installed."""
        try:
            self.slowest.call(name, callback, *arguments)
        finally:
            self.called_out()

    def _tell(self, listener: Listener, event: Event) -> None:
        try:
            # The search for installed handlers, 20 us, is skipped for the log: it installs none.
            call = self.slowest.call if listener is _log else self.timed
            call(lambda: f"{_called(listener)} of {type(event).__name__}", listener, event)
        except BaseException as error:
            if must_pass(error, self.pid):
                raise
            self.errors += 1
            if not isinstance(event, ErrorOccurred):  # a listener of errors that raises is not called for its own error
                where = f"{_called(listener)} of {type(event).__name__}"
                note(logging.DEBUG, "%s raised", where, error=error)
                self._tell_failure(where, text_of(error))

    def _tell_failure(self, where: str, error: str, node_id: int | None = None) -> None:
        now = time.monotonic()
        times = self._repeats.count((where, error, node_id), now)
        self.tell(ErrorOccurred(at=now, where=where, error=error, node_id=node_id, times=times))


def note(level: int, message: str, *values: object, error: BaseException | None = None) -> None:
    """Log a line of the supervisor itself. An exception in a handler or filter is dropped: it cannot be reported."""
    try:
        logger.log(level, message, *values, exc_info=error)
    except BaseException as raised:
        if must_pass(raised, os.getpid()):
            raise


def _called(listener: Listener) -> str:
    return "the log" if listener is _log else f"listener {name_of(listener)}"


def _logged(kind: type[Event]) -> bool:
    try:
        return logger.isEnabledFor(kind.level)
    except Exception:  # noqa: BLE001  the application's logger class raised; it will raise again for the listeners
        return True


def _log(event: Event) -> None:
    if logger.isEnabledFor(severity := event.severity):
        for text in event.parts() if isinstance(event, StacksDumped) else (event,):
            logger.log(severity, "%s", text)
