"""A test of a handler, without a broker."""

import msgspec

from swarm_consumer import Consumer
from swarm_consumer.testing import run_messages


class Order(msgspec.Struct):
    id: int
    price: float


class Totals(Consumer):
    def consume(self, messages):
        self.produce("totals", {"total": sum(order.price for order in messages.payloads())})


def test_totals():
    outcome = run_messages(Totals, [Order(1, 2.5), Order(2, 4.0)], payload=Order)
    assert outcome.produced["totals"][0].value == b'{"total":6.5}'
    assert outcome.committed == {("messages", 0): 2}
