"""Which failures are logged in full, which in one line, and which are only counted. Pure: the caller passes the time.

A topic with a wrong schema fails on every record, hundreds of times a second. The first failure of a kind is logged
with its traceback; further ones within ten seconds are counted, and the count is logged in one line. Two failures are
of one kind if the same line of the application raised the same type of error, for the same topic and kind of event.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from types import TracebackType

from swarm_consumer.events import ClientError, Committed, Event, describe
from swarm_consumer.wording.folded_traceback import is_ours

PERIOD_S = 10.0
"""Failures of one kind within this time are one line."""
FORGET_S = 600.0
"""A kind that was not seen for this time is logged with its traceback again."""
MOST_KINDS = 256
"""Number of kinds to remember; the one seen longest ago is dropped."""
MOST_PARTITIONS = 1000

Kind = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Telling:
    """How to log one failure."""

    line: bool
    traceback: bool
    summary: str | None = None
    """The line to log first: how many were counted before."""


@dataclass(slots=True)
class _Known:
    """A kind of failure that was seen recently."""

    level: int
    period_began: float
    last_at: float
    counted: int = 0
    last_text: str = ""
    partitions: set[tuple[str, int]] = field(default_factory=set)


class RepeatedFailures:
    """Remembers kinds of failures, within bounds."""

    def __init__(self) -> None:
        self._known: OrderedDict[Kind, _Known] = OrderedDict()
        self._forgotten = 0
        """Counted failures of dropped kinds."""

    def judge(self, event: Event, now: float) -> Telling:
        """Return how to log the event. An event that is not a failure, or has no kind, is always logged."""
        kind = kind_of(event)
        if kind is None:
            return Telling(line=True, traceback=True)
        known = self._known.get(kind)
        if known is None or now - known.last_at > FORGET_S:
            self._forgotten += known.counted if known is not None else 0
            self._remember(kind, _Known(event.level, now, now))
            return Telling(line=True, traceback=True)
        known.last_at = now
        self._known.move_to_end(kind)
        if now - known.period_began < PERIOD_S:
            known.counted += 1
            known.last_text = text_of(event)
            topic, partition = getattr(event, "topic", None), getattr(event, "partition", None)
            if topic is not None and partition is not None and len(known.partitions) < MOST_PARTITIONS:
                known.partitions.add((topic, partition))
            return Telling(line=False, traceback=False)
        summary = self._summary(known, now)
        return Telling(line=True, traceback=False, summary=summary)

    def due(self, now: float, *, all_of_them: bool = False) -> list[tuple[int, str]]:
        """Return (level, line) for each kind whose period is over and has counted failures; at the end for all."""
        found = []
        for known in self._known.values():
            if known.counted and (all_of_them or now - known.period_began >= PERIOD_S):
                found.append((known.level, self._summary(known, now) or ""))
        if self._forgotten:
            found.append((logging.ERROR, f"{self._forgotten:,} more errors of many kinds, not logged one by one"))
            self._forgotten = 0
        return found

    def _summary(self, known: _Known, now: float) -> str | None:
        """Start a new period. Returns the line for the old one, or None."""
        counted, partitions, took = known.counted, known.partitions, now - known.period_began
        known.period_began, known.counted, known.partitions = now, 0, set()
        if not counted:
            return None
        where = f" in {len(partitions)} partitions" if len(partitions) > 1 else ""
        return f"the same error, {counted:,} more in {took:.0f} s{where}; the last: {known.last_text}"

    def _remember(self, kind: Kind, known: _Known) -> None:
        self._known[kind] = known
        self._known.move_to_end(kind)
        while len(self._known) > MOST_KINDS:
            self._forgotten += self._known.popitem(last=False)[1].counted


def kind_of(event: Event) -> Kind | None:
    """Return the key of a failure's kind; None for other events."""
    name = type(event).__name__
    if isinstance(event, ClientError):
        return None if event.fatal else (name, event.subscription_group, event.code)
    if isinstance(event, Committed):
        return (name, event.subscription_group, event.error) if event.error else None
    error = getattr(event, "error", None)
    if not isinstance(error, BaseException):
        return None
    where = getattr(event, "where", "")
    return (name, str(getattr(event, "topic", "")), str(where), type(error).__qualname__, place_of(error))


def place_of(error: BaseException) -> str:
    """Return the innermost line of the application that raised it, or its text if there is none."""
    found = ""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if not is_ours(filename):
            found = f"{filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found or describe(error)[:200]


def text_of(event: Event) -> str:
    """Return the event's line, or the name of its type if its text cannot be created."""
    try:
        return str(event)
    except Exception:  # noqa: BLE001  an error's __str__ may raise
        return type(event).__name__
