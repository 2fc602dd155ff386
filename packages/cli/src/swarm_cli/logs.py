"""Log lines of a command: one line says when, how bad, which node, what and why; as text or as JSON.

The application's records, librdkafka's (through the client's logger) and the packages' own go to one handler on
stderr, so no line appears twice.
"""

import json
import logging
import os
import sys
import time
from typing import Any, ClassVar

# Attributes that a record may carry, by the names that the packages give them; also the fields of a JSON line.
FIELDS = ("topic", "partition", "offset", "group", "attempt", "reason")

_role = "swarm-cli"
_node: int | None = None


def name_node(node_id: int) -> None:
    """From now on the lines of this process say which node it is; called in the node, after the fork."""
    global _node, _role
    _node, _role = node_id, f"node {node_id}"


def configure(role: str, level: str, form: str, handler: logging.Handler | None = None) -> None:
    """Send every record of this process to one handler: stderr, or `handler`, at `level`, as "text" or "json".

    `role` is what this process is in its lines: "supervisor", "server".
    """
    global _role
    _role = role
    chosen = handler or logging.StreamHandler(sys.stderr)
    chosen.setFormatter(JsonFormatter() if form == "json" else TextFormatter(_colours(sys.stderr)))
    root = logging.getLogger()
    for other in list(root.handlers):
        root.removeHandler(other)
    root.addHandler(chosen)
    root.setLevel(level.upper())
    logging.captureWarnings(True)


def _colours(stream: Any) -> bool:
    # https://no-color.org: any value of NO_COLOR that is not empty turns colours off.
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR")


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
        """One line for the record; a traceback follows on lines of its own, in the same write."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname:<7}"
        if self.colours and (colour := self.COLOURS.get(record.levelno)):
            level = f"{colour}{level}\x1b[0m"
        # A line break inside a message would make two lines of one record.
        message = record.getMessage().rstrip("\n").replace("\n", "\n    ")
        line = f"{stamp}.{int(record.msecs):03d} {level} {_role} [{record.process}] {record.name}: {message}"
        if record.exc_info:
            line += "\n    " + self.formatException(record.exc_info).replace("\n", "\n    ")
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line; the field names are part of the contract."""

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
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
