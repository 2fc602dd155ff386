"""The reporter thread with real time and real threads. Every wait is for an event; bounds are generous."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from swarm_health import NodeStatistics, PartitionStatistics, Status, pipe
from swarm_liveness import LivenessListener, MemorySample
from swarm_liveness._judging import listener as listener_module
from swarm_liveness._judging import verdict as verdict_module
from swarm_liveness._judging import watch as watch_module


@pytest.fixture
def started() -> Iterator[list[LivenessListener]]:
    listeners: list[LivenessListener] = []
    yield listeners
    for one in listeners:
        one.stop()


def reporter_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "swarm-liveness"]


def test_the_first_beat_is_at_once_and_the_others_at_the_interval(runtime: Any, recorder: Any, started: Any) -> None:
    listener = LivenessListener(liveness_interval=0.2, statistics_interval=60)
    started.append(listener)
    begun = time.monotonic()
    listener.start(runtime(), recorder)
    assert recorder.next_health() == (0, "")
    for _ in range(5):
        assert recorder.next_health() == (0, "")
    assert 5 * 0.2 <= time.monotonic() - begun < 15.0


def test_an_expired_ttl_is_reported_at_once_and_not_at_the_next_beat(
    runtime: Any, run: Any, recorder: Any, started: Any
) -> None:
    """The beat is every 20 s, so a report after 2 s can only be the deadline's own."""
    listener = LivenessListener(liveness_interval=20, statistics_interval=60)
    started.append(listener)
    observed = runtime(hooks=[run(started=time.monotonic(), ttl_s=2.0)])
    listener.start(observed, recorder)
    assert recorder.next_health() == (0, "")
    code, reason = recorder.next_health(timeout=15)
    assert code == Status.CONSUMING
    assert "consume of flights/3 (offsets 100 to 199)" in reason


def test_a_complaint_of_the_application_is_reported_soon(runtime: Any, recorder: Any, started: Any) -> None:
    class Complaining(runtime):  # type: ignore[misc]
        said: tuple[int, str] | None = None

        def complaint(self) -> tuple[int, str] | None:
            return self.said

    listener = LivenessListener(liveness_interval=20, statistics_interval=0.1)
    started.append(listener)
    observed = Complaining()
    listener.start(observed, recorder)
    assert recorder.next_health() == (0, "")
    observed.said = 77, "the cache is corrupt"
    assert recorder.next_health(timeout=15) == (77, "the cache is corrupt")


def test_a_state_is_told_when_it_changes_and_not_at_the_next_interval(
    runtime: Any, recorder: Any, started: Any
) -> None:
    """Beat and statistics are an hour away, so what comes can only be the change's own."""
    listener = LivenessListener(liveness_interval=3600, statistics_interval=3600)
    started.append(listener)
    observed = runtime(phase="starting", numbers={"state": "starting"})
    listener.start(observed, recorder)
    assert recorder.statistics.get(timeout=20).state == "starting"
    for state in ("running", "quieting", "quiet"):
        observed.numbers = {"state": state}
        observed.enter(state)
        assert recorder.statistics.get(timeout=20).state == state
    assert recorder.health.qsize() == 1


def test_a_change_of_state_that_was_dropped_is_told_again(runtime: Any, recorder: Any, started: Any) -> None:
    listener = LivenessListener(liveness_interval=0.1, statistics_interval=3600)
    started.append(listener)
    observed = runtime(phase="starting", numbers={"state": "starting"})
    listener.start(observed, recorder)
    assert recorder.statistics.get(timeout=20).state == "starting"
    recorder.drop_statistics = 2
    observed.numbers = {"state": "running"}
    observed.enter("running")
    assert recorder.statistics.get(timeout=20).state == "running"


def test_the_stacks_of_what_hangs_are_in_the_log_once_before_the_report(
    runtime: Any, run: Any, recorder: Any, started: Any, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()

    def a_handler_that_hangs() -> None:
        released.wait(60)

    worker = threading.Thread(target=a_handler_that_hangs, name="worker-7")
    worker.start()
    try:
        listener = LivenessListener(liveness_interval=0.1, statistics_interval=60)
        started.append(listener)
        listener.start(runtime(hooks=[run(started=0.0, ttl_s=1.0)]), recorder)
        assert recorder.next_health()[0] == Status.CONSUMING
        stacks = [record.getMessage() for record in caplog.records if "a_handler_that_hangs" in record.getMessage()]
        assert len(stacks) == 1
        assert stacks[0].startswith("thread 'worker-7':")
        for _ in range(3):
            recorder.next_health()
        assert sum("a_handler_that_hangs" in record.getMessage() for record in caplog.records) == 1
    finally:
        released.set()
        worker.join()


def test_a_dropped_bad_report_is_sent_again(runtime: Any, recorder: Any, started: Any) -> None:
    recorder.drop = 2
    listener = LivenessListener(liveness_interval=60, statistics_interval=0.1)
    started.append(listener)
    listener.start(runtime(fatal="fenced"), recorder)
    code, reason = recorder.next_health()
    assert code == Status.POLLING
    assert "fenced" in reason


def test_a_runtime_that_cannot_be_asked_does_not_beat_and_beats_again_later(
    runtime: Any, recorder: Any, started: Any, caplog: pytest.LogCaptureFixture
) -> None:
    observed = runtime(error=RuntimeError("torn"))
    listener = LivenessListener(liveness_interval=0.05, statistics_interval=0.05)
    started.append(listener)
    listener.start(observed, recorder)
    with pytest.raises(queue.Empty):
        recorder.next_health(timeout=1.0)
    observed.error = None
    assert recorder.next_health() == (0, "")
    told = [record for record in caplog.records if "cannot check the liveness" in record.message]
    assert len(told) == 1


def test_statistics_travel_on_their_own_clock_with_memory_and_cpu(
    runtime: Any, recorder: Any, poll: Any, started: Any
) -> None:
    listener = LivenessListener(liveness_interval=60, statistics_interval=0.05)
    started.append(listener)
    listener.start(
        runtime(numbers={"state": "running", "messages": 3}, groups=[poll(last_poll=time.monotonic())]), recorder
    )
    first = recorder.statistics.get(timeout=20)
    assert (first.state, first.messages) == ("running", 3)
    assert first.rss_mb > 5
    assert 0 < first.uss_mb <= first.pss_mb <= first.rss_mb + 5
    assert first.cpu_s > 0
    assert first.poll_age_s >= 0
    for _ in range(3):
        recorder.statistics.get(timeout=20)
    assert recorder.health.qsize() == 1


def test_broken_statistics_do_not_cost_health(runtime: Any, recorder: Any, started: Any) -> None:
    listener = LivenessListener(liveness_interval=0.05, statistics_interval=0.05)
    started.append(listener)
    listener.start(runtime(numbers={"partitions": 3}), recorder)
    for _ in range(5):
        assert recorder.next_health() == (0, "")
    assert recorder.statistics.empty()


class GrowingMemory:
    """Figures of a script instead of the kernel's: one sample each."""

    def __init__(self, *figures: float) -> None:
        self.figures = list(figures)
        self.exact_reads = 0

    def rss_mb(self) -> float:
        return self.figures[0] + 100

    def exact(self) -> MemorySample:
        self.exact_reads += 1
        uss = self.figures[0]
        if len(self.figures) > 1:
            self.figures.pop(0)
        return MemorySample(uss + 100, uss, uss + 30)

    def close(self) -> None:
        pass


def test_three_samples_over_the_limit_are_reported_without_any_batch(
    runtime: Any, recorder: Any, started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = GrowingMemory(50, 101, 102, 103)
    monkeypatch.setattr(listener_module, "ProcessMemory", lambda: memory)
    listener = LivenessListener(100, liveness_interval=60, statistics_interval=0.5)
    started.append(listener)
    listener.start(runtime(), recorder)
    assert recorder.next_health() == (0, "")
    code, reason = recorder.next_health()
    assert code == Status.MEMORY
    assert reason == "uss of 103.0 MB is over the memory_limit of 100 MB, in 3 samples in a row"


def test_statistics_that_cannot_be_reported_cost_neither_the_beat_nor_the_rest(
    runtime: Any, recorder: Any, started: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report holds some ten thousand partitions; a reporter thread that ended of one more would fall silent."""
    reader, writer = pipe()
    many = [PartitionStatistics(topic="flights", partition=number) for number in range(100_000)]
    monkeypatch.setattr(watch_module, "combined_statistics", lambda *_: NodeStatistics(messages=7, partitions=many))
    monkeypatch.setattr(recorder, "report", writer.statistics)
    listener = LivenessListener(liveness_interval=0.2, statistics_interval=0.1)
    started.append(listener)
    listener.start(runtime(), recorder)
    for _ in range(3):
        assert recorder.next_health() == (0, "")
    listener.stop()
    reading = reader.read()
    assert reading.statistics is not None
    assert (reading.statistics.messages, reading.statistics.partitions) == (7, [])
    assert caplog.text.count("reporting them without partitions") == 1
    reader.close()
    writer.close()


def test_the_end_of_a_batch_brings_a_sample_and_wakes_the_reporter(
    runtime: Any, recorder: Any, started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both intervals at a minute only batches can bring the first sample over the limit."""
    memory = GrowingMemory(50, 101, 102, 103)
    monkeypatch.setattr(listener_module, "ProcessMemory", lambda: memory)
    listener = LivenessListener(100, liveness_interval=60, statistics_interval=60)
    started.append(listener)
    observed = runtime()
    listener.start(observed, recorder)
    assert recorder.next_health() == (0, "")
    (batch_ended,) = observed.callbacks
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.02):
            batch_ended()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        code, _ = recorder.next_health()
    finally:
        ended.set()
        worker.join()
    assert code == Status.MEMORY
    assert memory.exact_reads <= 5  # hundreds of batches, one sample a second


def test_the_thread_is_a_daemon_named_and_ends_with_stop(runtime: Any, recorder: Any) -> None:
    listener = LivenessListener()
    listener.start(runtime(), recorder)
    (thread,) = reporter_threads()
    assert thread.daemon
    with pytest.raises(RuntimeError, match=r"call stop\(\) first"):
        listener.start(runtime(), recorder)
    listener.stop()
    listener.stop()
    assert reporter_threads() == []
    listener.start(runtime(), recorder)
    listener.stop()


def test_without_a_reporter_there_is_no_thread_and_the_verdict_can_be_asked(
    runtime: Any, run: Any, started: Any
) -> None:
    listener = LivenessListener(consuming_ttl=10)
    started.append(listener)
    assert listener.verdict().healthy
    listener.start(runtime(hooks=[run(started=100.0)]))
    assert reporter_threads() == []
    assert listener.verdict(105.0).healthy
    assert listener.verdict(110.0).code == Status.CONSUMING


def test_stability_without_statistics_is_said_once(
    runtime: Any,
    poll: Any,
    recorder: Any,
    started: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verdict_module, "BLIND_AFTER_S", 0.2)
    listener = LivenessListener(liveness_interval=0.05, statistics_interval=60)
    started.append(listener)
    begun = time.monotonic()
    listener.start(runtime(groups=[poll("delays", begun, join_state=None)]), recorder)
    assert recorder.next_health() == (0, "")
    assert not caplog.records or time.monotonic() - begun >= 0.2
    while time.monotonic() - begun < 1.0:
        assert recorder.next_health() == (0, "")
    assert [record.message.partition(":")[0] for record in caplog.records] == ["stability of 'delays' is not checked"]


GIL_AND_STOP = """
import ctypes, signal, sys, threading, time
from swarm_liveness import LivenessListener

class Poll:
    subscription_group = "group"
    last_poll = time.monotonic()
    max_poll_interval_s = 300.0
    join_state = "steady"
    join_state_since = 0.0

class Run:
    topic, partition, first_offset, last_offset, action = "flights", 3, 1, 9, "consume"
    started = time.monotonic()
    ttl_s = None
    max_poll_interval_s = 3.0

class Runtime:
    phase = "running"
    def polls(self): return [Poll]
    def runs(self): return [Run] if sys.argv[1] == "poll" and time.monotonic() < Run.started + 5.0 else []
    def fatal_error(self): return None
    def statistics(self): return {}
    def after_batch(self, callback): pass

class Reporter:
    def healthy(self): print("healthy", flush=True); return True
    def unhealthy(self, code, reason): print("unhealthy", code, flush=True); return True
    def report(self, statistics): return True

def beat():
    while True:
        Poll.last_poll = time.monotonic()
        time.sleep(0.05)

LivenessListener(polling_ttl=1.5, liveness_interval=0.2).start(Runtime(), Reporter())
if sys.argv[1] == "poll":
    threading.Thread(target=beat, daemon=True).start()
    sys.stdin.read()
else:
    # Two seconds in C that hold the GIL and compute; PyDLL does not release it. Again and again, with no poll at all.
    # Or they wait there, as a driver may that does blocking I/O.
    library = ctypes.PyDLL(None)
    deadline = time.monotonic() + 30
    while sys.argv[1] == "wait" and time.monotonic() < deadline:
        library.usleep(2_200_000)
        time.sleep(0.01)
    library.qsort.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
    compare = ctypes.cast(ctypes.CDLL(None).strcmp, ctypes.c_void_p)
    data = bytes(range(1, 251)) * 0 + b"abcdefg\\0" * 4_000_000
    while time.monotonic() < deadline:
        buffer = ctypes.create_string_buffer(data)
        library.qsort(buffer, 4_000_000, 8, compare)
        time.sleep(0.01)
"""


def test_a_process_that_was_stopped_is_not_blamed_for_its_polls() -> None:
    """SIGSTOP for longer than both TTLs, then CONT: its polls go on, and its batch is done soon: it stays healthy."""
    with subprocess.Popen(
        [sys.executable, "-c", GIL_AND_STOP, "poll"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "healthy\n"
            child.send_signal(signal.SIGSTOP)
            time.sleep(3.5)  # the stop itself is what is tested: it must outlast TTL and stall threshold
            child.send_signal(signal.SIGCONT)
            lines = [child.stdout.readline() for _ in range(15)]
            assert lines == ["healthy\n"] * 15
        finally:
            child.kill()


@pytest.mark.parametrize("how", ["hold", "wait"])
def test_handlers_that_hold_the_gil_do_not_hide_a_dead_poll(how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", GIL_AND_STOP, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                if line == "unhealthy 1\n":
                    break
            else:
                pytest.fail("the dead poll was never reported")
        finally:
            child.kill()


SIGNALLED = """
import os, signal, sys, threading, time
from swarm_liveness import LivenessListener

class Runtime:
    phase = "running"
    def polls(self): return []
    def runs(self): return []
    def fatal_error(self): return None
    def statistics(self): return {}
    def after_batch(self, callback): pass

class Reporter:
    def healthy(self): return True
    def unhealthy(self, code, reason): return True
    def report(self, statistics): return True

LivenessListener().start(Runtime(), Reporter())
(reporter,) = [thread for thread in threading.enumerate() if thread.name == "swarm-liveness"]
deadline = time.monotonic() + 20
mask = 0
while time.monotonic() < deadline and not mask:
    for line in open(f"/proc/self/task/{reporter.native_id}/status"):
        if line.startswith("SigBlk"):
            mask = int(line.split()[1], 16)
    time.sleep(0.01)
print(bool(mask & 1 << signal.SIGTERM - 1), bool(mask & 1 << signal.SIGSEGV - 1))
"""


def test_the_thread_leaves_signals_to_the_main_thread_but_not_its_own_faults() -> None:
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True False\n"
