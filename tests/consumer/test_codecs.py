"""Codecs: payloads that need the headers of their record, both ways; and what they cost those that do without."""

from __future__ import annotations

import enum
import gc
import gzip
import sys

import confluent_kafka
import msgspec
import pytest

from swarm_consumer import (
    App,
    Batch,
    Codec,
    ConfigurationError,
    Consumer,
    DeadLetters,
    DeserializationError,
    Encoded,
    Message,
    Producer,
)
from swarm_consumer._payloads.codec import DEFAULT
from swarm_consumer._payloads.deserialization import compile_decoders
from swarm_consumer.testing import Record, await_committed, produce, read_all, run_messages

MARK = ("content-encoding", b"gzip")


class Order(msgspec.Struct):
    id: int


class Gzip(Codec):
    """JSON, compressed where a header says so."""

    def __init__(self, kind):
        self.decoder = msgspec.json.Decoder(kind)
        self.asked = 0

    def decode(self, value, headers):
        self.asked += 1
        return self.decoder.decode(gzip.decompress(value) if MARK in headers else value)

    def encode(self, payload):
        return Encoded(gzip.compress(msgspec.json.encode(payload)), [MARK])


class Reverse(Codec):
    def decode(self, value, headers):
        return value[::-1]

    def encode(self, payload):
        return payload[::-1]


def batch(values, payload):
    """A batch of (value, headers) pairs from offset 10 on."""
    records = [
        confluent_kafka.Message(topic="orders", partition=0, offset=offset, value=value, headers=headers)
        for offset, (value, headers) in enumerate(values, start=10)
    ]
    return Batch("orders", 0, records, compile_decoders("orders", payload, None, None))


def packed(payload):
    return tuple(Gzip(Order).encode(payload))


# -- reading -------------------------------------------------------------------------------------------------------


def test_a_codec_sees_the_headers_of_each_record_and_no_tombstone():
    values = [packed(Order(1)), (b'{"id":2}', [("other", None)]), (b'{"id":3}', None), (None, [MARK])]
    expected = [Order(1), Order(2), Order(3), None]
    one, codec = batch(values, Gzip(Order)), Gzip(Order)
    assert one.payloads() == expected
    assert list(one.iter_payloads()) == expected
    assert [message.payload for message in one] == expected
    single = Message(one.records[0], compile_decoders("orders", codec, None, None))
    assert (single.payload, single.payload, codec.asked) == (Order(1), Order(1), 1), "once"
    assert single.raw_payload == values[0][0]
    assert single.headers == [MARK]
    assert one.raw_payloads() == [value for value, _ in values]


@pytest.mark.parametrize("bad", [0, 31, 32, 69])
def test_an_error_of_a_codec_names_the_offset_and_comes_after_the_payloads_before(bad):
    values = [(b"x", [MARK]) if number == bad else packed(Order(number)) for number in range(70)]
    one, seen = batch(values, Gzip(Order)), []
    with pytest.raises(DeserializationError, match=rf"orders\[0\] offset {10 + bad}: the payload .* gzip") as caught:
        seen.extend(one.iter_payloads())
    assert seen == [Order(number) for number in range(bad)]
    assert one._offset_in_hand(caught.value) == 10 + bad
    with pytest.raises(DeserializationError, match=rf"offset {10 + bad}:"):
        one.payloads()
    assert isinstance(caught.value.__cause__, gzip.BadGzipFile)


# -- writing -------------------------------------------------------------------------------------------------------


class Forward(Consumer):
    """Produces what it is given to the topic `out`."""

    def consume(self, messages):
        for message in messages:
            self.produce("out", message.payload)


def app_with(codec, handler=Forward, **options):
    """An app that reads `messages`, and `out` with a codec."""
    app = App("shop", {"bootstrap.servers": "in-memory"})
    app.topic("messages", payload=Order, **options)(handler)
    app.topic("out", payload=codec, group="readers")(type("Reader", (Consumer,), {"consume": lambda *_: None}))
    return app


def test_what_is_produced_to_a_topic_goes_through_the_codec_that_reads_it():
    (record,) = run_messages(app_with(Gzip(Order)), {"messages": [Order(1)]}).produced["out"]
    assert (gzip.decompress(record.value), record.headers) == (b'{"id":1}', (MARK,))


def test_a_tombstone_and_headers_stay_and_a_codec_that_is_named_wins():
    class Handler(Consumer):
        def consume(self, messages):
            self.produce("out", None, headers=[("a", b"1")])
            self.produce("out", Order(1), headers={"a": b"1"})
            self.produce("out", b"abc", headers=[("a", b"1")], codec=Reverse())
            self.producer.produce("elsewhere", Order(2), codec=Gzip(Order), key="k")
            self.produce("plain", Order(3))

    produced = run_messages(app_with(Gzip(Order), Handler), {"messages": [Order(1)]}).produced
    tombstone, coded, named = produced["out"]
    assert (tombstone.value, tombstone.headers) == (None, (("a", b"1"),))
    assert coded.headers == (("a", b"1"), MARK)
    assert (named.value, named.headers) == (b"cba", (("a", b"1"),))
    (elsewhere,) = produced["elsewhere"]
    assert (gzip.decompress(elsewhere.value), elsewhere.key) == (b'{"id":2}', b"k")
    assert [record.value for record in produced["plain"]] == [b'{"id":3}']


def test_a_pattern_gives_its_codec_to_the_topics_that_have_none_by_name():
    app = App("shop", {"bootstrap.servers": "in-memory"})

    @app.topic("messages")
    class Handler(Consumer):
        def consume(self, messages):
            for topic in ("out-1", "out-named", "plain"):
                self.produce(topic, b"abc")

    app.consume("^out-.*", group="readers", payload=Reverse())(lambda messages: None)
    app.consume("out-named", group="others", payload=Gzip(bytes))(lambda messages: None)
    produced = run_messages(app, {"messages": [b"x"]}).produced
    assert produced["out-1"][0].value == b"cba"
    assert produced["out-named"][0].headers == (MARK,)
    assert produced["plain"][0].value == b"abc"


def test_a_pattern_gives_no_codec_to_a_topic_that_its_group_reads_by_name():
    app = App("shop", {"bootstrap.servers": "in-memory"})

    @app.topic("messages", group="writers")
    class Handler(Consumer):
        def consume(self, messages):
            self.produce("out-1", b"abc")
            self.produce("out-plain", b"abc")

    seen = []
    app.consume("^out-.*", group="readers", payload=Reverse())(lambda messages: seen.extend(messages.payloads()))
    app.consume("out-plain", group="readers")(lambda messages: seen.extend(messages.payloads()))
    produced = run_messages(app, {"messages": [b"x"]}, chain=True).produced
    assert [produced[topic][0].value for topic in ("out-1", "out-plain")] == [b"cba", b"abc"]
    assert seen == [b"abc", b"abc"]
    app.consume("^out-p.*", group="more", payload=Reverse())(lambda messages: None)
    assert run_messages(app, {"messages": [b"x"]}).produced["out-plain"][0].value == b"cba", "another group reads it so"


def test_a_topic_that_is_read_with_two_codecs_is_to_be_told_apart():
    app = app_with(Gzip(Order))
    app.consume("out", group="more", payload=Gzip(Order))(lambda messages: None)
    with pytest.raises(ConfigurationError, match=r"topic 'out' is read with several codecs \(.*Reader.*\): say which"):
        run_messages(app, {"messages": [Order(1)]})


def test_one_codec_for_two_groups_is_no_matter():
    codec = Gzip(Order)
    app = app_with(codec)
    app.consume("out", group="more", payload=codec)(lambda messages: None)
    app.consume("out", group="raw")(lambda messages: None)
    assert run_messages(app, {"messages": [Order(1)]}).produced["out"][0].headers == (MARK,)


@pytest.mark.parametrize("wrong", ["text", 7, None, (b"x", []), Encoded("text", [])])
def test_what_can_be_no_value_is_refused_and_nothing_is_sent(wrong):
    class Odd(Reverse):
        def encode(self, payload):
            return wrong

    sentence = rf"Odd\.encode\(\) returned {type(wrong).__name__}: it has to return bytes"
    with pytest.raises(TypeError, match=sentence):
        run_messages(app_with(Odd()), {"messages": [Order(1)]})
    with pytest.raises(TypeError, match=sentence):
        run_messages(app_with(Odd()), {"out": [Order(1)]})


def test_a_codec_that_only_reads_says_so_where_it_is_to_write():
    class Reading(Codec):
        def decode(self, value, headers):
            return value

    with pytest.raises(NotImplementedError, match=r"Reading does not define encode\(self, payload\): it only reads"):
        run_messages(app_with(Reading()), {"messages": [Order(1)]})


def test_an_error_of_a_codec_leaves_no_client_behind():
    class Broken(Reverse):
        def encode(self, payload):
            raise ValueError("no key")

    producer = Producer({"bootstrap.servers": "127.0.0.1:1"}, codec_of=lambda topic: Broken())
    with pytest.raises(ValueError, match="no key"):
        producer.produce("out", b"x")
    assert not producer.used


def test_the_default_codec_reads_values_as_they_are_and_writes_objects_as_json():
    assert DEFAULT.decode(b"x", []) == b"x"
    assert [DEFAULT.encode(value) for value in (b"b", "s", {"a": 1}, bytearray(b"x"), Order(1))] == [
        b"b", b"s", b'{"a":1}', b"x", b'{"id":1}',
    ]  # fmt: skip


class Color(str, enum.Enum):
    RED = "red"


class Hidden(str):
    """Text that shows itself otherwise than it is."""

    def __str__(self):
        return "***"


def test_a_str_of_a_kind_of_its_own_is_sent_as_the_text_it_is():
    @App("shop", {"bootstrap.servers": "in-memory"}).topic("messages")
    class Handler(Consumer):
        def consume(self, messages):
            for value in (Color.RED, Hidden("hello"), "", b"", None):
                self.produce("out", value, key=value)

    sent = [(record.value, record.key) for record in run_messages(Handler, [b"x"]).produced["out"]]
    assert sent == [(text, text) for text in (b"red", b"hello", b"", b"", None)]


# -- dead letters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("producer", [None, {"transactional.id": "any"}])
def test_a_dead_letter_is_the_record_as_it_came_even_where_letters_are_read_with_a_codec(producer):
    app = App("shop", {"bootstrap.servers": "in-memory"}, producer=producer)
    app.consume("messages", payload=Gzip(Order), dead_letters=DeadLetters(topic="dead", max_retries=0, max_ratio=1))(
        lambda messages: messages.payloads()
    )
    app.consume("dead", group="dead", payload=Gzip(Order))(lambda messages: None)
    (letter,) = run_messages(app, {"messages": [Record(b"broken", headers=(MARK,))]}).produced["dead"]
    assert letter.value == b"broken"
    assert letter.headers[0] == MARK
    assert [name for name, _ in letter.headers].count(MARK[0]) == 1


# -- the test kit and a broker -------------------------------------------------------------------------------------


def test_messages_of_the_test_kit_go_through_the_codec_and_may_be_chained():
    app, seen = App("shop", {"bootstrap.servers": "in-memory"}), []

    @app.topic("messages", payload=Gzip(Order))
    class First(Consumer):
        def consume(self, messages):
            for order in messages.payloads():
                self.produce("out", Order(order.id + 1))

    app.consume("out", group="readers", payload=Gzip(Order))(lambda messages: seen.extend(messages.payloads()))
    given = [Order(1), b'{"id":2}', Record(Order(3), headers=(("a", None),))]
    run_messages(app, {"messages": given}, chain=True)
    assert seen == [Order(2), Order(3), Order(4)]
    seen.clear()
    run_messages(app, {"messages": [Order(1)]}, chain=True, encode=msgspec.json.encode)
    assert seen == [Order(2)], "what the test says wins"


def test_a_codec_works_from_broker_to_broker(embedded_broker, topic_name, make_app, start):
    topic, out = topic_name("orders"), topic_name("out")
    for name in (topic, out):
        embedded_broker.create_topic(name, 1)
    produce(embedded_broker.bootstrap, topic, [Order(1), Order(2)], encode=Gzip(Order).encode)
    app, codec = make_app(kafka={"auto.commit.interval.ms": 50}), Gzip(Order)

    @app.topic(topic, group=topic, payload=codec)
    class Doubles(Consumer):
        def consume(self, messages):
            for order in messages.iter_payloads():
                self.produce(out, Order(2 * order.id), codec=codec)

    running = start(app)
    await_committed(embedded_broker.bootstrap, topic, topic, {0: 2})
    assert running.stop() == 0
    records = read_all(embedded_broker.bootstrap, out)
    assert [codec.decode(record.value, list(record.headers)) for record in records] == [Order(2), Order(4)]
    assert all(record.headers == (MARK,) for record in records)


# -- at the declaration --------------------------------------------------------------------------------------------


class Awaited(Reverse):
    async def decode(self, value, headers):
        return value


class Yielding(Reverse):
    def encode(self, payload):
        yield payload


class Streaming(Reverse):
    async def decode(self, value, headers):
        yield value


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"payload": Streaming()}, r"Streaming\.decode is async or contains yield"),
        ({"payload": Gzip}, r"payload=Gzip is a class; give a codec made of it, Gzip\(\.\.\.\)"),
        ({"payload": Awaited()}, r"Awaited\.decode is async or contains yield"),
        ({"payload": Yielding()}, r"Yielding\.encode is async or contains yield"),
        ({"key": Reverse()}, "a Codec is for payloads: give key= a function of bytes"),
    ],
)
def test_a_codec_that_cannot_work_is_refused_where_it_is_declared(options, sentence):
    with pytest.raises(ConfigurationError, match=rf"test_codecs\.py:\d+: topic 'orders': {sentence}"):
        App("shop", {"bootstrap.servers": "b:1"}).consume("orders", **options)(lambda messages: None)


def test_an_annotation_beside_a_codec_is_the_users_own_affair():
    app = App("shop", {"bootstrap.servers": "b:1"})

    def handle(messages: Batch[Order]) -> None:
        pass

    app.consume("orders", payload=Gzip(Order))(handle)
    assert isinstance(app.routes[0].decoders.codec, Gzip)


# -- what others pay -----------------------------------------------------------------------------------------------


def calls_in(function):
    """How many Python functions run inside a call. No collection runs meanwhile: hypothesis has callbacks for it."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event == "call"

    gc.disable()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


@pytest.mark.parametrize("payload", [Order, None])
def test_a_plain_payload_costs_no_call_of_python_code_for_each_record(payload):
    few, many = (batch([(b'{"id":1}', None)] * count, payload) for count in (10, 1000))
    assert calls_in(few.payloads) == calls_in(many.payloads)
    assert calls_in(few.raw_payloads) == calls_in(many.raw_payloads)
