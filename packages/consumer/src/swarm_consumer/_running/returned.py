"""The meaning of a handler's return value: a coroutine is run, None is fine, and a lazy object is a failure."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import Future
from typing import Any

from swarm_consumer._running.event_loop import EventLoop
from swarm_consumer.errors import ConsumptionError


def complete(action: str, result: Any, event_loop: EventLoop) -> None:
    """Wait for the return value of a handler or hook. Raises ConsumptionError for work that would never run."""
    if inspect.isawaitable(result):
        result = event_loop.run(result)
    elif isinstance(result, Future):
        result = result.result()
    if result is None:
        return
    if _has_not_run(result):
        raise ConsumptionError(
            f"{action}() returned a {type(result).__name__}, which has not run: a function with `yield`, map() and "
            f"similar objects do nothing until they are iterated; do the work in a plain loop and return nothing"
        )
    if isinstance(result, (list, tuple, set)) and any(
        inspect.isawaitable(each) or isinstance(each, Future) for each in result
    ):
        raise ConsumptionError(
            f"{action}() returned a {type(result).__name__} of awaitables that are never awaited: "
            f"`await asyncio.gather(*them)`, or call result() of each future, before it returns"
        )
    if result is False and action == "consume":
        raise ConsumptionError(
            "consume() returned False, which says nothing here: raise an error to have the batch again, return nothing "
            "when it is done"
        )


def _has_not_run(result: Any) -> bool:
    """Whether it is certainly lazy. Cursors and files are iterators too, but their work is done."""
    if isinstance(result, (Generator, AsyncGenerator)):
        return True
    return isinstance(result, Iterator) and type(result).__module__ in ("builtins", "itertools")
