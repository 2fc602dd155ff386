"""The base of all events: typed and frozen, with the time of the event and a text for a log line.

``at`` is monotonic time in seconds (CLOCK_MONOTONIC), comparable between the processes of one machine.
"""

from __future__ import annotations

import logging
from typing import ClassVar

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=True):
    """The base of all events. As JSON an event is an object whose "event" is its class name."""

    level: ClassVar[int] = logging.INFO
    """The lowest severity of this kind of event, as a level of the logging module."""
    at: float

    @property
    def severity(self) -> int:
        """The severity of this event, which is its log level."""
        return self.level


def repeated(level: int, times: int) -> int:
    """The level of something that happens for the n-th time: full level at 1, 2, 4, 8, ..., debug in between."""
    return logging.DEBUG if times & (times - 1) else level


class NodeEvent(Event, frozen=True, kw_only=True):
    """The base of the events about one process of one node."""

    node_id: int
    generation: int
    """1 for the first process of a node id, then 2, ..."""
    pid: int | None = None
