"""OpenTelemetry: one span for each batch, linked to the context in its messages' headers.

Needs the extra swarm-liveness[otel]. The application chooses the SDK and its exporter.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast

from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Link, Span, SpanKind

logger = logging.getLogger("swarm_liveness")

# The SDK keeps 128 links of a span by default (OTEL_SPAN_LINK_COUNT_LIMIT) and would drop the others.
MAX_LINKS = 128
END_TIMEOUT_S = 8.0
"""How long a node waits for its tracer provider to send pending spans and to end the exporter's threads."""
FLUSH_TIMEOUT_S = 5.0

Handler = TypeVar("Handler", bound=Callable[..., Any])
Headers = Sequence[tuple[str, bytes | None]]


class TracedMessage(Protocol):
    """The part of a message that tracing reads."""

    @property
    def headers(self) -> Any:
        """Pairs of name and value, or None."""


class TracedBatch(Protocol):
    """The part of a batch that tracing reads."""

    @property
    def topic(self) -> str:
        """The topic."""

    @property
    def partition(self) -> int:
        """The partition."""

    @property
    def first_offset(self) -> int:
        """Offset of its first message."""

    @property
    def last_offset(self) -> int:
        """Offset of its last message."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[TracedMessage]: ...


class Provider(Protocol):
    """The part of the SDK's TracerProvider that a node needs."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Send pending spans."""

    def shutdown(self) -> None:
        """End the exporter's threads."""


def traced(handler: Handler) -> Handler:
    """Trace every batch of a handler: a function of a batch, or a Consumer's `consume`, also `async def`.

        @app.consume("flights", group="delays")
        @traced
        def delays(messages): ...

    What the handler raises is recorded in the span and raised again.
    """
    if inspect.iscoroutinefunction(handler):

        @functools.wraps(handler)
        async def waits(*args: Any, **kwargs: Any) -> Any:
            with batch_span(_batch_of(args)):
                return await handler(*args, **kwargs)

        return cast(Handler, waits)

    @functools.wraps(handler)
    def calls(*args: Any, **kwargs: Any) -> Any:
        with batch_span(_batch_of(args)):
            return handler(*args, **kwargs)

    return cast(Handler, calls)


@contextlib.contextmanager
def batch_span(batch: TracedBatch) -> Iterator[Span]:
    """Open a current span for one batch, for handlers that add to it."""
    # Ask each time: until the node has set its provider, this returns a tracer that does almost nothing.
    tracer = trace.get_tracer("swarm_liveness")
    attributes: dict[str, str | int] = {
        # OpenTelemetry semantic conventions for messaging, Kafka.
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": batch.topic,
        "messaging.destination.partition.id": str(batch.partition),
        "messaging.batch.message_count": len(batch),
        "messaging.kafka.offset": batch.first_offset,
        "swarm.batch.last_offset": batch.last_offset,
    }
    with tracer.start_as_current_span(
        f"process {batch.topic}", kind=SpanKind.CONSUMER, attributes=attributes, links=list(message_links(batch))
    ) as span:
        yield span


def message_links(batch: Iterable[TracedMessage]) -> Iterator[Link]:
    """A link to the context of each message that carries one. Equal contexts make one link."""
    seen: set[tuple[int, int]] = set()
    for message in batch:
        headers = message.headers
        if not headers:
            continue
        context = trace.get_current_span(propagate.extract(headers, getter=_HEADERS)).get_span_context()
        key = (context.trace_id, context.span_id)
        if context.is_valid and key not in seen:
            seen.add(key)
            yield Link(context)
            if len(seen) == MAX_LINKS:
                return


class NodeTracing:
    """Traces each process that consumes: makes its provider after the fork, and flushes it before the process ends.

    An exporter has threads, which do not survive a fork and which a supervisor must not have. A node ends without
    atexit. So a provider must not be made when the application is imported, and must be shut down. With swarm-consumer:

        tracing = NodeTracing(make_provider)
        app.on(ClientCreated)(tracing)
        app.on(StateChanged)(tracing)

    The same works in one process. Any other runtime calls `begin` and `end`, or uses `with tracing:`.
    """

    def __init__(self, configure: Callable[[], Provider]) -> None:
        """Nothing is created yet. `configure` returns the provider; it is called in each process that consumes."""
        self._configure = configure
        self._lock = threading.Lock()
        self._provider: Provider | None = None
        self._begun = 0

    def __call__(self, event: object) -> None:
        """Begin at the first event of a process; end when its runtime has stopped."""
        if getattr(event, "state", "") == "stopped":
            self.end()
        else:
            self.begin()

    def begin(self) -> None:
        """Create the provider and set it, once in each process."""
        with self._lock:
            if self._begun == os.getpid():
                return
            self._begun = os.getpid()
            self._provider = self._configure()
            trace.set_tracer_provider(cast(trace.TracerProvider, self._provider))

    def end(self) -> None:
        """Send pending spans and end the exporter, within `END_TIMEOUT_S`. Idempotent; never raises."""
        with self._lock:
            provider, self._provider = self._provider, None
        if provider is None or self._begun != os.getpid():
            return
        # shutdown() takes no timeout, so it runs in a thread that the node can leave behind.
        ending = threading.Thread(target=self._end, args=(provider,), name="swarm-tracing-end", daemon=True)
        ending.start()
        ending.join(END_TIMEOUT_S)
        if ending.is_alive():
            text = "the tracer provider did not shut down within %g s; its last spans may be lost"
            logger.warning(text, END_TIMEOUT_S)

    def _end(self, provider: Provider) -> None:
        try:
            if not provider.force_flush(int(FLUSH_TIMEOUT_S * 1000)):
                logger.warning("some spans could not be sent within %g s and are lost", FLUSH_TIMEOUT_S)
            provider.shutdown()
        except Exception:
            logger.exception("the tracer provider could not be shut down")

    def __enter__(self) -> NodeTracing:
        self.begin()
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()


class _HeaderGetter(Getter[Headers]):
    def get(self, carrier: Headers, key: str) -> list[str] | None:
        values = [value.decode("utf-8", "replace") for name, value in carrier if name.lower() == key and value]
        return values or None

    def keys(self, carrier: Headers) -> list[str]:
        return [name for name, _ in carrier]


_HEADERS = _HeaderGetter()


def _batch_of(arguments: tuple[Any, ...]) -> TracedBatch:
    for argument in arguments:
        if hasattr(argument, "first_offset") and hasattr(argument, "partition"):
            return cast(TracedBatch, argument)
    raise TypeError("a traced handler was called without a batch: use @traced on functions and methods that take one")
