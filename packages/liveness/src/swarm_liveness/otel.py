"""OpenTelemetry: one span for each batch, linked to the context in its messages' headers.

Needs the extra swarm-liveness[otel]. The application chooses the SDK and its exporter.
"""

from __future__ import annotations

from swarm_liveness._integrations.otel import NodeTracing, batch_span, message_links, traced

__all__ = ["NodeTracing", "batch_span", "message_links", "traced"]
