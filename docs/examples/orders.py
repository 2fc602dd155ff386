"""Add up orders: reads them from one topic, writes their totals to another."""

import os

import msgspec

from swarm_consumer import App, Batch, Consumer


class Order(msgspec.Struct):
    """An order as it comes from the shop, in JSON."""

    number: int
    prices: list[float]


app = App(
    "orders",
    kafka={
        "bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
        "group.protocol": "consumer",  # Kafka 4.0 and newer, and the embedded broker; leave it out for older ones
    },
)


@app.topic("orders", group="totals", payload=Order)
class Totals(Consumer):
    """Handles the orders of one partition."""

    def consume(self, messages: Batch[Order]) -> None:
        """Handle one batch; when this returns, its offsets are stored."""
        for message in messages:
            order = message.payload
            self.produce("order-totals", {"number": order.number, "total": sum(order.prices)}, key=message.raw_key)
            self.mark_as_consumed(message)  # a retry begins behind it
