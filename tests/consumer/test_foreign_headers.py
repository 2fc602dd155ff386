"""Header names that are no UTF-8: a producer in C can write them, and the client cannot make text of them."""

import ctypes
import re
from pathlib import Path

import confluent_kafka
import pytest

from swarm_consumer import Consumer, DeadLetters
from swarm_consumer.kafka.record_headers import UNREADABLE_NAME, headers_of
from swarm_consumer.testing.outside_client import read_all

HEADERS = [(b"good", b"a"), (b"\xff\xfe", b"v"), (b"none", None), (b"b\xff", None), (b"last", b"z")]
READABLE = [("good", b"a"), (UNREADABLE_NAME, b"v"), ("none", None), (UNREADABLE_NAME, None), ("last", b"z")]


@pytest.fixture(scope="module")
def produce_raw():
    """Produce one record with headers of bytes through librdkafka itself, as a program in C would."""
    confluent_kafka.libversion()
    maps = Path("/proc/self/maps").read_text()
    found = re.search(r"(/\S*librdkafka\S*\.so\S*)", maps)
    if found is None:
        pytest.skip("librdkafka is linked into confluent-kafka here: it cannot be called from outside")
    library = ctypes.CDLL(found[1])
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, ()),
        ("rd_kafka_conf_set", ctypes.c_int, (pointer, text, text, text, ctypes.c_size_t)),
        ("rd_kafka_new", pointer, (ctypes.c_int, pointer, text, ctypes.c_size_t)),
        ("rd_kafka_headers_new", pointer, (ctypes.c_size_t,)),
        ("rd_kafka_header_add", ctypes.c_int, (pointer, text, ctypes.c_ssize_t, text, ctypes.c_ssize_t)),
        ("rd_kafka_flush", ctypes.c_int, (pointer, ctypes.c_int)),
        ("rd_kafka_destroy", None, (pointer,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments

    def produce(bootstrap, topic, headers):
        error = ctypes.create_string_buffer(512)
        configuration = library.rd_kafka_conf_new()
        for name, value in (("bootstrap.servers", bootstrap), ("log_level", "0")):
            assert library.rd_kafka_conf_set(configuration, name.encode(), value.encode(), error, 512) == 0
        producer = library.rd_kafka_new(0, configuration, error, 512)
        assert producer, error.value
        try:
            made = library.rd_kafka_headers_new(len(headers))
            for name, value in headers:
                assert library.rd_kafka_header_add(made, name, len(name), value, len(value or b"")) == 0
            # Pairs of rd_kafka_vtype_t and value: TOPIC, VALUE, MSGFLAGS (copy), HEADERS, END (rdkafka.h)
            refused = library.rd_kafka_producev(
                pointer(producer), 1, text(topic.encode()), 4, text(b"value"), ctypes.c_size_t(5), 7, 2,
                10, pointer(made), 0,
            )  # fmt: skip
            assert refused == 0
            assert library.rd_kafka_flush(producer, 20_000) == 0
        finally:
            library.rd_kafka_destroy(producer)

    return produce


def test_they_are_read_as_a_mark_and_dead_lettered(embedded_broker, make_app, start, topic_name, produce_raw):
    topic, dead = topic_name("foreign"), topic_name("dead")
    embedded_broker.create_topic(topic, 1)
    embedded_broker.create_topic(dead, 1)
    produce_raw(embedded_broker.bootstrap, topic, HEADERS)
    plain = confluent_kafka.Message(topic="t", value=b"v", headers=[("a", b"1")])
    for _ in range(1000):  # so that CPython specialises what it can of it: errors then come up elsewhere
        assert headers_of(plain)
    assert read_all(embedded_broker.bootstrap, topic)[0].headers == tuple(READABLE)
    app = make_app(group=topic_name("group"))
    seen, letters = [], []

    @app.topic(topic, retry_backoff=0.05, dead_letters=DeadLetters(topic=dead, max_retries=1))
    class Reads(Consumer):
        def consume(self, messages):
            seen.append(messages[0].headers)
            raise ValueError("not today")

    @app.topic(dead)
    class Letters(Consumer):
        def consume(self, messages):
            letters.extend(message.headers for message in messages)

    running = start(app)
    running.wait_for(lambda: letters, what="the dead letter")
    assert running.stop() == 0
    assert seen == [READABLE, READABLE]
    assert letters[0][: len(READABLE)] == READABLE
    assert dict(letters[0])["swarm-error"] == b"ValueError: not today"


def test_good_headers_are_what_the_client_says(make_records):
    plain = confluent_kafka.Message(topic="t", value=b"v", headers=[("a", b"1"), ("a", None)])
    assert headers_of(plain) == [("a", b"1"), ("a", None)]
    assert headers_of(make_records(0, 1)[0]) == []
