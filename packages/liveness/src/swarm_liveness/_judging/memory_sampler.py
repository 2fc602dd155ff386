"""Reads the memory of this process when it is due: after batches by the workers, in between by the reporter thread."""

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
    """Takes samples from any thread and keeps what they say. Which samples count: `memory_watch.add`."""

    def __init__(self, source: ProcessMemory, refresh_s: float | None, failed: Callable[[], None]) -> None:
        """Nothing is read yet. `failed` is called, in an exception handler, when the memory cannot be read."""
        self.state = MemoryState()
        self._source = source
        self._refresh_s = refresh_s
        self._failed = failed
        # Held for a reading of memory (at most some milliseconds), never while the runtime's own code runs.
        self._lock = threading.Lock()
        self._batches = 0
        self._counted = -1

    def begin(self) -> None:
        """Forget what an earlier process, or an earlier start, has left."""
        self.state = MemoryState()
        self._batches, self._counted = 0, -1

    def batch_ended(self, limits: Limits, now: float) -> bool:
        """Sample between two batches: what there is then is kept. Whether more or fewer samples are over the limit."""
        before = self.state.over
        self._batches += 1
        self.sample(limits, now, working=False)
        return self.state.over != before

    def sample(self, limits: Limits, now: float, *, working: bool, only_if_pressing: bool = False) -> None:
        """Sample if one is due. `working`: batches are under way; all samples within one batch count as one."""
        # Another thread that is sampling at this moment does it for us.
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
                # Of the processor: on a busy machine a wait for it would put off the next reading for seconds.
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
        """Close what is kept open for reading."""
        with self._lock:
            self._source.close()
