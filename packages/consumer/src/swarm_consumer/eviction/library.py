"""Whether kafka-python is there, and its log."""

from __future__ import annotations

import logging
import threading
from importlib import metadata

NEEDED = (3, 0)
"""The first version that can remove members of a group."""


def missing(extra: str = "swarm-consumer[evict]") -> str:
    """Why no member can be removed from a group in this environment, with the remedy; "" if it is possible."""
    remedy = f"pip install '{extra}'"
    try:
        found = metadata.version("kafka-python")
    except metadata.PackageNotFoundError:
        return f"kafka-python is not installed ({remedy})"
    major, _, rest = found.partition(".")
    minor = rest.partition(".")[0]
    if major.isdigit() and minor.isdigit() and (int(major), int(minor)) < NEEDED:
        return f"kafka-python {found} is older than {'.'.join(map(str, NEEDED))} ({remedy})"
    return ""


def preload() -> None:
    """Import kafka-python before processes are forked: it takes a third of a second, and a removal has one.

    It starts no thread. Raises what the import raises.
    """
    import kafka.admin
    import kafka.net.sasl.oauth  # noqa: F401


def io_thread_name(client_id: str) -> str:
    """Return the name that kafka-python gives to a client's thread."""
    return f"kafka-io-{client_id}"


class Hush(logging.Filter):
    """Keeps out of all logs what kafka-python logs in our threads: its settings with passwords, and each attempt."""

    def __init__(self) -> None:
        super().__init__()
        self._threads: set[int] = set()
        self._io_threads: set[str] = set()

    def begin(self, client_id: str) -> None:
        """Say nothing of this thread, nor of the client's own thread, from now on; it is called after the import."""
        self._threads.add(threading.get_ident())
        self._io_threads.add(io_thread_name(client_id))
        for name, found in list(logging.root.manager.loggerDict.items()):
            if isinstance(found, logging.Logger) and (name == "kafka" or name.startswith("kafka.")):
                found.addFilter(self)

    def end(self) -> None:
        """Let this thread speak: another one may get its number."""
        self._threads.discard(threading.get_ident())

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is another thread's."""
        return record.thread not in self._threads and record.threadName not in self._io_threads


hush = Hush()
