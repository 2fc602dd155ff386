"""The single asyncio event loop of a node, for consumers whose consume() is a coroutine."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from swarm_consumer.errors import ConsumptionError


class EventLoop:
    """A loop on its own thread, started for the first coroutine.

    `on_error` is called with an exception of a handler's task or callback that would end the loop (SystemExit,
    KeyboardInterrupt): the loop continues.
    """

    def __init__(self, on_error: Callable[[BaseException], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._on_error = on_error
        self._stopping = False

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Run the awaitable on the loop and wait for its result or error.

        SystemExit and the like are raised here, in the waiting thread: asyncio would let them end the loop.
        """
        result, error = asyncio.run_coroutine_threadsafe(_contained(awaitable), self._started()).result()
        if error is not None:
            raise error
        return result

    def dead(self) -> str | None:
        """Return the name of the loop's thread if it was started and has ended."""
        thread = self._thread
        gone = thread is not None and thread.ident is not None and not thread.is_alive() and not self._stopping
        return thread.name if gone and thread is not None else None

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> concurrent.futures.Future[Any]:
        """Start the coroutine as a separate task on the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._started())

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call a function on the loop's thread."""
        self._started().call_soon_threadsafe(callback)

    def stop(self, timeout_s: float) -> None:
        """Cancel remaining tasks and end the loop's thread."""
        with self._lock:
            self._stopping = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return
        try:
            loop.call_soon_threadsafe(loop.stop)
        except RuntimeError:  # closed in the meantime
            return
        thread.join(timeout_s)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._stopping:
                raise ConsumptionError("the node is stopping, so its event loop takes no more coroutines")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._serve, name="swarm-event-loop", daemon=True)
                self._thread.start()
            return self._loop

    def _serve(self) -> None:
        loop = self._loop
        assert loop is not None
        asyncio.set_event_loop(loop)
        try:
            while not self._stopping:
                try:
                    loop.run_forever()
                except BaseException as error:  # noqa: BLE001  raised by a handler's own task
                    if self._on_error is not None:
                        self._on_error(error)
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


async def _contained(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    try:
        return await awaitable, None
    except asyncio.CancelledError:
        return None, ConsumptionError("the coroutine was cancelled before it had finished")
    except BaseException as error:  # noqa: BLE001  raised again by run()
        return None, error
