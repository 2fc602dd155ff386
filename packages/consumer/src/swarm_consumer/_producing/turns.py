"""Turns: one at a time, in order of request; threads wait for theirs, coroutines await it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future


class Turns:
    """Like a lock, but fair, and one thread may take it and another release it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: deque[Future[None]] = deque()

    def take(self, timeout_s: float) -> bool:
        """Wait for a turn, up to `timeout_s` seconds; whether it came."""
        turn = self._ask()
        try:
            turn.result(timeout_s)
        except BaseException as error:
            if turn.cancel():
                if isinstance(error, TimeoutError):
                    return False
                raise
            if not isinstance(
                error, TimeoutError
            ):  # the turn came at that very moment, and no one else will give it back
                self.give()
                raise
        return True

    async def take_async(self, timeout_s: float) -> bool:
        """Wait for a turn without blocking the event loop."""
        turn = self._ask()
        try:
            await asyncio.wait_for(asyncio.wrap_future(turn), timeout_s)
        except BaseException as error:
            if not turn.cancel():
                self.give()
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def give(self) -> None:
        """End a turn and pass it to the next waiter."""
        with self._lock:
            while self._waiting:
                following = self._waiting.popleft()
                if following.set_running_or_notify_cancel():
                    break
            else:
                self._taken = False
                return
        following.set_result(None)

    def _ask(self) -> Future[None]:
        turn: Future[None] = Future()
        with self._lock:
            if self._taken:
                self._waiting.append(turn)
                return turn
            self._taken = True
        turn.set_running_or_notify_cancel()
        turn.set_result(None)
        return turn
