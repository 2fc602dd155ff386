"""What a health report costs: to write, to read, and for a watcher of 1,000 writers that each report once a second.

python benchmarks/health_reports.py
"""

import gc
import os
import resource
import select
import statistics
import time

from swarm_health import NodeStatistics, PartitionStatistics, Unhealthy, pipe
from swarm_health import _wire as wire
from swarm_health._framing import MAX_FRAME, encode_frame

WRITERS = 1000
ROUNDS = 20


def node_statistics(partitions):
    """Return statistics as a busy node has them."""
    return NodeStatistics(
        state="running",
        batches=12_345,
        messages=1_234_567,
        bytes=987_654_321,
        poll_age_s=0.12,
        rss_mb=131.5,
        uss_mb=14.2,
        cpu_s=345.6,
        partitions=[
            PartitionStatistics("flights", number, messages=123_456, lag=17, position=123_473, committed=123_400)
            for number in range(partitions)
        ],
    )


def one_writer():
    """Print the cost of a write and of a read."""
    reader, writer = pipe()

    def exchange(report):
        began = time.perf_counter()
        assert report()
        written = time.perf_counter()
        assert reader.read().reports
        return written - began, time.perf_counter() - written

    print(f"{'report':34} {'bytes':>7} {'write':>9} {'read':>9}")
    small, big, huge = node_statistics(8), node_statistics(100), node_statistics(1000)
    for name, report, payloads in (
        ("healthy", writer.healthy, None),
        ("unhealthy with a reason", lambda: writer.unhealthy(3, "612 MB of 512 MB used"), None),
        ("statistics of 8 partitions", lambda: writer.statistics(small), small),
        ("statistics of 100 partitions", lambda: writer.statistics(big), big),
        ("statistics of 1,000 partitions", lambda: writer.statistics(huge), huge),
    ):
        times = [exchange(report) for _ in range(300)]
        write, read = (statistics.median(column) * 1e6 for column in zip(*times, strict=True))
        report()
        size = sum(map(len, wire.encode_statistics(payloads, 1, 0))) if payloads else 0
        reader.read()
        print(f"{name:34} {size or '-':>7} {write:6.1f} us {read:6.1f} us")
    reader.close()
    writer.close()


def many_writers():
    """Print the processor time that a watcher spends on 1,000 writers, all waited for with one epoll."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    ends = [pipe() for _ in range(WRITERS)]
    numbers = node_statistics(4)
    spent = 0.0
    with select.epoll() as events:
        readers = {}
        for reader, _ in ends:
            events.register(reader, select.EPOLLIN)
            readers[reader.fileno()] = reader
        for _ in range(ROUNDS):
            for _, writer in ends:
                writer.healthy()
                writer.statistics(numbers)
            began = time.process_time()
            seen = 0
            while seen < WRITERS:
                for fd, _ in events.poll(0, 64):
                    assert len(readers[fd].read().reports) == 2
                    seen += 1
            spent += time.process_time() - began
    share = spent / ROUNDS * 100
    print(f"{WRITERS} writers, a heartbeat and statistics a second each: {share:.2f} % of one core to read")
    for end in sum(ends, ()):
        end.close()


def garbage():
    """Print what the worst garbage costs a reader."""
    stream = b"\x0f\xfe\x94\xc4\x02\xff\xfe\x01\x00"
    reader, writer = pipe()
    good = encode_frame(wire.encode(Unhealthy(1, "x" * 2000), 0))
    data = (stream * 8000)[: 65536 - 4 * MAX_FRAME] + good * 3
    os.write(writer.fileno(), data)
    began = time.perf_counter()
    reader.read()
    print(f"{len(data)} bytes of garbage that looks like frames: {(time.perf_counter() - began) * 1e3:.1f} ms to read")
    reader.close()
    writer.close()


def main():
    """Measure and print."""
    gc.disable()
    one_writer()
    many_writers()
    garbage()


if __name__ == "__main__":
    main()
