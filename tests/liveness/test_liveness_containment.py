"""Whatever a runtime, a reporter or a log handler raises: the reporter thread goes on, and a worker never notices."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from swarm_health import Status
from swarm_liveness import LivenessListener, protocols
from swarm_liveness._serving.loop import ThreadLoop


class BadText(Exception):
    """An error that cannot even be printed."""

    def __str__(self) -> str:
        raise SystemExit(3)


FAULTS: list[type[BaseException]] = [ValueError, SystemExit, KeyboardInterrupt, BadText]


def members(protocol: type) -> list[str]:
    """What a protocol demands: every method and property of its own."""
    return sorted(name for name in vars(protocol) if not name.startswith("_"))


OBSERVED = [*members(protocols.Observable), *members(protocols.Complaining)]
REPORTED = members(protocols.Reporter)
# Called where the listener is started, by the caller's own thread: what it raises is the caller's.
AT_START = {"after_batch"}


class Switch:
    """A fault that is on until it is off."""

    def __init__(self, fault: type[BaseException]) -> None:
        self.fault: type[BaseException] | None = fault
        self.raised = 0

    def __call__(self) -> None:
        if self.fault is not None:
            self.raised += 1
            raise self.fault("mine")


@pytest.fixture
def started() -> Iterator[list[LivenessListener]]:
    listeners: list[LivenessListener] = []
    yield listeners
    for one in listeners:
        one.stop()


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def with_fault(base: Any, name: str, switch: Switch) -> Any:
    """An object of a class like `base` whose member `name` raises while the switch is on."""
    member = getattr(base, name, None)

    def call(self: Any, *arguments: Any) -> Any:
        switch()
        if name == "phase":
            return "running"
        if name == "complaint":
            return None
        return member(self, *arguments) if callable(member) else member

    return type(f"Faulty{base.__name__}", (base,), {name: property(call) if name == "phase" else call})


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", [name for name in OBSERVED if name not in AT_START])
def test_a_runtime_may_raise_anything_at_each_question(
    runtime: Any, recorder: Any, started: Any, name: str, fault: type[BaseException]
) -> None:
    switch = Switch(fault)
    listener = LivenessListener(liveness_interval=0.02, statistics_interval=0.02, memory_refresh=None)
    started.append(listener)
    observed = object.__new__(with_fault(runtime, name, switch))
    switch.fault, fault_then = None, switch.fault
    base = runtime()
    observed.__dict__.update({key: value for key, value in vars(base).items() if key != "phase"})
    switch.fault = fault_then
    listener.start(observed, recorder)
    until(lambda: switch.raised >= 3, f"{name} to be asked again after it has raised")
    switch.fault = None
    while not recorder.health.empty():
        recorder.next_health()
    assert recorder.next_health() == (0, "")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", REPORTED)
def test_a_reporter_may_raise_anything_at_each_report(
    runtime: Any, recorder: Any, started: Any, name: str, fault: type[BaseException]
) -> None:
    switch = Switch(fault)
    listener = LivenessListener(liveness_interval=0.02, statistics_interval=0.02, memory_refresh=None)
    started.append(listener)
    faulty = with_fault(type(recorder), name, switch)()
    observed = runtime(fatal="fenced" if name == "unhealthy" else None)
    listener.start(observed, faulty)
    until(lambda: switch.raised >= 2, f"{name} to be called again after it has raised")
    switch.fault = None
    while not faulty.health.empty():
        faulty.next_health()
    assert faulty.next_health()[0] == (Status.POLLING if name == "unhealthy" else 0)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_log_handler_that_raises_does_not_keep_a_bad_verdict_back(
    runtime: Any, recorder: Any, started: Any, fault: type[BaseException]
) -> None:
    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise fault("mine")

    handler = Raising()
    logging.getLogger("swarm_liveness").addHandler(handler)
    try:
        listener = LivenessListener(liveness_interval=0.02, statistics_interval=60)
        started.append(listener)
        observed = runtime(fatal="fenced")
        listener.start(observed, recorder)
        assert recorder.next_health()[0] == Status.POLLING
        observed.fatal = None
        while recorder.next_health() != (0, ""):
            pass
    finally:
        logging.getLogger("swarm_liveness").removeHandler(handler)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_end_of_a_batch_raises_nothing_into_the_worker(
    runtime: Any, recorder: Any, started: Any, fault: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = LivenessListener(memory_limit=1)
    started.append(listener)
    observed = runtime()
    listener.start(observed, recorder)
    switch = Switch(fault)
    monkeypatch.setattr(listener._memory, "batch_ended", lambda *_: switch())
    (batch_ended,) = observed.callbacks
    batch_ended()
    assert switch.raised == 1


def test_a_reporter_thread_that_is_gone_is_no_health(runtime: Any, recorder: Any) -> None:
    listener = LivenessListener(liveness_interval=0.02)
    listener.start(runtime(), recorder)
    assert listener.verdict().healthy
    gone = threading.Thread(target=lambda: None)
    gone.start()
    gone.join()
    reporting = listener._thread
    assert reporting is not None
    real, reporting._thread = reporting._thread, gone
    assert listener.verdict().code == Status.POLLING
    assert "thread that reports" in listener.verdict().reason
    reporting._thread = real
    listener.stop()
    assert listener.verdict().healthy


@pytest.mark.parametrize("fault", FAULTS)
def test_a_callback_of_the_probe_loop_may_raise_anything(fault: type[BaseException]) -> None:
    loop = ThreadLoop()
    switch, after = Switch(fault), threading.Event()
    loop.call_at(time.monotonic(), switch)
    loop.call_at(time.monotonic() + 0.01, after.set)
    loop.start()
    assert after.wait(60)
    loop.stop()
    assert switch.raised == 1


def test_the_stacks_are_shown_of_what_hangs_and_not_of_a_client_that_has_said_why(
    runtime: Any, recorder: Any, started: Any, caplog: pytest.LogCaptureFixture
) -> None:
    listener = LivenessListener(liveness_interval=0.02, statistics_interval=60)
    started.append(listener)
    listener.start(runtime(fatal="fenced"), recorder)
    assert recorder.next_health()[0] == Status.POLLING
    assert "fenced" in caplog.text
    assert "MainThread" not in caplog.text
