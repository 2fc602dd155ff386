"""CPU per message of a node above the bare client: empty handler, raw payloads, typed payloads.

Each figure is the median of interleaved runs, each run a process of its own that consumes the whole topic with a new
group. The bare loop is poll, then consume what is there, then store the last offset of each partition: the cheapest
loop that keeps progress. CPU time counts every thread of the consuming process, librdkafka's included, from the first
message on. The typed rows decode JSON into a msgspec.Struct, the bare loop with the same decoder.

    python -m benchmarks.consumer_cost [--messages 1000000] [--runs 7] [--broker embedded|kafka] [--row empty ...]
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import msgspec

PARTITIONS = 8
BATCH = 500
SIZE = 200
LIMITS = {"empty": 1.25, "raw": 1.3, "typed": 1.1}
FETCHING = {"fetch.queue.backoff.ms": 10, "queued.max.messages.kbytes": 16384, "log_level": 0}


class Row(msgspec.Struct):
    """What the typed rows decode."""

    number: int
    text: str


def cpu_s() -> float:
    """CPU seconds of all threads of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def consume_bare(settings: dict, topic: str, count: int, row: str) -> tuple[float, float]:
    """CPU and wall seconds of the bare loop."""
    import confluent_kafka

    client = confluent_kafka.Consumer(
        {
            **settings,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
            "enable.auto.commit": True,
        }
    )
    client.subscribe([topic])
    decode = msgspec.json.Decoder(Row).decode
    seen, begun = 0, None
    while seen < count:
        first = client.poll(0.1)
        if first is None:
            continue
        if begun is None:
            begun = cpu_s(), time.monotonic()
        batch = client.consume(BATCH - 1, 0)
        batch.insert(0, first)
        if row == "raw":
            for message in batch:
                message.value()
        elif row == "typed":
            for message in batch:
                decode(message.value())
        for message in {message.partition(): message for message in batch}.values():
            client.store_offsets(message)
        seen += len(batch)
    assert begun is not None
    taken = cpu_s() - begun[0], time.monotonic() - begun[1]
    client.close()
    return taken


def consume_swarm(settings: dict, topic: str, count: int, row: str) -> tuple[float, float]:
    """CPU and wall seconds of a node."""
    from swarm_consumer import App, Runtime

    app = App("cost", settings, max_messages=BATCH)
    seen = 0
    begun: tuple[float, float] | None = None
    taken: list[tuple[float, float]] = []

    @app.consume(topic, group=uuid.uuid4().hex, payload=Row if row == "typed" else None)
    def handle(messages):
        nonlocal seen, begun
        if begun is None:
            begun = cpu_s(), time.monotonic()
        if row == "raw":
            messages.raw_payloads()
        elif row == "typed":
            messages.payloads()
        seen += len(messages)
        if seen >= count:
            taken.append((cpu_s() - begun[0], time.monotonic() - begun[1]))
            runtime.stop()

    runtime = Runtime(app)
    runtime.run()
    return taken[0]


@contextlib.contextmanager
def broker_with(count: int, kind: str) -> Iterator[tuple[dict, str]]:
    """Start a broker, fill a topic, and give the consumer's settings and the topic."""
    import confluent_kafka

    from swarm_consumer.testing.embedded_broker import EmbeddedBroker
    from swarm_consumer.testing.kafka_broker import KafkaBroker

    with EmbeddedBroker() if kind == "embedded" else KafkaBroker() as broker:
        topic = f"cost-{uuid.uuid4().hex[:8]}"
        broker.create_topic(topic, PARTITIONS)
        # The embedded broker keeps 5 MiB a partition, compressed: these records fit when they are.
        producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": broker.bootstrap,
                "linger.ms": 50,
                "batch.size": 1_000_000,
                "queue.buffering.max.messages": 1_000_000,
                "compression.type": "zstd" if kind == "embedded" else "none",
                "log_level": 0,
            }
        )
        for number in range(count):
            value = b'{"number":%d,"text":"%s"}' % (number, b"x" * (SIZE - 21 - len(str(number))))
            while True:
                try:
                    producer.produce(topic, value, partition=number % PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.1)
            if number % 1000 == 0:
                producer.poll(0)
        assert producer.flush(60) == 0
        yield {**broker.client_settings(), **FETCHING}, topic


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--row", choices=tuple(LIMITS), action="append")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, settings, topic, count, row = json.loads(options.child)
        print(json.dumps({"bare": consume_bare, "swarm": consume_swarm}[kind](settings, topic, count, row)), flush=True)
        os._exit(0)
    failed = False
    print(f"{options.messages:,} messages of {SIZE} B in {PARTITIONS} partitions, batches of {BATCH}, {options.broker}")
    print(f"{'row':<6} {'bare':>8} {'swarm':>8} {'ratio':>6} {'limit':>6}   wall      (CPU s per million, median)")
    with broker_with(options.messages, options.broker) as (settings, topic):
        for row in options.row or LIMITS:
            taken: dict[str, list[tuple[float, float]]] = {"bare": [], "swarm": []}
            for _ in range(options.runs):
                for kind, results in taken.items():
                    job = json.dumps([kind, settings, topic, options.messages, row])
                    child = [sys.executable, "-m", "benchmarks.consumer_cost", "--child", job]
                    answer = subprocess.run(child, check=True, capture_output=True, text=True, timeout=300)
                    results.append(tuple(json.loads(answer.stdout.splitlines()[-1])))
            cpu = {kind: statistics.median(one[0] for one in results) for kind, results in taken.items()}
            wall = {kind: statistics.median(one[1] for one in results) for kind, results in taken.items()}
            scale = 1_000_000 / options.messages
            ratio = cpu["swarm"] / cpu["bare"]
            failed |= ratio > LIMITS[row]
            print(
                f"{row:<6} {cpu['bare'] * scale:8.3f} {cpu['swarm'] * scale:8.3f} {ratio:6.2f} {LIMITS[row]:6.2f}"
                f"   {wall['bare']:.2f} s / {wall['swarm']:.2f} s",
                flush=True,
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
