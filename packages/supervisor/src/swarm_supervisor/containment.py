"""Keeps the errors of other people's code from being those of the supervisor.

Listeners, log handlers and filters, timers, readers: whatever they raise is reported and contained, SystemExit and
KeyboardInterrupt too. Only a failure of the supervisor's own decisions (`CoreFailedError`) stops a swarm, in order.
"""

import os
from collections.abc import Callable
from typing import Any

_MOST_BYTES = 8192
_CUT = b"... [cut]"


class Interrupted(KeyboardInterrupt):
    """A second INT or TERM while the application's own code runs, before there is a node. Never contained."""


class CoreFailedError(RuntimeError):
    """The supervisor's own decisions failed: every node is asked to stop and given its time. The cause is attached."""


class ListenerFailedError(RuntimeError):
    """A listener of `NodeStarted` raised: its node cannot do without what it was to connect. The cause is attached."""


def must_pass(error: BaseException, pid: int) -> bool:
    """Whether an error must not be contained in the supervisor that ``pid`` is.

    A listener may fork a process of its own. What that one raises, its sys.exit() for instance, is not for this loop:
    contained, it would go on as a second supervisor.
    """
    return isinstance(error, Interrupted | CoreFailedError) or os.getpid() != pid


def told(text: str) -> str:
    """Return a text as it can be told: encoded in UTF-8 without an error, and of a bounded length.

    File names and broken input bring lone surrogates along, which no JSON can hold.
    """
    encoded = text[: 2 * _MOST_BYTES].encode("utf-8", "backslashreplace")
    if len(encoded) > _MOST_BYTES:
        encoded = encoded[: _MOST_BYTES - len(_CUT)] + _CUT
    return encoded.decode("utf-8", "ignore")


def text_of(error: BaseException) -> str:
    """Return an error as text, also where its own str() raises."""
    name = type(error).__name__
    try:
        return told(f"{name}: {error}")
    except BaseException:  # noqa: BLE001 - it is code of the application like any other
        return f"{name} (its str() raises)"


def name_of(function: Callable[..., Any]) -> str:
    """Return how to call a function in a log, also where its repr() raises."""
    try:
        name = getattr(function, "__qualname__", None)
        return told(name if isinstance(name, str) else repr(function))
    except BaseException:  # noqa: BLE001 - as above
        return f"a {type(function).__name__}"
