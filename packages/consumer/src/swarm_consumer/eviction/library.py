"""Whether kafka-python is there, and its log."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable
from importlib import metadata

_FAILURE = re.compile(r"Connection (?:failed|lost): (?!KafkaConnectionError$)(.+)")
"""What went wrong with a connection, in a line of kafka-python's log; an error without a text is only our own end."""
NEEDED = (3, 0, 4)
"""The first version that can remove members of a group and says what went wrong with a connection."""


def missing(extra: str = "swarm-consumer[evict]") -> str:
    """Why no member can be removed from a group in this environment, with the remedy; "" if it is possible."""
    remedy = f"pip install '{extra}'"
    try:
        found = metadata.version("kafka-python")
    except metadata.PackageNotFoundError:
        return f"kafka-python is not installed ({remedy})"
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", found)
    if numbers is not None and tuple(int(number or 0) for number in numbers.groups()) < NEEDED:
        return f"kafka-python {found} is older than {'.'.join(map(str, NEEDED))} ({remedy})"
    return ""


def preload() -> None:
    """Import kafka-python: 0.1 to 0.3 s and 10 MB, which forked processes share. The first removal does it otherwise.

    Worth it before a fork where a stop removes members, whose time is short. It starts no thread. Raises what the
    import raises.
    """
    import kafka.admin
    import kafka.net.sasl.oauth  # noqa: F401


def io_thread_name(client_id: str) -> str:
    """Return the name that kafka-python gives to a client's thread."""
    return f"kafka-io-{client_id}"


class Hush(logging.Filter):
    """Keeps out of all logs what kafka-python logs in our threads: its settings with passwords, and each attempt.

    What went wrong with a connection is given to `on_error`: an exception comes only after all attempts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._threads: dict[int, str] = {}
        """Threads of ours, by number, with the name of the client's own thread."""
        self._on_error: dict[str, Callable[[str], None]] = {}
        """By the name of that thread; it stays, because that thread may speak later."""

    def begin(self, client_id: str, on_error: Callable[[str], None]) -> None:
        """Say nothing of this thread, nor of the client's own thread, from now on; it is called after the import.

        on_error is called in either thread, with a text that may hold secrets.
        """
        io_thread = io_thread_name(client_id)
        self._on_error[io_thread] = on_error
        self._threads[threading.get_ident()] = io_thread
        for name, found in list(logging.root.manager.loggerDict.items()):
            if isinstance(found, logging.Logger) and (name == "kafka" or name.startswith("kafka.")):
                found.addFilter(self)

    def end(self) -> None:
        """Let this thread speak: another one may get its number."""
        self._threads.pop(threading.get_ident(), None)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is another thread's."""
        on_error = self._on_error.get(self._threads.get(record.thread or 0, record.threadName or ""))
        if on_error is None:
            return True
        if record.levelno >= logging.ERROR:
            with contextlib.suppress(Exception):
                found = _FAILURE.search(record.getMessage())
                if found is not None:
                    on_error(found[1])
        return False


hush = Hush()
