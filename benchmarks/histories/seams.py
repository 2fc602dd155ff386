"""Puts the simulated threads, clock, event loop and clients in the place of the real ones, in all of swarm_consumer.

A module that holds `time`, `threading`, `confluent_kafka` or another of these under any name of its own gets ours
instead; nothing of the runtime's own is replaced. So the runtime needs no seams for it.
"""

import asyncio
import concurrent.futures
import contextlib
import importlib
import logging
import os
import pkgutil
import queue
import select
import sys
import threading
import time
import warnings
from collections.abc import Coroutine, Iterator
from typing import Any

import confluent_kafka
from greenlet import GreenletExit

import swarm_consumer
from benchmarks.histories.fake_consumer import FakeConsumer
from benchmarks.histories.fake_producer import FakeProducer
from benchmarks.histories.primitives import (
    Condition,
    Event,
    Future,
    Lock,
    Present,
    RLock,
    SimpleQueue,
    Thread,
    _Other,
    fake_queue,
    fake_threading,
    fake_time,
)

SHORTER = {"SETTLE_TIMEOUT_S": 2.0, "FATAL_DRAIN_S": 1.0, "LEAVE_S": 0.5}
"""Waits of the runtime that a history has no time for."""


class _Nothing:
    """A selector on which nothing ever comes: the loop is woken by `_write_to_self` alone."""

    def __init__(self) -> None:
        self.loop: Any = None

    def select(self, timeout: float | None = None) -> list[Any]:
        """Wait for the loop's next deadline, or to be woken."""
        loop, scheduler = self.loop, Present.scheduler
        if not loop.woken and (timeout is None or timeout > 0):
            loop.waiting = scheduler.current
            scheduler.block(timeout)
            loop.waiting = None
        loop.woken = False
        return []

    def register(self, *_: Any) -> None:
        """Nothing is ever registered."""

    unregister = register
    close = register

    def get_map(self) -> dict[Any, Any]:
        """Return nothing."""
        return {}


class SimulatedLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, by the simulated clock."""

    def __init__(self) -> None:
        selector = _Nothing()
        self.waiting: Any = None
        self.woken = False
        super().__init__(selector)  # type: ignore[arg-type]
        selector.loop = self

    def time(self) -> float:
        """Return the simulated time."""
        return Present.scheduler.now

    def _make_self_pipe(self) -> None:
        pass

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        self.woken = True
        if self.waiting is not None:
            Present.scheduler.wake(self.waiting)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """Call a function on a strand of its own."""
        future = self.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            if not future.done():
                future.set_exception(error) if error is not None else future.set_result(result)

        def call() -> None:
            result, error = None, None
            try:
                result = func(*args)
            except GreenletExit:
                raise
            except BaseException as raised:  # noqa: BLE001  raised where it is awaited
                error = raised
            self.call_soon_threadsafe(settle, result, error)

        Present.scheduler.spawn(call, "executor")
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell nobody: tasks are left behind where a node is killed."""

    def __del__(self) -> None:
        pass  # one that was killed with its node is never closed


def _run_coroutine_threadsafe(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> Future:
    """asyncio.run_coroutine_threadsafe, with a future on which strands can wait."""
    future = Future()

    def begin() -> None:
        try:
            asyncio.futures._chain_future(asyncio.ensure_future(coroutine, loop=loop), future)  # type: ignore[attr-defined]
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            raise

    loop.call_soon_threadsafe(begin)
    return future


class _Pipes:
    """os.pipe2 and what is done with pipes, for waking."""

    def __init__(self) -> None:
        self.full: set[int] = set()
        self.pollers: dict[int, Any] = {}
        self._next = 1 << 30

    def pipe2(self, _: int = 0) -> tuple[int, int]:
        self._next += 2
        return self._next, self._next + 1

    def write(self, descriptor: int, data: bytes) -> int:
        if descriptor < 1 << 30:
            return os.write(descriptor, data)
        self.full.add(descriptor - 1)
        strand = self.pollers.get(descriptor - 1)
        if strand is not None:
            Present.scheduler.wake(strand)
        return len(data)

    def read(self, descriptor: int, count: int) -> bytes:
        if descriptor < 1 << 30:
            return os.read(descriptor, count)
        if descriptor not in self.full:
            raise BlockingIOError
        self.full.discard(descriptor)
        return b"\0"

    def close(self, descriptor: int) -> None:
        if descriptor < 1 << 30:
            os.close(descriptor)
        else:
            self.full.discard(descriptor)


_pipes = _Pipes()


class _Poll:
    """select.poll over such pipes."""

    def __init__(self) -> None:
        self._watched: list[int] = []

    def register(self, descriptor: int, _: int = 0) -> None:
        self._watched.append(descriptor)

    def unregister(self, descriptor: int) -> None:
        self._watched.remove(descriptor)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        scheduler = Present.scheduler
        ready = [(one, select.POLLIN) for one in self._watched if one in _pipes.full]
        if ready or timeout == 0:
            return ready
        for one in self._watched:
            _pipes.pollers[one] = scheduler.current
        try:
            scheduler.block(None if timeout is None or timeout < 0 else timeout / 1000)
        finally:
            for one in self._watched:
                _pipes.pollers.pop(one, None)
        return [(one, select.POLLIN) for one in self._watched if one in _pipes.full]


_fakes: dict[int, Any] = {
    id(real): fake
    for real, fake in [
        (time, fake_time),
        (time.monotonic, fake_time.monotonic),
        (time.monotonic_ns, fake_time.monotonic_ns),
        (time.time, fake_time.time),
        (time.sleep, fake_time.sleep),
        (threading, fake_threading),
        (threading.Lock, Lock),
        (threading.RLock, RLock),
        (threading.Condition, Condition),
        (threading.Event, Event),
        (threading.Thread, Thread),
        (queue, fake_queue),
        (queue.SimpleQueue, SimpleQueue),
        (queue.Queue, SimpleQueue),
        (concurrent.futures.Future, Future),
        (select, _Other(select, poll=_Poll)),
        (os, _Other(os, pipe2=_pipes.pipe2, write=_pipes.write, read=_pipes.read, close=_pipes.close)),
        (
            asyncio,
            _Other(asyncio, new_event_loop=SimulatedLoop, run_coroutine_threadsafe=_run_coroutine_threadsafe),
        ),
        (confluent_kafka, _Other(confluent_kafka, Consumer=FakeConsumer, Producer=FakeProducer)),
        (confluent_kafka.Consumer, FakeConsumer),
        (confluent_kafka.Producer, FakeProducer),
    ]
}


def _modules() -> list[Any]:
    for found in pkgutil.iter_modules(swarm_consumer.__path__, "swarm_consumer."):
        if not found.ispkg:
            importlib.import_module(found.name)
    return [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("swarm_consumer") and not name.startswith("swarm_consumer.testing")
    ]


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """While this lasts, swarm_consumer runs on simulated threads and fake clients."""
    replaced = []
    for module in _modules():
        for name, value in list(vars(module).items()):
            fake = _fakes.get(id(value)) if not name.startswith("__") else None
            if name in SHORTER:
                fake = SHORTER[name]
            if fake is not None:
                replaced.append((module, name, value))
                setattr(module, name, fake)
    loggers = [logging.getLogger(name) for name in ("swarm_consumer", "asyncio")]
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None  # what is collected of killed strands ends somewhere, in the name of nobody
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # coroutines that a killed node has not awaited
            yield
    finally:
        sys.unraisablehook = hook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for module, name, value in reversed(replaced):
            setattr(module, name, value)
