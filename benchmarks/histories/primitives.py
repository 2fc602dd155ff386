"""What `threading`, `queue`, `time` and `concurrent.futures` offer, over strands."""

import concurrent.futures
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from greenlet import GreenletExit

from benchmarks.histories.strands import Scheduler, Strand

EPOCH_S = 1.8e9
"""The wall clock when the simulated one is at 0."""


class Present:
    """The scheduler of the history that runs now."""

    scheduler: Scheduler = None  # type: ignore[assignment]


class Lock:
    """threading.Lock; taking it is where strands are most often left."""

    __slots__ = ("_count", "_owner", "_waiting")
    _reentrant = False

    def __init__(self) -> None:
        self._count = 0
        self._owner: Strand | None = None
        self._waiting: deque[Strand] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock."""
        scheduler = Present.scheduler
        me = scheduler.current
        if me is None or me.dying:
            return True
        if self._reentrant and self._owner is me:
            self._count += 1
            return True
        if scheduler.ready and scheduler.rng.random() < scheduler.preemption:
            scheduler.pause()
        until = scheduler.now + timeout
        while self._owner is not None:
            if not blocking or (timeout >= 0 and scheduler.now >= until):
                return False
            self._waiting.append(me)
            scheduler.block(None if timeout < 0 else until - scheduler.now)
            if me in self._waiting:
                self._waiting.remove(me)
        self._owner = me
        self._count = 1
        return True

    def release(self) -> None:
        """Give the lock back."""
        scheduler = Present.scheduler
        me = scheduler.current
        if me is None or me.dying:
            return
        if self._owner is None or (self._reentrant and self._owner is not me):
            raise RuntimeError("release unlocked lock")
        self._count -= 1
        if self._count:
            return
        self._owner = None
        if self._waiting:
            scheduler.wake(self._waiting.popleft())

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._owner is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class RLock(Lock):
    """threading.RLock."""

    __slots__ = ()
    _reentrant = True


class Condition:
    """threading.Condition."""

    __slots__ = ("_lock", "_waiting", "acquire", "release")

    def __init__(self, lock: Lock | None = None) -> None:
        self._lock = lock if lock is not None else RLock()
        self._waiting: list[Strand] = []
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified."""
        scheduler = Present.scheduler
        me = scheduler.current
        assert me is not None
        if me.dying:
            scheduler.exit(me)
        lock = self._lock
        if lock._owner is not me:
            raise RuntimeError("cannot wait on un-acquired lock")
        count, lock._count = lock._count, 1
        self._waiting.append(me)
        lock.release()
        try:
            woken = scheduler.block(timeout)
        finally:
            if me in self._waiting:
                self._waiting.remove(me)
            lock.acquire()
            lock._count = count
        return woken

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until the predicate holds."""
        until = None if timeout is None else Present.scheduler.now + timeout
        while not (result := predicate()):
            remaining = None if until is None else until - Present.scheduler.now
            if remaining is not None and remaining <= 0:
                break
            self.wait(remaining)
        return result

    def notify(self, n: int = 1) -> None:
        """Wake some of those who wait."""
        waiting, self._waiting = self._waiting[:n], self._waiting[n:]
        for strand in waiting:
            Present.scheduler.wake(strand)

    def notify_all(self) -> None:
        """Wake all who wait."""
        self.notify(len(self._waiting))


class Event:
    """threading.Event."""

    def __init__(self) -> None:
        self._condition = Condition(Lock())
        self._set = False

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it."""
        self._set = True
        self._condition.notify_all()

    def clear(self) -> None:
        """Take it back."""
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set."""
        with self._condition:
            return bool(self._condition.wait_for(lambda: self._set, timeout))


class Thread:
    """threading.Thread, of a target."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str = "thread",
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        self._target = target
        self._args = args
        self._kwargs = kwargs or {}
        self.name = name
        self.daemon = daemon
        self.strand: Strand | None = None

    @property
    def ident(self) -> int | None:
        """A number of its own once it was started."""
        return None if self.strand is None else id(self.strand)

    native_id = ident

    def start(self) -> None:
        """Begin."""
        self.strand = Present.scheduler.spawn(self.run, self.name)

    def run(self) -> None:
        """Call the target."""
        if self._target is not None:
            self._target(*self._args, **self._kwargs)

    def is_alive(self) -> bool:
        """Whether it has begun and not ended."""
        return self.strand is not None and not self.strand.ended

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        scheduler, strand = Present.scheduler, self.strand
        if strand is None:
            raise RuntimeError("cannot join thread before it is started")
        until = None if timeout is None else scheduler.now + timeout
        while not strand.ended and (until is None or scheduler.now < until):
            assert scheduler.current is not None
            strand.joiners.append(scheduler.current)
            scheduler.block(None if until is None else until - scheduler.now)


class SimpleQueue:
    """queue.SimpleQueue."""

    def __init__(self, maxsize: int = 0) -> None:
        self._items: deque[Any] = deque()
        self._waiting: deque[Strand] = deque()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item."""
        self._items.append(item)
        if self._waiting:
            Present.scheduler.wake(self._waiting.popleft())
        # No strand is left here: the caller may hold a lock, and whoever takes the item needs that first.

    put_nowait = put

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take an item, waiting for one."""
        scheduler = Present.scheduler
        me = scheduler.current
        assert me is not None
        if me.dying:
            scheduler.exit(me)
        until = None if timeout is None else scheduler.now + timeout
        scheduler.preempt()
        while not self._items:
            if not block or (until is not None and scheduler.now >= until):
                raise queue.Empty
            self._waiting.append(me)
            scheduler.block(None if until is None else until - scheduler.now)
            if me in self._waiting:
                self._waiting.remove(me)
        return self._items.popleft()

    def get_nowait(self) -> Any:
        """Take an item that is there."""
        return self.get(block=False)

    def empty(self) -> bool:
        """Whether nothing is in it."""
        return not self._items

    def qsize(self) -> int:
        """How much is in it."""
        return len(self._items)


class Future(concurrent.futures.Future):  # type: ignore[type-arg]
    """concurrent.futures.Future, waiting on strands."""

    def __init__(self) -> None:
        super().__init__()
        self._condition = Condition()  # type: ignore[assignment]


class _Other:
    """A module of which some names are ours, and all others its own."""

    def __init__(self, module: Any, **ours: Any) -> None:
        self._module = module
        vars(self).update(ours)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


MOST_GLANCES = 200
"""How often a thread may look at the clock before it has used up its time: it turns without waiting for anything."""


def _now() -> float:
    scheduler = Present.scheduler
    scheduler.glances += 1
    if scheduler.glances > MOST_GLANCES and scheduler.current is not None and not scheduler.current.dying:
        scheduler.glances = 0
        scheduler.spins += 1
        scheduler.block(0.01)
    return scheduler.now


def _sleep(seconds: float) -> None:
    Present.scheduler.block(seconds)


class _Current:
    """What threading.current_thread() returns."""

    daemon = True

    def __init__(self, strand: Strand | None) -> None:
        self.name = "main" if strand is None else strand.name
        self.ident = self.native_id = id(strand)


fake_threading = _Other(
    threading,
    Lock=Lock,
    RLock=RLock,
    Condition=Condition,
    Event=Event,
    Thread=Thread,
    current_thread=lambda: _Current(Present.scheduler.current),
    get_ident=lambda: id(Present.scheduler.current),
    get_native_id=lambda: id(Present.scheduler.current),
)
fake_queue = _Other(queue, SimpleQueue=SimpleQueue, Queue=SimpleQueue)
fake_time = _Other(
    time,
    monotonic=_now,
    perf_counter=_now,
    monotonic_ns=lambda: int(_now() * 1e9),
    time=lambda: EPOCH_S + _now(),
    sleep=_sleep,
)

__all__ = ["Future", "GreenletExit", "Present", "SimpleQueue", "fake_queue", "fake_threading", "fake_time"]
