"""The protocol between real processes: killed writers, stopped watchers, foreign bytes, big statistics."""

import contextlib
import fcntl
import os
import select
import signal

import pytest

from swarm_health import Healthy, NodeStatistics, PartitionStatistics, Statistics, Unhealthy, pipe


@pytest.fixture
def fork_writer():
    """Return a function: fork a child that runs ``body(writer)``, return (reader, pid). None outlives its test."""
    children = []

    def fork_writer(body):
        reader, writer = pipe()
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                reader.close()
                body(writer)
                code = 0
            finally:
                os._exit(code)
        writer.close()
        children.append((reader, pid))
        return reader, pid

    yield fork_writer
    for reader, pid in children:
        reader.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)  # not reaped yet: the pid is still the child's
            os.waitpid(pid, 0)


def read_until_closed(reader):
    reports = []
    while True:
        assert select.select([reader], [], [], 30)[0], "nothing came for 30 s"
        reading = reader.read()
        reports += reading.reports
        if reading.closed:
            return reports


@pytest.mark.parametrize("after", range(5))
def test_a_writer_that_is_killed_leaves_whole_reports_only(fork_writer, after):
    sent = NodeStatistics(partitions=[PartitionStatistics("t" * 90, number) for number in range(200)])

    def write_for_ever(writer):
        while True:
            writer.unhealthy(3, "x" * 2500)
            writer.statistics(sent)
            writer.healthy()

    reader, pid = fork_writer(write_for_ever)
    for _ in range(after * 20 + 1):
        select.select([reader], [], [], 30)
        reader.read()
    os.kill(pid, signal.SIGKILL)
    for report in read_until_closed(reader):
        assert report in (Healthy(), Unhealthy(3, "x" * 2500), Statistics(sent))
    # Statistics that the kill cut off between two parts stay unfinished; sets whose parts were dropped are counted.
    assert set(reader.skipped_by_cause) <= {"incomplete"}


def test_a_watcher_that_does_not_read_holds_up_nobody(fork_writer):
    gate, go = os.pipe()
    finished, finish = os.pipe()

    def report_ten_thousand_times(writer):
        for number in range(10_000):
            writer.unhealthy(number + 1, "the watcher does not read")
        os.write(finish, b"y")
        os.read(gate, 1)  # the watcher has made room
        assert writer.dropped > 0
        assert writer.unhealthy(20_000, str(writer.dropped))

    reader, pid = fork_writer(report_ten_thousand_times)
    assert os.read(finished, 1) == b"y"
    received = 0
    while reports := reader.read().reports:
        received += len(reports)
    os.write(go, b"y")
    (last,) = read_until_closed(reader)
    assert os.waitpid(pid, 0)[1] == 0
    assert last.code == 20_000
    assert received + int(last.reason) == 10_000
    assert reader.skipped == 0
    for fd in (gate, go, finished, finish):
        os.close(fd)


def test_text_that_a_library_prints_into_the_pipe_costs_no_report(fork_writer):
    def print_between_reports(writer):
        for number in range(1, 50):
            os.write(writer.fileno(), b"WARNING: deprecated\n" * (number % 3))
            writer.unhealthy(number, "amid text")
            os.write(writer.fileno(), bytes([number, 0, 255, 15]))

    reader, _ = fork_writer(print_between_reports)
    assert [report.code for report in read_until_closed(reader)] == list(range(1, 50))
    assert set(reader.skipped_by_cause) <= {"garbage", "truncated"}
    assert reader.skipped >= 49


def test_statistics_bigger_than_a_pipe_make_room_for_themselves(ends):
    reader, writer = ends
    before = fcntl.fcntl(writer.fileno(), fcntl.F_GETPIPE_SZ)
    sent = NodeStatistics(partitions=[PartitionStatistics("topic-" + "x" * 60, n, lag=n) for n in range(1500)])
    assert writer.statistics(sent), "nobody reads meanwhile: all parts have to fit"
    assert fcntl.fcntl(writer.fileno(), fcntl.F_GETPIPE_SZ) > before
    seen = []
    while reports := reader.read().reports:
        seen += reports
    assert seen == [Statistics(sent)]
    assert reader.skipped == 0


def test_one_reading_takes_no_more_than_its_bound(ends):
    reader, writer = ends
    fcntl.fcntl(writer.fileno(), fcntl.F_SETPIPE_SZ, 1024 * 1024)
    written = 0
    while writer.unhealthy(1, "x" * 3000):
        written += 1
    first = len(reader.read().reports)
    assert 0 < first < written
    rest = 0
    while reports := reader.read().reports:
        rest += len(reports)
    assert first + rest == written
    assert reader.skipped == 0


def test_a_signal_handler_may_report_amid_a_report(fork_writer):
    def report_under_signals(writer):
        signal.signal(signal.SIGALRM, lambda *_: writer.unhealthy(9, "from the handler"))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        sent = NodeStatistics(partitions=[PartitionStatistics("t" * 90, number) for number in range(100)])
        for _ in range(300):
            writer.statistics(sent)
            writer.healthy()
        signal.setitimer(signal.ITIMER_REAL, 0)
        os._exit(0)

    reader, pid = fork_writer(report_under_signals)
    kinds = {type(report) for report in read_until_closed(reader)}
    assert os.waitpid(pid, 0)[1] == 0
    assert kinds == {Healthy, Unhealthy, Statistics}
    assert set(reader.skipped_by_cause) <= {"incomplete"}


def test_a_descriptor_that_somebody_else_closed_is_the_end_and_no_error(ends):
    reader, writer = ends
    spare = os.dup(reader.fileno())
    os.close(reader.fileno())
    try:
        assert reader.read().closed
    finally:
        os.dup2(spare, reader.fileno())  # so that the fixture closes what is the reader's
        os.close(spare)
    writer.healthy()
    assert reader.read().status == 0
