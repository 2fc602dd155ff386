"""Worker threads of one node: CPU-bound and I/O-bound handlers with 1, 2, 4 and 8 of them.

It is what the default of `concurrency` was chosen by. CPU-bound: hashing in pure Python, which holds the GIL.
I/O-bound: a wait of 1 ms a message, which does not.

    python -m benchmarks.consumer_concurrency [--messages 4000]
"""

import argparse
import resource
import sys
import time
import uuid
from collections.abc import Callable

PARTITIONS = 8


def compute() -> int:
    """Return the result of about 100 microseconds of pure Python."""
    total = 0
    for number in range(1500):
        total = (total * 31 + number) & 0xFFFFFFFF
    return total


HANDLERS = {"cpu": compute, "io": lambda: time.sleep(0.001)}


def measure(settings: dict, work: Callable[[], object], threads: int, messages: int) -> tuple[float, float]:
    """Seconds and CPU seconds from the first batch to the last."""
    from swarm_consumer import App, Runtime

    app = App("concurrency", settings, concurrency=threads)
    done = 0
    times: list[tuple[float, float]] = []

    @app.consume("work", group=uuid.uuid4().hex)
    def handle(batch):
        nonlocal done
        if not times:
            times.append((time.monotonic(), _cpu_s()))
        for _ in batch:
            work()
        done += len(batch)
        if done >= messages:
            times.append((time.monotonic(), _cpu_s()))
            runtime.stop()

    runtime = Runtime(app)
    runtime.run()
    return times[1][0] - times[0][0], times[1][1] - times[0][1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=4000)
    options = parser.parse_args()
    from swarm_consumer.testing.embedded_broker import EmbeddedBroker
    from swarm_consumer.testing.outside_client import Record, produce

    with EmbeddedBroker() as broker:
        broker.create_topic("work", PARTITIONS)
        produce(broker.bootstrap, "work", [Record(b"x", partition=n % PARTITIONS) for n in range(options.messages)])
        settings = {**broker.client_settings(), "log_level": 0}
        print(f"{options.messages} messages in {PARTITIONS} partitions, batches of 100")
        print(f"{'handler':<8} {'threads':>7} {'seconds':>8} {'messages/s':>11} {'CPU s':>6}")
        for name, work in HANDLERS.items():
            for threads in (1, 2, 4, 8):
                seconds, cpu = measure(settings, work, threads, options.messages)
                rate = options.messages / seconds
                print(f"{name:<8} {threads:>7} {seconds:>8.2f} {rate:>11.0f} {cpu:>6.2f}", flush=True)
    return 0


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
