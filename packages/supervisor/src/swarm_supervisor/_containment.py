"""Keep errors in the application's code from becoming errors of the supervisor.

Any exception of a listener, log handler, filter, timer or reader is reported and contained, including SystemExit and
KeyboardInterrupt. Only a failure of the supervisor's own decisions (`CoreFailedError`) stops a swarm, gracefully.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

_MOST_BYTES = 8192
_CUT = b"... [cut]"


class Interrupted(KeyboardInterrupt):
    """A second INT or TERM during the application's code, before the first node. Never contained."""


class CoreFailedError(RuntimeError):
    """The supervisor's own decisions failed: all nodes are asked to stop, in their time. The cause is attached."""


class ListenerFailedError(RuntimeError):
    """A listener of `NodeStarted` raised, so the node may lack a connection that it needs. The cause is attached."""


def must_pass(error: BaseException, pid: int) -> bool:
    """Whether an error must not be contained in the supervisor, which has the pid ``pid``.

    A listener may fork its own process. An exception there, such as its sys.exit(), is not for this loop:
    if it were contained, that process would continue as a second supervisor.
    """
    return isinstance(error, Interrupted | CoreFailedError) or os.getpid() != pid


def told(text: str) -> str:
    """Return a text that can be encoded in UTF-8 and has a bounded length.

    File names and broken input may contain lone surrogates, which JSON cannot hold.
    """
    encoded = text[: 2 * _MOST_BYTES].encode("utf-8", "backslashreplace")
    if len(encoded) > _MOST_BYTES:
        encoded = encoded[: _MOST_BYTES - len(_CUT)] + _CUT
    return encoded.decode("utf-8", "ignore")


def text_of(error: BaseException) -> str:
    """Return an error as text, even if its own str() raises."""
    name = type(error).__name__
    try:
        return told(f"{name}: {error}")
    except BaseException:  # noqa: BLE001  str() is application code like any other
        return f"{name} (its str() raises)"


def name_of(function: Callable[..., Any]) -> str:
    """Return a function's name for a log, even if its repr() raises."""
    try:
        name = getattr(function, "__qualname__", None)
        return told(name if isinstance(name, str) else repr(function))
    except BaseException:  # noqa: BLE001  as above
        return f"a {type(function).__name__}"
