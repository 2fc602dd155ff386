"""Requests: what other threads want of a client, done by the thread that owns it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TypeVar

import confluent_kafka

Result = TypeVar("Result")

SERVE_S = 1.0
"""How long the owner serves requests before it polls again, and how long one may wait for the broker."""


class Requests:
    """The requests of one connection, in the order they came. `changed` is notified when there is one."""

    def __init__(self, name: str, changed: threading.Condition) -> None:
        self._name = name
        self._changed = changed
        self._queue: deque[Callable[[confluent_kafka.Consumer], None]] = deque()

    @property
    def waiting(self) -> bool:
        """Whether there are requests for the client."""
        return bool(self._queue)

    def ask(self, function: Callable[[confluent_kafka.Consumer], Result], timeout_s: float) -> Result:
        """Have `function(client)` called by the owner thread and return its result. Raises TimeoutError."""
        future: Future[Result] = Future()

        def call(client: confluent_kafka.Consumer) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(client))
            except BaseException as error:  # noqa: BLE001  raised again in the requesting thread
                future.set_exception(error)

        with self._changed:
            self._queue.append(call)
            self._changed.notify_all()
        try:
            return future.result(timeout_s)
        except FutureTimeout:
            future.cancel()
            raise TimeoutError(f"{self._name}: the client did not answer within {timeout_s:g} s") from None

    def serve(self, client: confluent_kafka.Consumer) -> None:
        """Carry out requests for at most a second. Called by the owner thread."""
        if not self._queue:
            return
        until = time.monotonic() + SERVE_S
        while self._queue:
            self._queue.popleft()(client)
            if time.monotonic() >= until:
                return
