"""Both ends of a real pipe: what is written is read; a full, broken or closed pipe hurts nobody."""

import os
import select
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_health import (
    Healthy,
    NodeStatistics,
    PartitionStatistics,
    Reader,
    Ready,
    Statistics,
    Status,
    Stopping,
    Unhealthy,
    Writer,
    _wire,
    pipe,
)
from swarm_health._framing import encode_frame
from swarm_health._report_stream import ReportStream


def test_reports_arrive_in_order_and_whole(ends):
    reader, writer = ends
    assert writer.healthy()
    assert writer.ready()
    assert writer.unhealthy(Status.MEMORY, "612 MB of 512 MB used")
    assert writer.stopping("told to")
    reading = reader.read()
    assert reading.reports == (Healthy(), Ready(), Unhealthy(3, "612 MB of 512 MB used"), Stopping("told to"))
    assert (reading.status, reading.reason) == (Status.MEMORY, "612 MB of 512 MB used")
    assert not reading.closed
    assert reading.dropped == reader.skipped == 0


@pytest.mark.parametrize(
    ("codes", "worst"), [((), None), ((0,), 0), ((0, 1), 1), ((1, 0), 1), ((4, 2, 0, 3), 4), ((2, 117, 4), 117)]
)
def test_the_worst_status_of_one_reading_wins(ends, codes, worst):
    reader, writer = ends
    for code in codes:
        assert writer.unhealthy(code, f"reason {code}") if code else writer.healthy()
    reading = reader.read()
    assert reading.status == worst
    assert reading.reason == (f"reason {worst}" if worst else "")


def test_a_status_belongs_to_its_reading_alone(ends):
    reader, writer = ends
    writer.unhealthy(2, "slow")
    assert reader.read().status == 2
    writer.healthy()
    assert reader.read().status == 0
    assert reader.read().status is None


def test_readiness_and_statistics_say_nothing_about_health(ends):
    reader, writer = ends
    writer.ready()
    writer.statistics(NodeStatistics())
    writer.stopping("")
    assert reader.read().status is None


def test_an_empty_pipe_is_an_empty_reading_at_once(ends):
    reader, _ = ends
    assert reader.read().reports == ()


def test_the_end_of_the_writer_is_seen_with_its_last_words(ends):
    reader, writer = ends
    writer.unhealthy(7, "last words")
    writer.close()
    assert select.select([reader], [], [], 5)[0]
    reading = reader.read()
    assert reading.closed
    assert reading.status == 7
    assert reader.read().closed


def test_statistics_arrive_as_they_were_sent(ends):
    reader, writer = ends
    sent = NodeStatistics(
        state="running",
        batches=3,
        rss_mb=129.5,
        partitions=[PartitionStatistics("flights", 2, lag=5), PartitionStatistics("delays", 0, in_flight_age_s=0.25)],
        extra={"a": 1, "b": 0.5, "c": "d", "e": True},
    )
    assert writer.statistics(sent)
    reading = reader.read()
    assert reading.statistics == sent
    assert reading.reports == (Statistics(sent),)
    assert type(reading.statistics) is NodeStatistics
    assert type(reading.statistics.partitions[0]) is PartitionStatistics


def test_the_newest_statistics_of_a_reading_are_the_ones_shown(ends):
    reader, writer = ends
    for batches in range(3):
        writer.statistics(NodeStatistics(batches=batches))
    reading = reader.read()
    assert reading.statistics == NodeStatistics(batches=2)
    assert len(reading.reports) == 3


def test_a_full_pipe_drops_counts_and_says_so_in_the_next_report(ends):
    reader, writer = ends
    written = 0
    while writer.unhealthy(1, "x" * 3000):
        written += 1
    assert writer.dropped == 1
    assert not writer.statistics(NodeStatistics(state="s" * 400, extra={str(n): "v" * 400 for n in range(9)}))
    assert writer.dropped == 2
    received = 0
    while reports := reader.read().reports:
        received += len(reports)
    assert received == written
    assert writer.healthy()
    reading = reader.read()
    assert reading.dropped == 2
    assert reader.skipped_by_cause.get("garbage", 0) == 0


def test_a_broken_pipe_drops_and_raises_nothing(ends):
    reader, writer = ends
    reader.close()
    assert not writer.healthy()
    assert not writer.statistics(NodeStatistics())
    assert writer.dropped == 2
    poll = select.poll()
    poll.register(writer, 0)
    assert poll.poll(5000)[0][1] & select.POLLERR


def test_closed_ends_are_quiet_for_reports_and_clear_about_descriptors(ends):
    reader, writer = ends
    for end in ends:
        end.close()
        end.close()
        with pytest.raises(ValueError, match="closed"):
            end.fileno()
    assert not writer.unhealthy(1, "")
    assert writer.dropped == 1
    reading = reader.read()
    assert reading.closed
    assert reading.reports == ()


def test_both_ends_are_non_blocking_and_not_inherited(ends):
    for end in ends:
        assert not os.get_blocking(end.fileno())
        assert not os.get_inheritable(end.fileno())


@pytest.mark.parametrize("code", [0, -1, 2**31, True, 1.5, "3", None])
def test_a_status_that_cannot_be_is_refused(ends, code):
    reader, writer = ends
    with pytest.raises(ValueError, match="positive int"):
        writer.unhealthy(code, "reason")
    assert reader.read().reports == ()
    assert writer.healthy()


def test_a_reason_that_is_no_text_is_refused(ends):
    _, writer = ends
    with pytest.raises(TypeError, match="text"):
        writer.unhealthy(1, None)


@pytest.mark.parametrize(
    "statistics",
    [
        NodeStatistics(batches="many"),
        NodeStatistics(state=None),
        NodeStatistics(rss_mb="1"),
        NodeStatistics(batches=2**70),
        NodeStatistics(partitions=[PartitionStatistics("flights", None)]),
        NodeStatistics(partitions=[PartitionStatistics(None, 1)]),
        NodeStatistics(partitions=["flights"]),
        NodeStatistics(extra={"a": [1]}),
        NodeStatistics(extra={1: 1}),
        NodeStatistics(extra=None),
        NodeStatistics(partitions=None),
        "statistics",
    ],
)
def test_statistics_that_a_reader_would_refuse_are_refused_at_once(ends, statistics):
    reader, writer = ends
    with pytest.raises(TypeError, match="cannot be reported"):
        writer.statistics(statistics)
    assert reader.read().reports == ()
    assert writer.statistics(NodeStatistics())


def test_ends_made_of_a_pipe_of_ones_own_become_non_blocking_and_not_inherited():
    fds = os.pipe()
    for fd in fds:
        os.set_inheritable(fd, True)
    reader, writer = Reader(fds[0]), Writer(fds[1])
    for fd in fds:
        assert not os.get_blocking(fd)
        assert not os.get_inheritable(fd)
    writer.healthy()
    assert reader.read().status == Status.HEALTHY
    reader.close()
    writer.close()


def test_only_a_pipe_is_taken():
    left, right = socket.socketpair()
    with left, right, pytest.raises(ValueError, match="not a pipe"):
        Writer(left.fileno())


def test_a_forked_node_reports_and_its_death_is_the_end_of_the_pipe(ends):
    reader, writer = ends
    pid = os.fork()
    if pid == 0:
        reader.close()
        writer.unhealthy(9, "from the child")
        os._exit(0)
    writer.close()
    os.waitpid(pid, 0)
    reading = reader.read()
    assert reading.reports == (Unhealthy(9, "from the child"),)
    assert reading.closed


def test_threads_of_one_node_do_not_spoil_each_others_reports(ends):
    reader, writer = ends
    sent = NodeStatistics(partitions=[PartitionStatistics("t" * 200, n) for n in range(40)])
    written = [0] * 4

    def report(which):
        for _ in range(200):
            written[which] += writer.statistics(sent) if which % 2 else writer.healthy()

    threads = [threading.Thread(target=report, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    got: list[object] = []
    alive = True
    while alive:
        alive = any(thread.is_alive() for thread in threads)
        select.select([reader], [], [], 0.05)
        while reports := reader.read().reports:
            got += reports
    assert sum(isinstance(report, Healthy) for report in got) == written[0] + written[2]
    assert [report.statistics for report in got if isinstance(report, Statistics)] == [sent] * (written[1] + written[3])
    assert set(reader.skipped_by_cause) <= {"incomplete"}
    assert writer.dropped == 800 - sum(written)


def test_a_pipe_costs_no_more_than_its_two_descriptors():
    before = len(os.listdir("/proc/self/fd"))
    reader, writer = pipe()
    assert len(os.listdir("/proc/self/fd")) == before + 2
    reader.close()
    writer.close()
    assert len(os.listdir("/proc/self/fd")) == before


@given(kinds=st.lists(st.sampled_from(["beat", "beat with drops", "unhealthy", "garbage"]), max_size=12))
def test_a_beat_read_at_once_is_the_same_as_one_read_in_pieces(kinds):
    """A frame that is nothing but a heartbeat takes a short way; what is read must not depend on that."""
    wires = {
        "beat": encode_frame(_wire.encode(Healthy(), 0)),
        "beat with drops": encode_frame(_wire.encode(Healthy(), 3)),
        "unhealthy": encode_frame(_wire.encode(Unhealthy(4, "why"), 0)),
        "garbage": b"\xfe garbage",
    }
    whole, pieces = ReportStream(), ReportStream()
    for kind in kinds:
        wire = wires[kind]
        once = whole.feed(wire, False)
        twice = [pieces.feed(wire[:5], False), pieces.feed(wire[5:], False)]
        assert once.reports == twice[0].reports + twice[1].reports
        assert once.status == next((each.status for each in twice if each.status is not None), None)
        assert once.dropped == twice[1].dropped
        assert whole.skips() == pieces.skips()
