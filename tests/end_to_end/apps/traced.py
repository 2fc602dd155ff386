"""An application whose batches are traced; each process appends its spans to a file when it ends."""

import os
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from swarm_consumer import App, Batch
from swarm_consumer.events import ClientCreated, StateChanged
from swarm_liveness.otel import NodeTracing, traced

app = App("traced")


class FileExporter(SpanExporter):
    """A line for each link of each span."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with Path(os.environ["SPANS"]).open("a") as file:
            for span in spans:
                for link in span.links:
                    file.write(f"{os.getpid()} {span.name} {link.context.trace_id}\n")
        return SpanExportResult.SUCCESS


def make_provider() -> TracerProvider:
    """With a thread that would send once an hour: what is seen before was sent at the end."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(FileExporter(), schedule_delay_millis=3_600_000))
    return provider


tracing = NodeTracing(make_provider)
app.on(ClientCreated)(tracing)
app.on(StateChanged)(tracing)


@app.consume(os.environ["TOPIC"], group=os.environ["GROUP"])
@traced
def handle(messages: Batch[bytes]) -> None:
    """Nothing: its span is what counts."""
