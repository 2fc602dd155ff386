"""A codec of an application's own: JSON, compressed where a header says so; docs/payloads.md explains it."""

import gzip
from typing import Any

import msgspec

from swarm_consumer import App, Batch, Codec, Consumer, DeadLetters, Encoded
from swarm_consumer.testing import Record, run_messages


class Order(msgspec.Struct):
    id: int
    note: str


MARK = ("content-encoding", b"gzip")


class Gzip(Codec):
    """JSON, compressed where a header says so."""

    def __init__(self, kind: type) -> None:
        self._decoder = msgspec.json.Decoder(kind)

    def decode(self, value: bytes, headers: list[tuple[str, bytes | None]]) -> Any:
        return self._decoder.decode(gzip.decompress(value) if MARK in headers else value)

    def encode(self, payload: Any) -> Encoded:
        return Encoded(gzip.compress(msgspec.json.encode(payload)), [MARK])


app = App("shop")


@app.topic("orders", payload=Gzip(Order), dead_letters=DeadLetters(topic="orders-dead", max_retries=0, max_ratio=1))
class Orders(Consumer):
    def consume(self, messages: Batch[Order]) -> None:
        for order in messages.iter_payloads():
            self.produce("archive", order)  # read below with a codec: compressed
            self.produce("order-ids", {"id": order.id})  # JSON
            self.produce("for-partners", order, codec=Gzip(Order))  # compressed


app.consume("archive", group="audit", payload=Gzip(Order))(lambda messages: messages.payloads())


def test_orders_are_read_and_written_with_the_codec() -> None:
    plain = Record(b'{"id":2,"note":"plain"}')
    outcome = run_messages(app, {"orders": [Order(1, "packed by the kit"), plain]})
    for topic in ("archive", "for-partners"):
        assert [record.headers for record in outcome.produced[topic]] == [(MARK,), (MARK,)]
        assert gzip.decompress(outcome.produced[topic][1].value) == plain.value
    assert [record.value for record in outcome.produced["order-ids"]] == [b'{"id":1}', b'{"id":2}']


def test_a_dead_letter_is_the_record_as_it_came() -> None:
    outcome = run_messages(app, {"orders": [Record(b"no gzip at all", headers=(MARK,))]})
    (letter,) = outcome.produced["orders-dead"]
    assert (letter.value, letter.headers[0]) == (b"no gzip at all", MARK)
