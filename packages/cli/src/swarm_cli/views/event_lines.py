"""Events of a supervisor for an operator: one line each, with the time of day."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from swarm_cli.operation import say
from swarm_cli.views.figures import printable

if TYPE_CHECKING:
    from swarm_supervisor.events import Event as TypedEvent

Event = dict[str, Any]
"""An event as the control socket sends it: "event" is its kind, "at" the monotonic moment in seconds."""


def noteworthy(event: Event) -> bool:
    """Whether an event is more than routine (reports, loop turns): the events that a log shows at level info."""
    return level(event) > logging.DEBUG


def level(event: Event) -> int:
    """The severity of an event, as a level of the logging module. An event that this version does not know is shown."""
    typed = _typed(event)
    if typed is not None:
        return typed.severity
    from swarm_supervisor.events import every_event

    kind = every_event().get(event["event"])
    return logging.INFO if kind is None else kind.level


def text(event: Event) -> str:
    """What happened, in one line or, for stacks, in several."""
    typed = _typed(event)
    if typed is not None:
        return str(typed)
    if event["event"] == "Dropped":
        return f"{event.get('count')} events were dropped: this reader is too slow"
    fields = ", ".join(f"{name} {value}" for name, value in event.items() if name not in ("event", "at"))
    return f"{event['event']}: {fields}" if fields else str(event["event"])


def moment(event: Event) -> datetime:
    """The time of day of an event, from its age by the monotonic clock, which all processes of a machine share."""
    age_s = time.monotonic() - float(event["at"])
    return datetime.fromtimestamp(time.time() - age_s, tz=UTC)


def line(event: Event) -> str:
    """The event with its local time of day."""
    local = moment(event).astimezone()
    return f"{local:%H:%M:%S}.{local.microsecond // 1000:03d} {printable(text(event), lines=True)}"


def json_line(event: Event) -> str:
    """The event with "time" (UTC, ISO 8601), "level" and "text" beside its own fields."""
    import msgspec

    stamp = moment(event).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    severity = logging.getLevelName(level(event)).lower()
    return msgspec.json.encode({**event, "time": stamp, "level": severity, "line": text(event)}).decode()


def _typed(event: Event) -> TypedEvent | None:
    import msgspec

    from swarm_supervisor.events import every_event

    kind = every_event().get(event["event"])
    if kind is None:
        return None
    try:
        return msgspec.convert(event, kind)
    except msgspec.ValidationError:
        return None  # a supervisor of another version


def teller(silent: bool) -> Callable[[Event], None]:
    """The function that prints notable events while a command waits; it prints nothing if the output is JSON."""

    def tell(event: Event) -> None:
        if not silent and noteworthy(event):
            say(line(event))

    return tell
