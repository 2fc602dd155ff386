"""The application's lifespan in one process: entered before any client is created, left when all work is done."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from dataclasses import dataclass
from typing import Any

from swarm_consumer._handling.hooks import Hook, blame, context_maker
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._running.event_loop import EventLoop
from swarm_consumer.errors import LifespanError
from swarm_consumer.events import ErrorOccurred

END_S = 5.0
"""Least time for the end of an async lifespan, if the drain has used up its time."""

_AT_WORK = "while the node was running"


@dataclass(frozen=True, kw_only=True)
class NodeInfo:
    """The process that a lifespan surrounds."""

    id: int | None = None
    """The node's number in its swarm; None in a single process."""
    generation: int = 1
    """1 for the first process of this id, then 2, and so on."""


class Lifespan:
    """Enters and leaves one lifespan; without one it does nothing. Called in the thread that runs the node.

    An async lifespan is one task on the node's event loop, so that the task that entered it also leaves it, as task
    groups and cancel scopes require.
    """

    def __init__(self, hook: Hook | None, node: NodeInfo, event_loop: EventLoop, bus: Bus) -> None:
        self.state: Any = None
        self.error: LifespanError | None = None
        """The error of its end."""
        self._bus = bus
        self._hook = hook
        self._node = node
        self._event_loop = event_loop
        self._sync: contextlib.AbstractContextManager[Any] | None = None
        self._async: _Task | None = None
        self._entered = False

    def enter(self) -> None:
        """Run the lifespan up to its yield, once. Raises LifespanError if it fails."""
        if self._hook is None or self._entered:
            return
        self._entered = True
        try:
            context = context_maker(self._hook.function)(self._node)
            if hasattr(context, "__aenter__"):
                task = _Task(context, self._event_loop)
                self.state = task.enter()
                self._async = task
            elif hasattr(context, "__enter__"):
                self.state = context.__enter__()
                self._sync = context
            else:
                raise TypeError(f"it returned {context!r}, which is not a context manager: use yield, or return one")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._event_loop.stop(END_S)
            raise self._failed("at its start", error) from error

    @property
    def ended_early(self) -> str | None:
        """Why an async lifespan ended too early, for example because a task of its task group failed."""
        if self._async is None or not self._async.ended:
            return None
        return str(self._failed(_AT_WORK, self._async.failure()))

    def leave(self, error: BaseException | None, timeout_s: float) -> None:
        """Run the lifespan to its end, once; the error that ended the node's work is raised at its yield.

        If it fails, or an async one takes longer than `timeout_s` seconds, the error is kept in `error`.
        """
        sync, self._sync = self._sync, None
        task, self._async = self._async, None
        when = _AT_WORK if task is not None and task.ended else "at its end"
        try:
            if sync is not None:
                sync.__exit__(type(error) if error is not None else None, error, getattr(error, "__traceback__", None))
            if task is not None:
                task.leave(error, max(END_S, timeout_s))
        except KeyboardInterrupt:
            raise
        except BaseException as failure:  # noqa: BLE001  kept in `error`
            if failure is not error:  # it raised the same error again, which is reported elsewhere
                self.error = self._failed(when, failure)
                self.error.__cause__ = failure
                if error is not None:  # that error is raised, and this one would be lost
                    self._bus.emit(ErrorOccurred(where="lifespan", error=self.error))

    def _failed(self, when: str, error: BaseException) -> LifespanError:
        return LifespanError(f"the lifespan {self._hook} failed {when}: {blame(error)}")


class _Task:
    """One async context manager as one task."""

    def __init__(self, context: contextlib.AbstractAsyncContextManager[Any], event_loop: EventLoop) -> None:
        self._context = context
        self._event_loop = event_loop
        self._state: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._end: asyncio.Future[BaseException | None] | None = None
        self._done: concurrent.futures.Future[None] | None = None
        self._error: BaseException | None = None

    def enter(self) -> Any:
        """Start the task; return the value that the context manager yields, or raise its error."""
        self._done = self._event_loop.submit(self._live())
        concurrent.futures.wait([self._state, self._done], return_when=concurrent.futures.FIRST_COMPLETED)
        if self._state.done():
            return self._state.result()
        self._done.result()
        raise self._error or RuntimeError("it ended before its yield")

    @property
    def ended(self) -> bool:
        """Whether the task has ended."""
        return self._done is not None and self._done.done()

    def failure(self) -> BaseException:
        """Return the error that ended the task."""
        return self._error or RuntimeError("it was cancelled, or left its yield too early")

    def leave(self, error: BaseException | None, timeout_s: float) -> None:
        """End the task within `timeout_s` seconds; raise its error."""
        assert self._done is not None
        self._event_loop.call_soon(lambda: self._ends(error))
        try:
            self._done.result(timeout_s)
        except concurrent.futures.TimeoutError:
            if self._done.done():
                raise
            self._done.cancel()
            raise TimeoutError(f"its end took longer than {timeout_s:g} s and was cancelled") from None
        if self._error is not None:
            raise self._error

    def _ends(self, error: BaseException | None) -> None:
        if self._end is not None and not self._end.done():
            self._end.set_result(error)

    async def _live(self) -> None:
        # SystemExit or KeyboardInterrupt in a task would end the loop's thread and every handler on it.
        try:
            async with self._context as state:
                self._end = asyncio.get_running_loop().create_future()
                self._state.set_result(state)
                error = await self._end
                if error is not None:
                    raise error
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  raised when the lifespan is entered or left
            self._error = error
