"""Worker threads: they take lanes from one queue, run their consumers, and hand the result back to the lane's group."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

from swarm_consumer.lane import Lane, Run


class LaneOwner(Protocol):
    """The subscription group a lane belongs to, as workers see it."""

    def work(self, lane: Lane, occupy: Callable[[Run | None], None]) -> None:
        """Do one run of the lane, calling `occupy` with the run at its start and with None at its end."""


class Workers:
    """`count` threads over one queue of (group, lane), and one more, made when needed, for hooks at the end.

    All are daemon threads: a handler that never returns must not keep the process from ending.
    """

    def __init__(self, count: int, name: str = "swarm-worker") -> None:
        self.count = count
        self._name = name
        self._queue: SimpleQueue[tuple[LaneOwner, Lane] | None] = SimpleQueue()
        self._hooks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._occupied: list[Run | None] = [None] * count
        self._threads: list[threading.Thread] = []
        self._hook_thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the threads."""
        for index in range(self.count):
            thread = threading.Thread(target=self._work, args=(index,), name=f"{self._name}-{index}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def submit(self, owner: LaneOwner, lane: Lane) -> None:
        """Queue a lane that has become READY."""
        self._queue.put((owner, lane))

    def submit_hook(self, hook: Callable[[], None]) -> None:
        """Run a hook on a thread of its own, so that it need not wait for busy workers."""
        if self._hook_thread is None:
            self._hook_thread = threading.Thread(target=self._run_hooks, name=f"{self._name}-hooks", daemon=True)
            self._hook_thread.start()
        self._hooks.put(hook)

    def occupied(self) -> list[Run]:
        """Return what the workers are at."""
        return [run for run in self._occupied if run is not None]

    def stop(self, timeout_s: float) -> bool:
        """Ask all threads to end after what they are at; whether they did within `timeout_s` seconds."""
        import time

        for _ in self._threads:
            self._queue.put(None)
        threads = list(self._threads)
        if self._hook_thread is not None:
            self._hooks.put(None)
            threads.append(self._hook_thread)
        deadline = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _work(self, index: int) -> None:
        def occupy(run: Run | None) -> None:
            self._occupied[index] = run

        get = self._queue.get
        while (item := get()) is not None:
            owner, lane = item
            owner.work(lane, occupy)

    def _run_hooks(self) -> None:
        while (hook := self._hooks.get()) is not None:
            hook()
