"""Samples the memory of this process: workers after their batches, the reporter thread in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from swarm_liveness._judging import memory_watch
from swarm_liveness._judging.memory import ProcessMemory
from swarm_liveness._judging.memory_watch import MemorySample, MemoryState
from swarm_liveness.settings import Limits


class MemorySampler:
    """Takes samples from any thread and keeps the result. `memory_watch.add` decides which samples count."""

    def __init__(self, source: ProcessMemory, refresh_s: float | None, failed: Callable[[], None]) -> None:
        """Nothing is read yet. `failed` is called, in an exception handler, if the memory cannot be read."""
        self.state = MemoryState()
        self._source = source
        self._refresh_s = refresh_s
        self._failed = failed
        # Held while memory is read (a few milliseconds at most), never while the runtime's own code runs.
        self._lock = threading.Lock()
        self._batches = 0
        self._counted = -1

    def begin(self) -> None:
        """Forget the samples of an earlier process or an earlier start."""
        self.state = MemoryState()
        self._batches, self._counted = 0, -1

    def batch_ended(self, limits: Limits, now: float) -> bool:
        """Sample between two batches, and return whether the number of samples over the limit has changed.

        Memory in use between two batches is what the process keeps.
        """
        before = self.state.over
        self._batches += 1
        self.sample(limits, now, working=False)
        return self.state.over != before

    def sample(self, limits: Limits, now: float, *, working: bool, only_if_pressing: bool = False) -> None:
        """Sample if it is time. `working`: batches are in progress; all samples within one batch count as one."""
        # If another thread is sampling now, its sample will do.
        if not self._lock.acquire(blocking=False):
            return
        try:
            state = self.state
            if not memory_watch.due(state, now) or (only_if_pressing and state.over == 0):
                return
            sample = MemorySample(self._source.rss_mb())
            price = 0.0
            counts = not working or self._batches != self._counted
            if memory_watch.wants_exact(state, sample.rss_mb, limits, self._refresh_s, now, counts=counts):
                # CPU time: with wall-clock time, a busy machine would postpone the next reading by seconds.
                begun = time.thread_time()
                exact = self._source.exact()
                price = time.thread_time() - begun
                sample = replace(exact, rss_mb=sample.rss_mb)
            self.state = memory_watch.add(state, sample, limits, now, price, counts=counts)
            if self.state.over > 0:
                self._counted = self._batches
        except OSError:
            self._failed()
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the descriptor that is kept open for reading."""
        with self._lock:
            self._source.close()
