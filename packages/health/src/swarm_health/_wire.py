"""Payloads: the versioned MessagePack array around a report. Pure, like the frames around it.

A payload is ``[mark, version, dropped, report]``; a report is a tagged array, ``["unhealthy", 3, "why"]``. Arrays
grow at their end: a reader ignores elements that it does not know and fills in missing ones, so that a version
changes only when an old reader would misunderstand.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, TypeVar

import msgspec

from swarm_health._framing import MARK_VALUE, MAX_PAYLOAD, Rejected
from swarm_health.reports import (
    Healthy,
    NodeStatistics,
    PartitionStatistics,
    Ready,
    Recycle,
    Stopping,
    TopicStatistics,
    Unhealthy,
)

VERSION = 1
MAX_PARTS = 256
"""Parts of one set of statistics: with `MAX_PAYLOAD` it bounds what a reader holds to 1 MB."""
CUT_MARK = "... [cut]"
"""Ends a text that was cut because it was too long."""

_MAX_TEXT_BYTES = 3072
_MAX_NAME_BYTES = 512
_CONTAINER_SLACK = 12  # the headers of two lists and a map grow by 2 to 4 bytes each when they are no longer empty


PartNumber = Annotated[int, msgspec.Meta(ge=1, le=MAX_PARTS)]


class WirePartition(PartitionStatistics, array_like=True):
    """`PartitionStatistics` without field names, a third of the size."""


class WireTopic(TopicStatistics, array_like=True):
    """`TopicStatistics` without field names."""


class WireNode(NodeStatistics, array_like=True, kw_only=True):
    """`NodeStatistics` without field names. Partitions, topics and extra values travel beside it."""


class StatisticsPart(msgspec.Struct, frozen=True, array_like=True, tag="statistics"):
    """One part of a set of statistics. The first part carries the node's own numbers."""

    sequence: int
    part: PartNumber
    parts: PartNumber
    node: WireNode | None = None
    partitions: list[WirePartition] = []
    extra: dict[str, int | float | str | bool] = {}
    topics: list[WireTopic] = []


_Row = TypeVar("_Row", WireNode, WirePartition, WireTopic)
_Content = tuple[list[WirePartition], dict[str, int | float | str | bool], list[WireTopic]]
WireReport = Healthy | Ready | Recycle | Unhealthy | Stopping | StatisticsPart


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A whole payload."""

    mark: bytes
    version: int
    dropped: int
    report: WireReport


class _Header(msgspec.Struct, array_like=True):
    mark: bytes
    version: int


class _Tagged(msgspec.Struct, array_like=True):
    mark: bytes
    version: int
    dropped: int
    report: list[Any]


_encoder = msgspec.msgpack.Encoder()
_envelope_decoder = msgspec.msgpack.Decoder(Envelope)
_header_decoder = msgspec.msgpack.Decoder(_Header)
_tagged_decoder = msgspec.msgpack.Decoder(_Tagged)
_KNOWN_TAGS = {kind.__struct_config__.tag for kind in (Healthy, Ready, Recycle, Unhealthy, Stopping, StatisticsPart)}

# What msgspec raises for bytes of any kind: its own errors, bad UTF-8, and RecursionError for arrays nested too deep.
_DECODE_ERRORS = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)


def encode(report: WireReport, dropped: int) -> bytes:
    """Return the payload of a report. ``dropped`` is how many reports its writer has dropped so far."""
    return _encoder.encode(Envelope(MARK_VALUE, VERSION, dropped, report))


def decode(payload: bytes) -> Envelope:
    """Return the contents of a payload. Raises `Rejected` for any bytes that are not a valid payload."""
    try:
        envelope = _envelope_decoder.decode(payload)
    except _DECODE_ERRORS:
        raise _why_rejected(payload) from None
    if envelope.version != VERSION:
        raise Rejected("version", framed=True)
    if envelope.dropped < 0:
        raise Rejected("invalid", framed=True)
    # A writer of another version, or in another language, may have sent them.
    return _without_odd_numbers(envelope) if _may_have_odd_numbers(payload) else envelope


def _why_rejected(payload: bytes) -> Rejected:
    try:
        header = _header_decoder.decode(payload)
    except msgspec.ValidationError:
        return Rejected("invalid", framed=True)
    except _DECODE_ERRORS:
        return Rejected("garbage", framed=False)
    if header.version != VERSION:
        return Rejected("version", framed=True)
    try:
        tag = _tagged_decoder.decode(payload).report[0]
    except (*_DECODE_ERRORS, IndexError, TypeError):
        return Rejected("invalid", framed=True)
    return Rejected("type" if isinstance(tag, str) and tag not in _KNOWN_TAGS else "invalid", framed=True)


def cut_text(text: str, max_bytes: int = _MAX_TEXT_BYTES) -> str:
    """Return the text encoded as UTF-8, cut to ``max_bytes`` with a mark at its end. TypeError if it is not a str.

    Lone surrogates, which come from file names and broken input, become backslash escapes.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text (str) is needed here, not {type(text).__name__}")
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) > max_bytes:
        return encoded[: max_bytes - len(CUT_MARK)].decode("utf-8", "ignore") + CUT_MARK
    return encoded.decode()


def encode_statistics(statistics: NodeStatistics, sequence: int, dropped: int) -> list[bytes]:
    """Return the payloads of a set of statistics: one, or as many as its partitions and extra values need.

    NaN and infinities are not sent: they mean unknown.

    TypeError if a reader would refuse the value of a field; ValueError if more than `MAX_PARTS` payloads are needed.
    """
    try:
        whole = _whole_part(statistics, sequence)
        parts = [whole]
        payloads = [encode(whole, dropped)]
        if len(payloads[0]) > MAX_PAYLOAD:
            parts = _split(whole, dropped)
            payloads = [encode(part, dropped) for part in parts] if len(parts) <= MAX_PARTS else []
        if any(_may_have_odd_numbers(payload) for payload in payloads) and (finite := _finite_part(whole)) != whole:
            return encode_statistics(_merged([finite]) or statistics, sequence, dropped)
        for payload in payloads:
            _envelope_decoder.decode(payload)
    except (msgspec.MsgspecError, AttributeError, TypeError, OverflowError) as error:
        raise TypeError(f"statistics cannot be reported: {error}") from error
    if not payloads:
        raise ValueError(
            f"{len(whole.partitions)} partitions with {len(whole.topics)} topics and {len(whole.extra)} extra values "
            f"need {len(parts)} reports, and at most {MAX_PARTS} make up one set of statistics: report fewer partitions"
        )
    return payloads


def _whole_part(statistics: NodeStatistics, sequence: int) -> StatisticsPart:
    fields = {name: getattr(statistics, name) for name in NodeStatistics.__struct_fields__}
    partitions, extra, topics = (fields.pop(name) for name in ("partitions", "extra", "topics"))
    node = WireNode(**fields)
    node.state = cut_text(node.state, _MAX_NAME_BYTES)
    rows = [WirePartition(*msgspec.structs.astuple(partition)) for partition in partitions]
    sums = [WireTopic(*msgspec.structs.astuple(topic)) for topic in topics]
    named: list[WirePartition | WireTopic] = [*rows, *sums]
    for row in named:
        row.topic = cut_text(row.topic, _MAX_NAME_BYTES)
        row.group = cut_text(row.group, _MAX_NAME_BYTES)
    texts = {
        cut_text(key, _MAX_NAME_BYTES): cut_text(value, _MAX_NAME_BYTES) if isinstance(value, str) else value
        for key, value in extra.items()
    }
    return StatisticsPart(sequence, 1, 1, node, rows, texts, sums)


def _may_have_odd_numbers(payload: bytes) -> bool:
    """Whether a payload may contain a NaN or an infinity, by their first bytes as float 64 or float 32.

    This search takes a microsecond; a look at every value of a thousand partitions takes a millisecond.
    """
    return any(beginning in payload for beginning in (b"\xcb\x7f", b"\xcb\xff", b"\xca\x7f", b"\xca\xff"))


def _without_odd_numbers(envelope: Envelope) -> Envelope:
    if not isinstance(envelope.report, StatisticsPart):
        return envelope
    finite = msgspec.structs.replace(envelope, report=_finite_part(envelope.report))
    try:
        return _envelope_decoder.decode(_encoder.encode(finite))
    except msgspec.ValidationError:  # a value that must not be unknown
        raise Rejected("invalid", framed=True) from None


def _finite_part(part: StatisticsPart) -> StatisticsPart:
    """The part without NaN and infinities: JSON has no such values, and one would break a whole snapshot."""
    node = None if part.node is None else _finite(part.node)
    extra = {key: value for key, value in part.extra.items() if _known(value) is not None}
    return msgspec.structs.replace(
        part,
        node=node,
        partitions=[_finite(row) for row in part.partitions],
        topics=[_finite(row) for row in part.topics],
        extra=extra,
    )


def _finite(row: _Row) -> _Row:
    values = {name: getattr(row, name) for name in row.__struct_fields__}
    odd = {name: None for name, value in values.items() if _known(value) is None and value is not None}
    return msgspec.structs.replace(row, **odd) if odd else row


def _known(value: Any) -> Any:
    """The value; None, which means unknown, in place of a NaN or an infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _split(whole: StatisticsPart, dropped: int) -> list[StatisticsPart]:
    """Distribute rows and extra values, in order, over as few parts as possible; the node is in the first."""
    empty = StatisticsPart(whole.sequence, MAX_PARTS, MAX_PARTS, whole.node)
    room = MAX_PAYLOAD - len(encode(empty, dropped)) - _CONTAINER_SLACK
    contents: list[_Content] = [([], {}, [])]
    left = room

    def place(size: int) -> _Content:
        nonlocal left
        if size > left:
            contents.append(([], {}, []))
            left = room
        left -= size
        return contents[-1]

    for partition in whole.partitions:
        place(len(_encoder.encode(partition)))[0].append(partition)
    for topic in whole.topics:
        place(len(_encoder.encode(topic)))[2].append(topic)
    for key, value in whole.extra.items():
        place(len(_encoder.encode(key)) + len(_encoder.encode(value)))[1][key] = value
    return [
        StatisticsPart(whole.sequence, number, len(contents), whole.node if number == 1 else None, *content)
        for number, content in enumerate(contents, 1)
    ]


class StatisticsMerger:
    """Reassembles the parts of a set of statistics. It holds at most one unfinished set."""

    def __init__(self) -> None:
        self.incomplete = 0
        """Sets dropped because another one began or because their parts do not fit together."""
        self._sequence: int | None = None
        self._parts: dict[int, StatisticsPart] = {}

    def add(self, part: StatisticsPart) -> NodeStatistics | None:
        """Take a part. Return the statistics if it was the last missing part."""
        if part.sequence != self._sequence:
            self.incomplete += bool(self._parts)
            self._sequence = part.sequence
            self._parts = {}
        self._parts[part.part] = part
        if len(self._parts) < part.parts:
            return None
        parts = [self._parts[number] for number in sorted(self._parts)]
        self._parts = {}
        merged = _merged(parts)
        self.incomplete += merged is None
        return merged


def _merged(parts: list[StatisticsPart]) -> NodeStatistics | None:
    node = parts[0].node
    if node is None or any(part.part != number or part.parts != len(parts) for number, part in enumerate(parts, 1)):
        return None
    fields = msgspec.structs.asdict(node)
    fields["partitions"] = [
        PartitionStatistics(*msgspec.structs.astuple(row)) for part in parts for row in part.partitions
    ]
    fields["extra"] = {key: value for part in parts for key, value in part.extra.items()}
    fields["topics"] = [TopicStatistics(*msgspec.structs.astuple(row)) for part in parts for row in part.topics]
    return NodeStatistics(**fields)
