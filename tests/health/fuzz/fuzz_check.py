"""What must hold for whatever a node writes: the property of the suite and of `hatch run fuzz health_pipe`."""

from swarm_health import NodeStatistics, Statistics, Unhealthy
from swarm_health import _wire as wire
from swarm_health._framing import MAX_FRAME, encode_frame
from swarm_health._report_stream import ReportStream

PACKAGES = ["swarm_health"]
LAST_WORDS = Unhealthy(7, "after everything " * 100)
GOOD_FRAME = encode_frame(wire.encode(LAST_WORDS, 5))
GOOD_FRAMES = GOOD_FRAME * (MAX_FRAME // len(GOOD_FRAME) + 2)


def pieces_of(data):
    """Cut the data, after its first byte, into pieces of that many bytes; 0 does not cut."""
    size = data[0] if data else 0
    data = data[1:]
    if not size:
        return [data]
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


def check(data):
    """Raise if the reader breaks any of its promises over this input."""
    pieces = pieces_of(data)
    stream = ReportStream()
    read = []
    for piece in pieces:
        reading = stream.feed(piece, False)
        assert not reading.closed
        assert stream.frames.kept_bytes <= MAX_FRAME
        assert reading.status is None or reading.status >= 0
        assert reading.dropped >= 0
        read += reading.reports
    skips = sum(stream.skips().values())
    again = stream.feed(GOOD_FRAMES, False)
    assert again.reports[-1] == LAST_WORDS
    assert again.status >= LAST_WORDS.code
    assert sum(stream.skips().values()) >= skips
    assert stream.feed(b"", True).closed
    for report in read:
        check_round_trip(report)


def check_round_trip(report):
    """What was read is what a writer can write, and is read again as the same."""
    if not isinstance(report, Statistics):
        assert wire.decode(wire.encode(report, 0)).report == report
        return
    statistics = report.statistics
    assert type(statistics) is NodeStatistics
    merger = wire.StatisticsMerger()
    try:
        payloads = wire.encode_statistics(statistics, 1, 0)
    except ValueError:
        return
    merged = [merger.add(wire.decode(payload).report) for payload in payloads][-1]
    # NaN is not equal to itself, and names too long for a writer are cut: compare what is written, twice.
    again = wire.encode_statistics(merged, 1, 0)
    once_more = [wire.StatisticsMerger().add(wire.decode(payload).report) for payload in again[:1]]
    assert len(again) > 1 or wire.encode_statistics(once_more[0], 1, 0) == again
