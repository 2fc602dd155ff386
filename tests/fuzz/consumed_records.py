"""What must hold for whatever a record carries: it is decoded, or refused as a `DeserializationError`."""

import msgspec

from swarm_consumer import DeserializationError, Json, MessagePack
from swarm_consumer._handling.message import Message
from swarm_consumer._payloads.deserialization import Decoders, compile_decoder
from swarm_consumer._producing.letters import letter_headers
from swarm_consumer.events import describe

PACKAGES = [
    "swarm_consumer._handling.message",
    "swarm_consumer._payloads.deserialization",
    "swarm_consumer._producing.letters",
    "json",
]


class Leg(msgspec.Struct):
    """A nested type with everything that JSON and MessagePack have."""

    origin: str
    minutes: int = 0
    share: float = 0.0
    stops: list["Leg"] = []
    notes: dict[str, str | None] = {}
    raw: bytes = b""


def _own(data):
    import json

    return json.loads(data)["leg"]


KINDS = (Leg, Json(), MessagePack(Leg), MessagePack(), Json(Leg, strict=False), int, _own, bytes.decode)
DECODE = [compile_decoder(kind, "fuzzed", "payload") for kind in KINDS]


def _header_names(headers):
    return {name: value.decode() for name, value in headers}


class Record:
    """A record as the client hands it out."""

    def __init__(self, data):
        self.data = data

    def topic(self):
        return "fuzzed"

    def partition(self):
        return 0

    def offset(self):
        return 7

    def value(self):
        return self.data

    def key(self):
        return self.data[:16]

    def timestamp(self):
        return (1, 1_700_000_000_000)

    def headers(self):
        return [(self.data[:8].decode("latin-1"), self.data), ("none", None), ("last", self.data[8:])]


def check(data):
    """Raise if decoding raises anything else, or anything else the second time; the first byte says which decoder."""
    decode = DECODE[(data[0] if data else 0) % len(DECODE)]
    record = Record(data[1:])
    message = Message(record, Decoders(decode, decode, _header_names))
    for field in ("payload", "key", "headers"):
        first = _read(message, field)
        second = _read(message, field)
        if isinstance(first, DeserializationError):
            assert str(first) == str(second)
            assert first.field == field
            check_letter(record, first)
        else:
            assert first is second
    assert message.raw_payload == data[1:]


def _read(message, field):
    try:
        return getattr(message, field)
    except DeserializationError as error:
        return error


def check_letter(record, error):
    """What is dead-lettered for this error can be produced."""
    headers = letter_headers(record, "group", 1, describe(error))
    assert headers[: len(record.headers())] == record.headers()
    for name, value in headers[len(record.headers()) :]:
        assert name.startswith("swarm-")
        value.decode()
        assert len(value) <= 1000
