"""The bus: passes events to listeners and to the log, and contains their exceptions."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from swarm_consumer._reporting.repeated_failures import RepeatedFailures
from swarm_consumer.events import ErrorOccurred, Event
from swarm_consumer.wording.folded_traceback import folded
from swarm_consumer.wording.plain_text import tell_broken_log

logger = logging.getLogger("swarm_consumer")

Listener = Callable[[Any], object]


class Bus:
    """Passes each event to its listeners, on the thread where it happened, and to the log.

    `emit` never raises an exception of a listener, a log handler or a filter, not even SystemExit or an error whose
    text cannot be read. It is reported. Ctrl-C raises KeyboardInterrupt wherever the main thread
    is; it is kept in `interruption`, and `on_interruption` is called.
    """

    def __init__(self) -> None:
        self._listeners: list[tuple[type[Event], Listener]] = []
        self._log_failures = 0
        self._repeated = RepeatedFailures()
        self._repeated_lock = threading.Lock()
        self.context = ""
        self.interruption: KeyboardInterrupt | None = None
        self.on_interruption: Callable[[], None] | None = None

    def subscribe(self, listener: Listener, event: type[Event] = Event) -> None:
        """Call `listener` with every event of type `event` (every event at all by default)."""
        self._listeners = [*self._listeners, (event, listener)]

    def wants(self, event: type[Event]) -> bool:
        """Whether an event of this type has a listener or log; otherwise frequent events are not even created."""
        return logger.isEnabledFor(event.level) or any(issubclass(event, wanted) for wanted, _ in self._listeners)

    def emit(self, event: Event) -> None:
        """Log the event and call its listeners. An exception is reported and affects no other listener."""
        self._log(event)
        for wanted, listener in self._listeners:
            if isinstance(event, wanted):
                try:
                    listener(event)
                except BaseException as error:  # noqa: BLE001  a listener must not affect others
                    self._note_interruption(error)
                    self._report(listener, event, error)

    def call(self, where: str, callback: Callable[[], Any]) -> Any:
        """Call a function of the application; return its result, or None if it raises, which is reported."""
        try:
            return callback()
        except BaseException as error:  # noqa: BLE001  it must not affect others
            self._note_interruption(error)
            self.emit(ErrorOccurred(where=where, error=error))
            return None

    def raise_interruption(self) -> None:
        """Raise the KeyboardInterrupt that arrived during an event, if any."""
        interruption, self.interruption = self.interruption, None
        if interruption is not None:
            raise interruption

    def _report(self, listener: Listener, event: Event, error: BaseException) -> None:
        name = getattr(listener, "__qualname__", type(listener).__name__)
        report = ErrorOccurred(where=f"listener {name} for {type(event).__name__}", error=error)
        if isinstance(event, ErrorOccurred):  # the listener of errors raises itself, so only the log is left
            self._log(report)
        else:
            self.emit(report)

    def _log(self, event: Event) -> None:
        try:
            if logger.isEnabledFor(_level_of(event)):
                with self._repeated_lock:
                    telling = self._repeated.judge(event, time.monotonic())
                if telling.summary is not None:
                    logger.log(_level_of(event), "%s%s", self.context, telling.summary)
                if telling.line:
                    self._tell(event, telling.traceback)
        except BaseException as error:  # noqa: BLE001  logging catches what handlers raise, but not what filters do
            self._note_interruption(error)
            self._log_failures += 1
            tell_broken_log(self._log_failures, event, error)

    def tell_repeated(self, *, at_the_end: bool = False) -> None:
        """Log the number of repeated failures that were only counted. Call this about once a second."""
        with self._repeated_lock:
            due = self._repeated.due(time.monotonic(), all_of_them=at_the_end)
        for level, text in due:
            try:
                logger.log(level, "%s%s", self.context, text)
            except BaseException as error:  # noqa: BLE001  see _log
                self._note_interruption(error)
                self._log_failures += 1
                tell_broken_log(self._log_failures, text, error)

    def _tell(self, event: Event, with_traceback: bool) -> None:
        error = getattr(event, "error", None)
        if not (with_traceback and isinstance(error, BaseException) and _level_of(event) >= logging.ERROR):
            logger.log(_level_of(event), "%s%s", self.context, event, extra={"event": event})
            return
        # A record that brings its text is not formatted again (logging.Formatter.format); the error itself stays in
        # exc_info, for handlers that send it somewhere.
        trace = (type(error), error, error.__traceback__)
        name, level, extra = logger.name, _level_of(event), {"event": event}
        record = logger.makeRecord(name, level, __file__, 0, "%s%s", (self.context, event), trace, "emit", extra)
        record.exc_text = folded(error)
        logger.handle(record)

    def _note_interruption(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            self.interruption = error
            if self.on_interruption is not None:
                self.on_interruption()


def _level_of(event: Event) -> int:
    """The level to log an event at: an event that ends the node is always an error."""
    return logging.ERROR if getattr(event, "fatal", False) else event.level
