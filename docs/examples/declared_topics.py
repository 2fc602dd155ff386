"""An application that says what its topics are to be like: `swarm-cli topics plan declared_topics:app`."""

import os

import msgspec

from swarm_consumer import App, Batch, Consumer


class Order(msgspec.Struct):
    """An order, in JSON."""

    number: int


app = App("orders", kafka={"bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")})

app.declare_topic("order-totals", partitions=8, config={"retention.ms": 604_800_000})


@app.topic("orders", group="totals", payload=Order, partitions=8)
class Totals(Consumer):
    """Handles the orders of one partition."""

    def consume(self, messages: Batch[Order]) -> None:
        """Handle one batch."""
