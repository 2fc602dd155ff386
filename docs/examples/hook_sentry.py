"""Report errors to Sentry from each node: once for each failing batch, not for each attempt at it."""

import os
from collections.abc import Iterator

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger

from swarm_consumer import App, Batch, NodeInfo
from swarm_consumer.events import BatchFailed, DeadLettered

app = App("shop", kafka={"bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")})


@app.lifespan
def sentry(node: NodeInfo) -> Iterator[None]:
    """Make the client in the node: it sends from a thread of its own. Its end waits for what is under way."""
    ignore_logger("swarm_consumer")  # it logs every attempt as an error
    sentry_sdk.init(dsn=os.environ.get("SENTRY_DSN"), release=os.environ.get("RELEASE"))
    sentry_sdk.set_tag("node", str(node.id))
    try:
        yield
    finally:
        sentry_sdk.flush(timeout=5)


@app.on(BatchFailed)
def report(event: BatchFailed) -> None:
    """Report the first failure at a place."""
    if event.attempt == 1:
        with sentry_sdk.new_scope() as scope:
            scope.set_context("kafka", {"topic": event.topic, "partition": event.partition, "offset": event.offset})
            sentry_sdk.capture_exception(event.error)


@app.on(DeadLettered)
def report_loss(event: DeadLettered) -> None:
    """Report each message that was given up."""
    sentry_sdk.capture_message(str(event), level="warning")


@app.consume("orders", group="shop")
def handle(messages: Batch[bytes]) -> None:
    """Refuse an empty order."""
    for message in messages:
        if not message.payload:
            raise ValueError("an empty order")
