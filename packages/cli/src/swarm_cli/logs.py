"""Log lines of a command, as text or as JSON: time, severity, node, what happened and why.

Records of the application, of librdkafka (through the client's logger) and of the packages go to one handler on
stderr, so no line appears twice. Lines of several processes never mix, and a supervisor never waits to write:
see `swarm_supervisor.logs.LineHandler`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, ClassVar

# Attributes that a record or its event may carry; also the field names of a JSON line.
FIELDS = (
    "topic", "partition", "offset", "group", "subscription_group", "first_offset", "last_offset", "attempt",
    "retry_in_s", "reason", "code",
)  # fmt: skip
# The attributes of every record, and our own; anything else came with `extra={...}`.
_OF_A_RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime", "event", "taskName"}
OURS = ("swarm_cli", "swarm_supervisor", "swarm_consumer", "swarm_liveness", "swarm_health")

# A terminal obeys escape sequences and reorders text at direction marks (https://trojansource.codes). A record may
# quote a message from Kafka, so such characters are written escaped.
_INVISIBLE = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
HARMLESS = {code: repr(chr(code))[1:-1] for code in _INVISIBLE if chr(code) not in "\n\t"}

_role = "swarm-cli"
_node: int | None = None
_handler: logging.Handler | None = None
_level = logging.INFO
_left_to_the_app = False


def name_node(node_id: int) -> None:
    """Name the node in this process's lines from now on. Called in the node, after the fork."""
    global _node, _role
    _node, _role = node_id, f"node {node_id}"


def configure(role: str, level: str, form: str, handler: logging.Handler | None = None) -> None:
    """Send every record of this process to one handler: stderr, or `handler`, at `level`, as "text" or "json".

    `role` names this process in its lines: "supervisor", "server". A supervisor never waits for its stderr.
    With the form "app" the application decides (structlog, ECS, a cloud's severity). Our lines are text until it is
    imported; then they go where its own records go. An application without logging set-up gets text.
    """
    global _role, _handler, _level, _left_to_the_app
    _role, _level = role, logging.getLevelNamesMapping()[level.upper()]
    _handler = handler or _on_stderr(role)
    _handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter(_colours(sys.stderr)))
    _left_to_the_app = form == "app"
    if _left_to_the_app:
        # logging.basicConfig in the application does nothing if the root has a handler, so ours is not put there.
        for name in OURS:
            logging.getLogger(name).addHandler(_handler)
            logging.getLogger(name).setLevel(_level)
        return
    root = logging.getLogger()
    for other in list(root.handlers):
        root.removeHandler(other)
    root.addHandler(_handler)
    root.setLevel(_level)
    logging.captureWarnings(True)


def _on_stderr(role: str) -> logging.Handler:
    if role == "server":  # a single process may wait, and needs nothing of the supervisor
        return logging.StreamHandler(sys.stderr)
    from swarm_supervisor.logs import LineHandler

    try:
        return LineHandler(sys.stderr.fileno(), patient=None if role == "supervisor" else True)
    except (OSError, ValueError, AttributeError):  # closed, or replaced by something without a descriptor
        return logging.StreamHandler(sys.stderr)


def settle() -> None:
    """Adjust the logging that the application set up on import, so that no line is lost or printed twice.

    Its terminal handlers are replaced by the one handler; handlers that write elsewhere stay. Loggers that
    logging.config disabled, because they existed before it, are enabled again.
    """
    if _handler is None:
        return
    root = logging.getLogger()
    if _left_to_the_app:
        for name in OURS:
            logging.getLogger(name).removeHandler(_handler)
        if not root.handlers:
            root.addHandler(_handler)
            root.setLevel(_level)
        return
    for logger in [root, *(each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger))]:
        if logger.name.partition(".")[0] in OURS:
            logger.disabled = False
        for handler in list(logger.handlers):
            stream = getattr(handler, "stream", None)
            if handler is not _handler and stream in (sys.stderr, sys.stdout, sys.__stderr__, sys.__stdout__):
                logger.removeHandler(handler)
                # Without its handler, a logger that does not propagate would be silent.
                logger.propagate = True
    if _handler not in root.handlers:
        root.addHandler(_handler)
    root.setLevel(_level)


def _colours(stream: Any) -> bool:
    # https://no-color.org: any non-empty value of NO_COLOR turns colours off.
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR")


def facts(record: logging.LogRecord) -> Mapping[str, Any]:
    """The record's topic, partition, offset and so on, from its own attributes or from its event."""
    event = getattr(record, "event", None)
    found = {}
    for name in FIELDS:
        value = getattr(record, name, None)
        if value is None:
            value = getattr(event, name, None)
        if value is not None:
            found[name] = value
    return found


class TextFormatter(logging.Formatter):
    """``2026-11-21 03:04:05.678 WARNING node 2 [12345] swarm_consumer: ...``."""

    COLOURS: ClassVar[dict[int, str]] = {
        logging.WARNING: "\x1b[33m",
        logging.ERROR: "\x1b[31m",
        logging.CRITICAL: "\x1b[1;31m",
    }

    def __init__(self, colours: bool = False) -> None:
        super().__init__()
        self.colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """One line for the record; a traceback follows on separate lines, in the same write."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname:<7}"
        if self.colours and (colour := self.COLOURS.get(record.levelno)):
            level = f"{colour}{level}\x1b[0m"
        # A line break inside a message would turn one record into two lines.
        message = record.getMessage().rstrip("\n").replace("\n", "\n    ").translate(HARMLESS)
        line = f"{stamp}.{int(record.msecs):03d} {level} {_role} [{record.process}] {record.name}: {message}"
        if record.exc_info:
            trace = (record.exc_text or self.formatException(record.exc_info)).translate(HARMLESS)
            line += "\n    " + trace.replace("\n", "\n    ")
        return line

    def formatException(self, ei: Any) -> str:
        """The traceback, made safe for a terminal, because the text of an error may quote a message."""
        return super().formatException(ei).translate(HARMLESS)

    def shorten(self, line: str, limit: int) -> str:
        """The line in at most `limit` bytes."""
        from swarm_supervisor.logs import cut

        return cut(line, limit)


def _json(line: dict[str, Any]) -> str:
    """One line of strict JSON for any value of `extra`: a bad value must not lose the record."""
    try:
        return json.dumps(line, default=str, ensure_ascii=False, allow_nan=False)
    except Exception:  # noqa: BLE001  NaN, a circle, keys that are not strings, a __str__ that raises
        return json.dumps({name: _plain(value) for name, value in line.items()}, ensure_ascii=False)


def _plain(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except Exception:  # noqa: BLE001  as above
        try:
            return str(value)
        except Exception as error:  # noqa: BLE001  as above
            return f"a {type(value).__name__} without text ({type(error).__name__})"
    return value


class JsonFormatter(logging.Formatter):
    """One JSON object per line; the field names are part of the contract."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "role": "node" if _node is not None else _role,
            "node": _node,
            "pid": record.process,
            "message": record.getMessage(),
        }
        event = getattr(record, "event", None)
        if event is not None:
            line["event"] = type(event).__name__
        line |= facts(record)
        # The application's `extra`; it does not replace our own names.
        line |= {name: value for name, value in vars(record).items() if name not in _OF_A_RECORD and name not in line}
        if record.exc_info:
            line["exception"] = record.exc_text or self.formatException(record.exc_info)
        return _json(line)

    def shorten(self, line: str, limit: int) -> str:
        """The object in at most `limit` bytes, still valid JSON: its longest strings are cut."""
        from swarm_supervisor.logs import cut

        fields: dict[str, Any] = json.loads(line)
        while (excess := len(line.encode("utf-8", "backslashreplace")) - limit) > 0:
            longest = max(fields, key=lambda name: len(json.dumps(fields[name], ensure_ascii=False)))
            text = fields[longest] if isinstance(fields[longest], str) else json.dumps(fields[longest])
            size = len(text.encode("utf-8", "backslashreplace"))
            # Quotes and line breaks take two bytes each, so one cut may not be enough; each cut shortens the object.
            fields[longest] = cut(text, max(0, size - excess - 64)) if size > 128 else ""
            line = json.dumps(fields, ensure_ascii=False)
        return line
