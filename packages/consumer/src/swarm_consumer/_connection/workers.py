"""Worker threads: one queue of lanes that have something to be run, and one of hooks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING

from swarm_consumer._connection.gate import Gate
from swarm_consumer._scheduling.lane import Lane
from swarm_consumer._scheduling.run import Run
from swarm_consumer.events import describe

if TYPE_CHECKING:
    from swarm_consumer._connection.connection import Connection


Occupy = Callable[[Run | None], None]
"""Called with a run at its start, and with None at its end: what the thread is at."""


class Workers:
    """`count` threads over one queue of (connection, lane), and one more, made when needed, for hooks at the end.

    `work` does one run of a lane, `hook` calls a hook of one (`Execution` has both, which stands on this wing).
    All are daemon threads: a handler that never returns must not keep the process from ending. `on_failure` is called
    with a sentence and the error if something other than a handler raises on one of them; the thread continues.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[Connection, Lane, Occupy], None],
        hook: Callable[[Connection, Lane, str], None],
        name: str = "swarm-worker",
        on_failure: Callable[[str, BaseException], None] | None = None,
    ) -> None:
        self.count = count
        self.gate = Gate()
        self.hook = hook
        self._do = work
        self._name = name
        self._on_failure = on_failure
        self._queue: SimpleQueue[tuple[Connection, Lane] | None] = SimpleQueue()
        self._hooks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._occupied: list[Run | None] = [None] * count
        self._threads: list[threading.Thread] = []
        self._hook_thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def start(self) -> None:
        """Start the threads."""
        for index in range(self.count):
            thread = threading.Thread(target=self._work, args=(index,), name=f"{self._name}-{index}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def submit(self, connection: Connection, lane: Lane) -> None:
        """Queue a lane that has become READY."""
        self._queue.put((connection, lane))

    def submit_hook(self, hook: Callable[[], None]) -> None:
        """Run a hook on a separate thread, so that it need not wait for busy workers."""
        if self._hook_thread is None:
            with self._starting:  # owners and workers call this at the same time
                if self._hook_thread is None:
                    thread = threading.Thread(target=self._run_hooks, name=f"{self._name}-hooks", daemon=True)
                    thread.start()
                    self._hook_thread = thread
        self._hooks.put(hook)

    def occupied(self) -> list[Run]:
        """Return the runs in progress."""
        return [run for run in self._occupied if run is not None]

    def dead(self) -> str | None:
        """Return the name of a started thread that has ended; None if all are alive."""
        threads = [*self._threads, *([self._hook_thread] if self._hook_thread is not None else [])]
        return next((thread.name for thread in threads if thread.ident is not None and not thread.is_alive()), None)

    def stop(self, timeout_s: float) -> bool:
        """Ask all threads to end after their current run. Returns whether they did within `timeout_s` seconds."""
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
            try:
                connection, lane = item
                self._do(connection, lane, occupy)
            except BaseException as error:  # noqa: BLE001  if a worker died silently, the node would do nothing
                self._failed(f"{self._name}-{index}", error)

    def _run_hooks(self) -> None:
        while (hook := self._hooks.get()) is not None:
            try:
                hook()
            except BaseException as error:  # noqa: BLE001  see _work
                self._failed(f"{self._name}-hooks", error)

    def _failed(self, thread: str, error: BaseException) -> None:
        if self._on_failure is not None:
            self._on_failure(f"the thread {thread} failed outside of a handler: {describe(error)}", error)
