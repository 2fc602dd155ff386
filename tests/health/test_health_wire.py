"""Payloads: versions, kinds and values from other times; texts that do not fit; statistics in parts."""

import itertools
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm_health import (
    Healthy,
    NodeStatistics,
    PartitionStatistics,
    Statistics,
    Stopping,
    TopicStatistics,
    Unhealthy,
)
from swarm_health._framing import MARK_VALUE, MAX_PAYLOAD, Rejected
from swarm_health._wire import (
    CUT_MARK,
    MAX_PARTS,
    VERSION,
    StatisticsMerger,
    StatisticsPart,
    WireNode,
    WirePartition,
    cut_text,
    decode,
    encode,
    encode_statistics,
)


def payload(*elements):
    return msgspec.msgpack.encode(list(elements))


@pytest.mark.parametrize(
    ("elements", "report"),
    [
        ((MARK_VALUE, VERSION, 0, ["healthy"], "a fifth element", {"of": "a later time"}), Healthy()),
        ((MARK_VALUE, VERSION, 0, ["unhealthy", 3, "why", [1, 2]]), Unhealthy(3, "why")),
        ((MARK_VALUE, VERSION, 0, ["unhealthy", 3]), Unhealthy(3, "")),
        ((MARK_VALUE, VERSION, 0, ["stopping"]), Stopping("")),
    ],
)
def test_arrays_that_are_longer_or_shorter_than_ours_are_understood(elements, report):
    assert decode(payload(*elements)).report == report


def test_a_partition_of_an_earlier_time_lacks_its_newest_fields():
    part = decode(payload(MARK_VALUE, VERSION, 0, ["statistics", 1, 1, 1, ["running"], [["flights", 3]]])).report
    merged = StatisticsMerger().add(part)
    assert merged == NodeStatistics(state="running", partitions=[PartitionStatistics("flights", 3)])


def test_a_reader_of_an_earlier_time_passes_over_what_it_does_not_know():
    """Groups, ages and topics stand at the ends of their arrays: the version is the same."""
    sent = NodeStatistics(
        messages=5,
        partitions=[PartitionStatistics("flights", 3, lag=2, group="delays", lag_s=0.5)],
        topics=[TopicStatistics("delays", "flights", messages=5)],
    )
    (data,) = encode_statistics(sent, 1, 0)
    _, version, _, report = msgspec.msgpack.decode(data)
    _, _, _, _, node, rows, extra, sums = report
    assert version == VERSION == 1
    assert (node[2], rows[0][:2], rows[0][6], extra) == (5, ["flights", 3], 2, {})
    assert (rows[0][10], sums[0][:3]) == ("delays", ["delays", "flights", 5])


@pytest.mark.parametrize(
    ("elements", "cause"),
    [
        ((MARK_VALUE, VERSION + 1, 0, ["healthy"]), "version"),
        ((MARK_VALUE, 0, 0, ["healthy"]), "version"),
        ((MARK_VALUE, VERSION + 1, {"quite": "different"}), "version"),
        ((MARK_VALUE, VERSION, 0, ["sleepy", 1]), "type"),
        ((MARK_VALUE, VERSION, 0, []), "invalid"),
        ((MARK_VALUE, VERSION, 0, [1]), "invalid"),
        ((MARK_VALUE, VERSION, 0, "healthy"), "invalid"),
        ((MARK_VALUE, VERSION, 0), "invalid"),
        ((MARK_VALUE, VERSION), "invalid"),
        ((MARK_VALUE,), "invalid"),
        ((MARK_VALUE, "1", 0, ["healthy"]), "invalid"),
        ((MARK_VALUE, VERSION, -1, ["healthy"]), "invalid"),
        ((MARK_VALUE, VERSION, 0, ["unhealthy", 0, "healthy after all"]), "invalid"),
        ((MARK_VALUE, VERSION, 0, ["unhealthy", -1, "not reporting"]), "invalid"),
        ((MARK_VALUE, VERSION, 0, ["unhealthy", 2**31, ""]), "invalid"),
        ((MARK_VALUE, VERSION, 0, ["unhealthy", 3, None]), "invalid"),
        ((MARK_VALUE, VERSION, 0, ["statistics", 1, 0, 1, None]), "invalid"),
        ((MARK_VALUE, VERSION, 0, ["statistics", 1, 1, MAX_PARTS + 1, None]), "invalid"),
        ((MARK_VALUE, VERSION, 0, ["statistics", 1, 1, 1, None, [], {"key": [1]}]), "invalid"),
    ],
)
def test_what_is_not_understood_is_rejected_with_its_cause_and_its_frame_trusted(elements, cause):
    with pytest.raises(Rejected) as caught:
        decode(payload(*elements))
    assert (caught.value.cause, caught.value.framed) == (cause, True)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"\xc1",
        b"\x91" * 4000,
        b"\x81\x01" * 2000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x92\xa8stopping\xdb\xff\xff\xff\xff",
        b"\x91\xa7healthy and more than the array holds",
    ],
)
def test_what_is_no_message_pack_means_that_the_frames_are_lost(tail):
    with pytest.raises(Rejected) as caught:
        decode(b"\x94" + msgspec.msgpack.encode(MARK_VALUE) + b"\x01\x00" + tail)
    assert (caught.value.cause, caught.value.framed) == ("garbage", False)


@given(st.text(max_size=100), st.integers(len(CUT_MARK), 120))
def test_a_text_is_cut_to_its_bound_and_says_so(text, bound):
    cut = cut_text(text, bound)
    assert len(cut.encode()) <= bound
    if len(text.encode("utf-8", "backslashreplace")) <= bound:
        assert cut == text
    else:
        assert cut.endswith(CUT_MARK)
        assert text.startswith(cut.removesuffix(CUT_MARK))


def test_lone_surrogates_become_escapes():
    assert cut_text("caf\udce9") == "caf\\udce9"


@given(st.text(st.characters(exclude_categories=[]), min_size=0, max_size=6000))
def test_any_reason_fits_into_a_frame(reason):
    assert len(encode(Unhealthy(2**31 - 1, cut_text(reason)), 2**63)) <= MAX_PAYLOAD


counts = st.integers(0, 2**63 - 1)
ages = st.none() | st.floats(0, allow_infinity=False)
partitions = st.builds(
    PartitionStatistics,
    topic=st.text(max_size=20),
    partition=st.integers(0, 2**31 - 1),
    messages=counts,
    bytes=counts,
    batches=counts,
    errors=counts,
    lag=st.none() | counts,
    position=st.none() | counts,
    committed=st.none() | counts,
    in_flight_age_s=ages,
    group=st.text(max_size=20),
    lag_s=ages,
    in_flight_limit_s=ages,
)
topics = st.builds(
    TopicStatistics,
    group=st.text(max_size=20),
    topic=st.text(max_size=20),
    messages=counts,
    batches=counts,
    bytes=counts,
    errors=counts,
    retries=counts,
    dead_lettered=counts,
    taken_over=counts,
    take_overs_refused=counts,
    suspected=counts,
    parked=counts,
    durations=st.lists(counts, max_size=15),
    duration_s=st.floats(0, allow_infinity=False),
)
# One big list of a few sorts of partitions: thousands of drawn ones would be slow, and no different.
many_partitions = st.tuples(st.lists(partitions, min_size=1, max_size=5), st.integers(0, 2000)).map(
    lambda drawn: list(itertools.islice(itertools.cycle(drawn[0]), drawn[1]))
)
extras = st.dictionaries(
    st.text(max_size=30),
    counts | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=100) | st.booleans(),
    max_size=60,
)
nodes = st.builds(
    NodeStatistics,
    state=st.text(max_size=50),
    batches=counts,
    messages=counts,
    bytes=counts,
    errors=counts,
    retries=counts,
    dead_lettered=counts,
    taken_over=counts,
    take_overs_refused=counts,
    suspected=counts,
    parked=counts,
    in_flight_age_s=ages,
    poll_age_s=ages,
    rss_mb=ages,
    uss_mb=ages,
    pss_mb=ages,
    cpu_s=ages,
    partitions=many_partitions,
    extra=extras,
    topics=st.lists(topics, max_size=60),
)


def merge(payloads):
    merger = StatisticsMerger()
    return [merged for data in payloads if (merged := merger.add(decode(data).report)) is not None]


@settings(max_examples=150, deadline=None)
@given(nodes, st.integers(0, 2**63), st.integers(0, 2**63))
def test_statistics_of_any_size_come_back_whole(sent, sequence, dropped):
    payloads = encode_statistics(sent, sequence, dropped)
    assert all(len(data) <= MAX_PAYLOAD for data in payloads)
    assert merge(payloads) == [sent]


@settings(max_examples=50, deadline=None)
@given(nodes.filter(lambda node: len(node.partitions) > 300), st.data())
def test_statistics_with_a_part_missing_never_come_out(sent, data):
    payloads = encode_statistics(sent, 1, 0)
    del payloads[data.draw(st.integers(0, len(payloads) - 1))]
    merger = StatisticsMerger()
    assert [merger.add(decode(part).report) for part in payloads] == [None] * len(payloads)
    assert merger.add(decode(encode_statistics(NodeStatistics(batches=7), 2, 0)[0]).report) == NodeStatistics(batches=7)
    assert merger.incomplete == bool(payloads)  # of a set of one part nothing is left


def test_small_statistics_travel_in_one_part_and_big_ones_in_as_few_as_hold_them():
    one = NodeStatistics(partitions=[PartitionStatistics("flights", number) for number in range(8)])
    assert len(encode_statistics(one, 1, 0)) == 1
    many = NodeStatistics(partitions=[PartitionStatistics("flights", number) for number in range(1000)])
    payloads = encode_statistics(many, 1, 0)
    assert len(payloads) == math.ceil(sum(map(len, payloads)) / MAX_PAYLOAD)


@pytest.mark.parametrize("length", range(1, 120, 7))
def test_parts_are_filled_to_the_brim_and_never_over_it(length):
    rows = [PartitionStatistics("t" * (length + number % 3), number) for number in range(1500)]
    extra = {f"key {number}": number for number in range(700)}
    for sent in (
        NodeStatistics(partitions=rows),
        NodeStatistics(extra=extra),
        NodeStatistics(partitions=rows, extra=extra),
    ):
        payloads = encode_statistics(sent, 1, 0)
        assert max(map(len, payloads)) <= MAX_PAYLOAD
        assert min(map(len, payloads[:-1])) > MAX_PAYLOAD - 200
        assert merge(payloads) == [sent]


def test_parts_that_contradict_one_another_are_no_statistics():
    merger = StatisticsMerger()
    assert merger.add(StatisticsPart(1, 1, 3, WireNode())) is None
    assert merger.add(StatisticsPart(1, 2, 2)) is None
    assert merger.incomplete == 1
    assert merger.add(StatisticsPart(2, 1, 1, WireNode())) == NodeStatistics()


def test_long_names_are_cut_and_travel():
    sent = NodeStatistics(
        state="s" * 9000, partitions=[PartitionStatistics("t" * 9000, 0)], extra={"k" * 9000: "v" * 9000}
    )
    (merged,) = merge(encode_statistics(sent, 1, 0))
    for text in (merged.state, merged.partitions[0].topic, *merged.extra.keys(), *merged.extra.values()):
        assert text.endswith(CUT_MARK)
        assert len(text) == 512


def test_more_partitions_than_a_reader_holds_are_refused_in_numbers():
    sent = NodeStatistics(partitions=[PartitionStatistics("t" * 200, number) for number in range(10_000)])
    with pytest.raises(ValueError, match=rf"10000 partitions .* at most {MAX_PARTS}"):
        encode_statistics(sent, 1, 0)


parts = st.builds(
    StatisticsPart,
    sequence=st.integers(0, 3),
    part=st.integers(1, 4),
    parts=st.integers(1, 4),
    node=st.none() | st.just(WireNode()),
)


@given(st.lists(parts, max_size=30))
def test_parts_in_any_disorder_are_merged_or_counted(sent):
    merger = StatisticsMerger()
    for part in sent:
        merged = merger.add(part)
        assert merged is None or merged == NodeStatistics()
        assert len(merger._parts) < MAX_PARTS
    fresh = encode_statistics(NodeStatistics(batches=1), 9, 0)
    assert merger.add(decode(fresh[0]).report) == NodeStatistics(batches=1)


def test_what_is_merged_is_what_users_encode_as_json():
    sent = NodeStatistics(partitions=[PartitionStatistics("flights", 1)])
    (merged,) = merge(encode_statistics(sent, 1, 0))
    assert msgspec.json.decode(msgspec.json.encode(merged))["partitions"][0]["topic"] == "flights"
    assert Statistics(merged) == Statistics(sent)


NOT_FINITE = (float("nan"), float("inf"), float("-inf"))


@pytest.mark.parametrize("value", NOT_FINITE)
def test_what_is_no_finite_number_does_not_travel(value):
    """JSON has no NaN: one of them would make the snapshot of a whole swarm unreadable."""
    sent = NodeStatistics(
        rss_mb=value, cpu_s=1.5, partitions=[PartitionStatistics("t", 0, in_flight_age_s=value)],
        extra={"loss": value, "accuracy": 0.5},
    )  # fmt: skip
    (whole,) = merge(encode_statistics(sent, 1, 0))
    assert (whole.rss_mb, whole.cpu_s, whole.partitions[0].in_flight_age_s) == (None, 1.5, None)
    assert whole.extra == {"accuracy": 0.5}


@pytest.mark.parametrize("value", NOT_FINITE)
def test_what_another_writer_lets_through_stops_at_the_reader(value):
    part = StatisticsPart(
        1, 1, 1, WireNode(rss_mb=value), [WirePartition("t", 0, in_flight_age_s=value)], {"loss": value, "good": 1.0}
    )
    (whole,) = merge([encode(part, 0)])
    assert (whole.rss_mb, whole.partitions[0].in_flight_age_s, whole.extra) == (None, None, {"good": 1.0})
