"""Decoding: what a topic's payload, key and headers settings may be, and how errors name their place. No broker."""

from __future__ import annotations

from typing import Any

import confluent_kafka
import msgspec
import pytest
from confluent_kafka.serialization import Deserializer, IntegerDeserializer, StringDeserializer

from swarm_consumer import Batch, ConfigurationError, DeserializationError, Json, Message, MessagePack
from swarm_consumer._payloads.deserialization import Decoders, compile_decoder


class Flight(msgspec.Struct):
    number: int
    carrier: str = "UA"


def message(value, payload=None, key=None, headers=None, raw_key=None, raw_headers=None):
    record = confluent_kafka.Message(
        topic="flights", partition=3, offset=1234, value=value, key=raw_key, headers=raw_headers, timestamp=(1, 5000)
    )
    decoders = Decoders(compile_decoder(payload, "flights", "payload"), compile_decoder(key, "flights", "key"), headers)
    return Message(record, decoders)


def test_a_type_is_json_for_msgspec():
    assert message(b'{"number":7}', Flight).payload == Flight(7)
    assert message(b"[1,2]", list[int]).payload == [1, 2]
    assert message(b'{"a":1}', Any).payload == {"a": 1}
    assert message(b'{"number":"7"}', Json(Flight, strict=False)).payload == Flight(7)


def test_message_pack_is_asked_for_by_name():
    assert message(msgspec.msgpack.encode(Flight(9)), MessagePack(Flight)).payload == Flight(9)


def test_nothing_and_bytes_leave_it_raw_and_a_tombstone_is_none():
    assert message(b"\xff").payload == b"\xff"
    assert message(b"\xff", bytes).payload == b"\xff"
    assert message(None, Flight).payload is None


def test_a_payload_is_decoded_on_first_access_and_once():
    calls = []
    one = message(b"x", lambda data: calls.append(data) or len(calls))
    assert calls == []
    assert (one.payload, one.payload) == (1, 1)
    assert calls == [b"x"]


def test_an_error_names_topic_partition_offset_and_the_path_and_is_not_kept():
    bad = message(b'{"number":"seven"}', Flight)
    for _ in range(2):
        with pytest.raises(DeserializationError) as caught:
            bad.payload  # noqa: B018
        assert str(caught.value) == (
            "flights[3] offset 1234: the payload cannot be decoded: Expected `int`, got `str` - at `$.number`"
        )
    error = caught.value
    assert (error.topic, error.partition, error.offset, error.field) == ("flights", 3, 1234, "payload")
    assert isinstance(error.__cause__, msgspec.ValidationError)


def test_headers_go_through_a_callable():
    one = message(b"", headers=lambda pairs: dict(pairs), raw_headers=[("trace", b"1")])
    assert one.headers == {"trace": b"1"}
    with pytest.raises(DeserializationError, match="the headers cannot be decoded"):
        message(b"", headers=lambda pairs: pairs["x"], raw_headers=[("trace", b"1")]).headers  # noqa: B018


def test_confluents_deserializers_get_their_context():
    seen = []

    class Registry(Deserializer):
        def __call__(self, value, ctx=None):
            seen.append((ctx.topic, str(ctx.field)))
            return value.decode()

    one = message(b"avro", Registry(), key=StringDeserializer("utf_8"), raw_key=b"k")
    assert (one.payload, one.key) == ("avro", "k")
    assert seen == [("flights", "value")]
    assert message(b"\x00\x00\x00\x07", IntegerDeserializer()).payload == 7


@pytest.mark.parametrize("wrong", [7, "flight", object()])
def test_what_cannot_decode_is_refused_at_once(wrong):
    with pytest.raises(ConfigurationError, match="topic 'flights': payload="):
        compile_decoder(wrong, "flights", "payload")


def test_a_class_msgspec_does_not_know_is_refused_at_once():
    class Odd:
        pass

    with pytest.raises(ConfigurationError, match="cannot be decoded into"):
        compile_decoder(Odd, "flights", "payload")


def batch(values, payload):
    records = [
        confluent_kafka.Message(topic="flights", partition=0, offset=offset, value=value, timestamp=(1, 5000))
        for offset, value in enumerate(values, start=10)
    ]
    return Batch("flights", 0, records, Decoders(compile_decoder(payload, "flights", "payload")), end_offset=20)


def test_a_batch_decodes_all_at_once_with_tombstones_between():
    one = batch([b"1", None, b"3"], int)
    assert one.payloads() == [1, None, 3]
    assert one.raw_payloads() == [b"1", None, b"3"]
    assert batch([b"1", b"2"], int).payloads() == [1, 2]
    assert batch([b"1", None], None).payloads() == [b"1", None]


def test_a_batch_names_the_first_message_it_cannot_decode():
    with pytest.raises(DeserializationError, match=r"flights\[0\] offset 12"):
        batch([b"1", None, b"x", b"y"], int).payloads()


def test_payloads_one_after_the_other_are_those_of_the_list():
    values = [None if number % 7 == 0 else b"%d" % number for number in range(100)]
    for payload in (int, lambda data: int(data), None):
        assert list(batch(values, payload).iter_payloads()) == batch(values, payload).payloads()
    assert list(batch([], int).iter_payloads()) == []


@pytest.mark.parametrize("bad", [0, 1, 31, 32, 33, 69])
@pytest.mark.parametrize("payload", [int, lambda data: int(data)])
def test_payloads_before_a_bad_one_are_given_out_first(bad, payload):
    values = [b"x" if number == bad else b"%d" % number for number in range(70)]
    one, seen = batch(values, payload), []
    with pytest.raises(DeserializationError, match=rf"flights\[0\] offset {10 + bad}:") as caught:
        seen.extend(one.iter_payloads())
    assert seen == list(range(bad))
    assert one._offset_in_hand(caught.value) == 10 + bad


@pytest.mark.parametrize("at", [0, 1, 31, 32, 40, 69])
def test_the_message_in_hand_is_known_when_payloads_are_gone_through(at):
    one = batch([b"%d" % number for number in range(70)], int)
    for payload in one.iter_payloads():
        if payload == at:
            break
    assert one._offset_in_hand(ValueError("the handler's own")) == 10 + at


def test_a_callable_is_not_asked_about_tombstones():
    assert batch([b"1", None], lambda data: data.decode()).payloads() == ["1", None]


def test_a_batch_is_a_sequence_that_knows_its_place():
    one = batch([b"1", b"2", b"3"], int)
    assert (len(one), one.first_offset, one.last_offset, one.lag) == (3, 10, 12, 7)
    assert [m.payload for m in one[1:]] == [2, 3]
    assert one[-1].offset == 12
    assert one[0] is one[0]
    assert "offsets 10 to 12" in repr(one)
