"""Spans of batches, exported into memory by the real SDK."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the OpenTelemetry SDK is not installed")

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from swarm_liveness._integrations.otel import MAX_LINKS, NodeTracing, batch_span, traced


@dataclass
class Message:
    headers: list[tuple[str, bytes | None]] | None = None


@dataclass
class Batch:
    messages: list[Message] = field(default_factory=lambda: [Message()])
    topic: str = "flights"
    partition: int = 3
    first_offset: int = 100

    @property
    def last_offset(self) -> int:
        return self.first_offset + len(self.messages) - 1

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)


def context(number: int) -> list[tuple[str, bytes | None]]:
    return [("Traceparent", f"00-{number:032x}-{number:016x}-01".encode()), ("other", None)]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # The API lets a provider be set once in a process; each test wants its own.
    monkeypatch.setattr(trace, "get_tracer", lambda name: provider.get_tracer(name))
    return exporter


def test_a_span_says_which_batch_it_is(spans: InMemorySpanExporter) -> None:
    @traced
    def handle(messages: Batch) -> str:
        return f"{len(messages)} handled"

    assert handle(Batch([Message(), Message()])) == "2 handled"
    (span,) = spans.get_finished_spans()
    assert span.name == "process flights"
    assert span.kind == trace.SpanKind.CONSUMER
    assert span.attributes is not None
    assert span.attributes["messaging.destination.partition.id"] == "3"
    assert span.attributes["messaging.batch.message_count"] == 2
    assert span.attributes["messaging.kafka.offset"] == 100
    assert span.attributes["swarm.batch.last_offset"] == 101


def test_it_is_linked_to_the_context_of_each_message_once(spans: InMemorySpanExporter) -> None:
    messages = [
        Message(context(1)),
        Message(context(2)),
        Message(context(1)),
        Message(),
        Message([("traceparent", b"x")]),
    ]
    with batch_span(Batch(messages)):
        pass
    (span,) = spans.get_finished_spans()
    assert [link.context.trace_id for link in span.links] == [1, 2]
    assert all(link.context.is_remote for link in span.links)


def test_links_are_bounded(spans: InMemorySpanExporter) -> None:
    with batch_span(Batch([Message(context(number + 1)) for number in range(1000)])):
        pass
    assert len(spans.get_finished_spans()[0].links) == MAX_LINKS


def test_what_a_handler_raises_is_recorded_and_goes_on(spans: InMemorySpanExporter) -> None:
    class Consumer:
        @traced
        def consume(self, messages: Batch) -> None:
            raise ValueError("bad record")

    with pytest.raises(ValueError, match="bad record"):
        Consumer().consume(Batch())
    (span,) = spans.get_finished_spans()
    assert not span.status.is_ok
    assert span.events[0].name == "exception"


def test_an_async_handler_is_traced_until_it_is_done(spans: InMemorySpanExporter) -> None:
    @traced
    async def handle(messages: Batch) -> int:
        await asyncio.sleep(0)
        assert not spans.get_finished_spans()
        assert trace.get_current_span().is_recording()
        return 5

    assert asyncio.run(handle(Batch())) == 5
    assert len(spans.get_finished_spans()) == 1


def test_without_a_batch_the_call_says_so() -> None:
    with pytest.raises(TypeError, match="called without a batch"):
        traced(lambda x: x)(3)


def test_a_node_makes_its_provider_after_the_fork_and_sends_before_it_ends() -> None:
    """A forked process that ends with os._exit, as a node does; the exporter writes into a pipe."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _node(into)
        finally:
            os._exit(code)
    os.close(into)
    with os.fdopen(out) as pipe:
        assert pipe.read() == "process flights\n"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _node(into: int) -> int:
    class Exporter(InMemorySpanExporter):
        def export(self, spans: Any) -> Any:
            for span in spans:
                os.write(into, f"{span.name}\n".encode())
            return super().export(spans)

    def configure() -> TracerProvider:
        provider = TracerProvider()
        # Sends once an hour: only the flush at the end can be what the test sees.
        provider.add_span_processor(BatchSpanProcessor(Exporter(), schedule_delay_millis=3_600_000))
        return provider

    made: list[TracerProvider] = []
    tracing = NodeTracing(lambda: made.append(configure()) or made[-1])
    for state in ("", "", "running"):
        tracing(SimpleNamespace(state=state))
    with batch_span(Batch()):
        pass
    for _ in range(2):
        tracing(SimpleNamespace(state="stopped"))
    return 0 if len(made) == 1 else 2


def test_a_provider_that_cannot_be_ended_costs_a_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def force_flush(self, timeout_millis: int = 0) -> bool:
            return False

        def shutdown(self) -> None:
            raise OSError("no route")

    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)
    with NodeTracing(Broken):
        pass
    assert "some spans could not be sent within 5 s" in caplog.text
    assert "the tracer provider could not be shut down" in caplog.text


def test_what_was_begun_before_a_fork_is_left_alone_in_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    provider = SimpleNamespace(force_flush=lambda timeout_millis: True, shutdown=lambda: ended.append(1))
    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)
    tracing = NodeTracing(lambda: provider)
    tracing.begin()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    tracing.end()
    assert ended == []


def test_a_provider_that_does_not_end_holds_no_node_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """shutdown() takes no deadline: a node waited for it until its supervisor killed it."""
    gate = threading.Event()
    provider = SimpleNamespace(force_flush=lambda timeout_millis: True, shutdown=lambda: gate.wait(60))
    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)
    monkeypatch.setattr("swarm_liveness._integrations.otel.END_TIMEOUT_S", 0.1, raising=False)
    begun = time.monotonic()
    try:
        with NodeTracing(lambda: provider):
            pass
        assert time.monotonic() - begun < 30
        assert "did not shut down within 0.1 s" in caplog.text
    finally:
        gate.set()
