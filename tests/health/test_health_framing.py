"""Frames, with no pipe and no process: any bytes, cut anywhere, and what comes after garbage."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swarm_health import Healthy, Ready, Stopping, Unhealthy
from swarm_health._framing import MARK, MAX_ATTEMPTS, MAX_FRAME, MAX_PAYLOAD, FrameDecoder, encode_frame
from swarm_health._wire import decode, encode

texts = st.text(max_size=60)
reports = st.one_of(
    st.just(Healthy()),
    st.just(Ready()),
    st.builds(Unhealthy, st.integers(1, 2**31 - 1), texts),
    st.builds(Stopping, texts),
)


def frame(report, dropped=0):
    return encode_frame(encode(report, dropped))


def feed_in_pieces(decoder, data, cuts):
    """Feed the data cut at these places; check at every step what must always hold; return the reports."""
    got = []
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for begin, end in itertools.pairwise(places):
        got += [envelope.report for envelope in decoder.feed(data[begin:end])]
        assert decoder.kept_bytes <= MAX_FRAME
    return got


@given(st.lists(reports, max_size=20), st.lists(st.integers(0, 2000), max_size=20))
def test_reports_survive_any_cutting(sent, cuts):
    decoder = FrameDecoder(decode)
    assert feed_in_pieces(decoder, b"".join(map(frame, sent)), cuts) == sent
    decoder.finish()
    assert decoder.skips.total() == 0
    assert decoder.kept_bytes == 0


@settings(max_examples=500)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
@example(MARK * 20, [7])
@example(b"\x00\x0e\x94" + MARK, [1, 2, 3, 4, 5, 6])
@example(b"\x0f\xfe\x94" + MARK + b"\x01\x00" + b"\x91" * 500, [])
def test_no_bytes_raise_and_the_next_good_reports_are_read(junk, cuts):
    decoder = FrameDecoder(decode)
    feed_in_pieces(decoder, junk, cuts)
    good = frame(Unhealthy(5, "after junk"))
    got = decoder.feed(good * (MAX_FRAME // len(good) + 2))
    assert got[-1].report == Unhealthy(5, "after junk")
    assert decoder.kept_bytes == 0


@given(
    st.lists(st.tuples(st.binary(max_size=40).filter(lambda junk: MARK not in junk), reports), max_size=12),
    st.lists(st.integers(0, 2000), max_size=10),
)
def test_nothing_is_lost_to_garbage_that_does_not_look_like_a_frame(mixed, cuts):
    decoder = FrameDecoder(decode)
    data = b"".join(junk + frame(report) for junk, report in mixed)
    assert feed_in_pieces(decoder, data, cuts) == [report for _, report in mixed]
    assert set(decoder.skips) <= {"garbage"}
    assert decoder.skips["garbage"] == sum(bool(junk) for junk, _ in mixed)


@given(st.lists(st.tuples(reports, st.integers(1, 10**6), reports), min_size=1, max_size=10))
def test_a_report_that_was_cut_short_costs_no_other(cut_and_whole):
    decoder = FrameDecoder(decode)
    for torn, length, whole in cut_and_whole:
        torn_frame = frame(torn)
        assert decoder.feed(torn_frame[: 1 + length % (len(torn_frame) - 1)]) == []
        assert [envelope.report for envelope in decoder.feed(frame(whole))] == [whole]
    assert decoder.skips == {"garbage": len(cut_and_whole)}


def test_a_frame_that_claims_more_than_it_has_is_given_up_when_a_whole_one_follows():
    decoder = FrameDecoder(decode)
    assert decoder.feed(MAX_PAYLOAD.to_bytes(2, "big") + encode(Stopping("cut"), 0)) == []
    assert decoder.kept_bytes > 0
    assert [envelope.report for envelope in decoder.feed(frame(Healthy()))] == [Healthy()]
    assert decoder.skips == {"garbage": 1}


@pytest.mark.parametrize("length", [0, 1, 4, MAX_PAYLOAD + 1, 0xFFFF])
def test_a_length_that_cannot_be_is_garbage_at_once(length):
    decoder = FrameDecoder(decode)
    assert decoder.feed(length.to_bytes(2, "big") + encode(Healthy(), 0)) == []
    assert decoder.skips == {"garbage": 1}
    assert decoder.feed(frame(Healthy()))


def test_the_end_of_the_stream_inside_a_report_is_counted():
    decoder = FrameDecoder(decode)
    decoder.feed(frame(Healthy())[:-1])
    decoder.finish()
    assert decoder.skips == {"truncated": 1}
    decoder.finish()
    assert decoder.skips == {"truncated": 1}


def test_the_end_of_the_stream_inside_garbage_is_counted_once():
    decoder = FrameDecoder(decode)
    decoder.feed(b"some text that a library has printed into the wrong descriptor\n\x00\x0d")
    decoder.finish()
    assert decoder.skips == {"garbage": 1}


@pytest.mark.parametrize(
    "look_alikes",
    [
        b"\x0f\xfe\x94" + MARK + b"\x01\x00",
        b"\x00\x09\x94" + MARK + b"\x01\x00\xc1\xc1",
        b"\x0f\xfe\x94" + MARK + b"\x01\x00" + b"\x91" * 4085,
        MARK,
        b"\x00",
        b"\x0f",
    ],
)
def test_garbage_of_any_kind_costs_a_bounded_number_of_attempts(look_alikes):
    attempts = 0

    def counted(payload):
        nonlocal attempts
        attempts += 1
        return decode(payload)

    decoder = FrameDecoder(counted)
    decoder.feed(look_alikes * (256 * 1024 // len(look_alikes)))
    assert attempts <= MAX_ATTEMPTS + 2
    assert decoder.skips == {"garbage": 1}
    # and the way back is never longer than a frame
    got = decoder.feed(frame(Healthy()) * (MAX_FRAME // len(frame(Healthy())) + 2))
    assert got[-1].report == Healthy()


def test_one_byte_at_a_time_of_garbage_keeps_no_more_than_a_frame():
    decoder = FrameDecoder(decode)
    beginning = b"\x0f\xfe\x94" + MARK
    for number in range(3 * MAX_FRAME):
        decoder.feed(beginning[number : number + 1] or b"\xc1")
        assert decoder.kept_bytes <= MAX_FRAME
    assert decoder.skips == {"garbage": 1}


def test_a_payload_that_does_not_fit_is_refused():
    assert len(encode_frame(b"x" * MAX_PAYLOAD)) == MAX_FRAME
    with pytest.raises(ValueError, match="does not fit"):
        encode_frame(b"x" * (MAX_PAYLOAD + 1))
