"""Fill the topic: produce every flight of the record to Kafka.

python -m examples.flights.produce --bootstrap-servers localhost:9092
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from itertools import islice

import confluent_kafka
import msgspec
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from .records import encode
from .source import FLIGHTS, flights

TOPIC = "flights"
OUTPUT_TOPIC = "flights-enriched"
PARTITIONS = 8

Progress = Callable[[int, int], None]
"""Called with (records acknowledged, records in all)."""


class ProduceError(RuntimeError):
    """The record could not be produced; the message says what to do."""


class Produced(msgspec.Struct, frozen=True):
    """What was produced: every one of these records is acknowledged by the broker."""

    records: int
    partitions: int
    seconds: float


def produce(
    bootstrap: str,
    topic: str = TOPIC,
    partitions: int = PARTITIONS,
    on_progress: Progress | None = None,
    *,
    limit: int | None = None,
    timeout_s: float = 60.0,
) -> Produced:
    """Produce the flights, or the first `limit` of them, and wait until the broker has acknowledged each.

    A topic that is there is used as it is, with the partitions that it has; otherwise it is created. The record key
    chooses the partition, so the same flight always goes to the same one. on_progress is called at most ten times a
    second and at the end. Raises ProduceError when the broker does not answer, refuses, or takes more than timeout_s.

    Makes Kafka clients, so never call it in a process that forks nodes.
    """
    started = time.monotonic()
    partition_count = ensure_topics(bootstrap, {topic: partitions}, min(timeout_s, 10.0))[topic]
    total = FLIGHTS if limit is None else min(limit, FLIGHTS)
    deliveries = _Deliveries()
    # Idempotence: a retry inside the client repeats no record.
    producer = confluent_kafka.Producer(
        {
            **_client(bootstrap),
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 20,
            "message.timeout.ms": round(timeout_s * 1000),
        }
    )
    deadline, next_report = started + timeout_s, started
    for key, flight in islice(flights(), total):
        while True:
            try:
                producer.produce(topic, encode(flight), key, on_delivery=deliveries.record)
                break
            except BufferError:  # the client's queue is full: deliveries make room
                producer.poll(0.1)
            deliveries.check(bootstrap, deadline, timeout_s, total)
        producer.poll(0)
        deliveries.check(bootstrap, deadline, timeout_s, total)
        if on_progress is not None and time.monotonic() >= next_report:
            on_progress(deliveries.acknowledged, total)
            next_report = time.monotonic() + 0.1
    while producer.flush(0.1):
        deliveries.check(bootstrap, deadline, timeout_s, total)
        if on_progress is not None:
            on_progress(deliveries.acknowledged, total)
    deliveries.check(bootstrap, deadline, timeout_s, total)
    if on_progress is not None:
        on_progress(deliveries.acknowledged, total)
    return Produced(deliveries.acknowledged, partition_count, time.monotonic() - started)


def ensure_topics(bootstrap: str, topics: Mapping[str, int], timeout_s: float = 10.0) -> dict[str, int]:
    """Create the topics that are missing, with these partition counts; return how many partitions each really has.

    Raises ProduceError when no broker answers within timeout_s, or when it cannot create topics.
    """
    admin = AdminClient(_client(bootstrap))
    existing = _partitions(admin, bootstrap, timeout_s)
    missing = {name: count for name, count in topics.items() if name not in existing}
    if missing:
        created = admin.create_topics(
            [NewTopic(name, num_partitions=count) for name, count in missing.items()], request_timeout=timeout_s
        )
        for name, future in created.items():
            try:
                future.result(timeout=timeout_s + 1.0)
            except (confluent_kafka.KafkaException, TimeoutError) as error:
                if _code(error) != confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS:
                    raise ProduceError(
                        f"The broker at {bootstrap} did not create the topic {name!r}: {_reason(error)}; create it "
                        f"there with {missing[name]} partitions, then try again."
                    ) from None
        deadline = time.monotonic() + timeout_s
        # A created topic shows in the metadata a moment later; each question waits for the broker's answer.
        while not topics.keys() <= (existing := _partitions(admin, bootstrap, timeout_s)).keys():
            if time.monotonic() > deadline:
                raise ProduceError(f"The broker at {bootstrap} does not show the new topics within {timeout_s:g} s.")
            admin.poll(0.05)
    return {name: existing[name] for name in topics}


class _Deliveries:
    """What the broker has acknowledged, and the first error."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.error: confluent_kafka.KafkaError | None = None

    def record(self, error: confluent_kafka.KafkaError | None, _: confluent_kafka.Message) -> None:
        if error is None:
            self.acknowledged += 1
        elif self.error is None:
            self.error = error

    def check(self, bootstrap: str, deadline: float, timeout_s: float, total: int) -> None:
        done = f"after {self.acknowledged:,} of {total:,} records"
        if self.error is not None:
            raise ProduceError(f"The broker at {bootstrap} did not take a record {done}: {self.error.str()}.")
        if time.monotonic() > deadline:
            raise ProduceError(f"The broker at {bootstrap} did not take every record within {timeout_s:g} s, {done}.")


def _client(bootstrap: str) -> dict[str, str | int | float | bool]:
    # Level 2: refused connections are repeated on stderr otherwise; what matters reaches the caller as an error.
    return {"bootstrap.servers": bootstrap, "client.id": "flights-produce", "log_level": 2}


def _partitions(admin: AdminClient, bootstrap: str, timeout_s: float) -> dict[str, int]:
    try:
        metadata = admin.list_topics(timeout=timeout_s)
    except confluent_kafka.KafkaException as error:
        raise ProduceError(
            f"No Kafka broker answers at {bootstrap} within {timeout_s:g} s ({_reason(error)}); start one with "
            "`hatch run kafka`, or give its address with --bootstrap-servers."
        ) from None
    return {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}


def _code(error: Exception) -> int | None:
    cause = error.args[0] if error.args else None
    return cause.code() if isinstance(cause, confluent_kafka.KafkaError) else None


def _reason(error: Exception) -> str:
    cause = error.args[0] if error.args else None
    return cause.str() if isinstance(cause, confluent_kafka.KafkaError) else str(error) or type(error).__name__


def _print_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done:>7,} of {total:,} records acknowledged", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Produce the record as the command line says; the exit code is 0, 1 when the broker failed, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.flights.produce", description="Produce the 27,004 flights of the record to Kafka."
    )
    parser.add_argument(
        "--bootstrap-servers",
        default=os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
        help="address of the cluster (default: KAFKA_BOOTSTRAP_SERVERS, or localhost:9092)",
    )
    parser.add_argument("--topic", default=TOPIC, help=f"topic to fill (default: {TOPIC})")
    parser.add_argument("--output-topic", default=OUTPUT_TOPIC, help=f"topic to create too (default: {OUTPUT_TOPIC})")
    parser.add_argument("--partitions", type=int, default=PARTITIONS, help=f"for new topics (default: {PARTITIONS})")
    arguments = parser.parse_args()
    if arguments.partitions < 1:
        parser.error(f"--partitions must be 1 or more, not {arguments.partitions}")
    try:
        ensure_topics(arguments.bootstrap_servers, {arguments.output_topic: arguments.partitions})
        done = produce(arguments.bootstrap_servers, arguments.topic, arguments.partitions, _print_progress)
    except ProduceError as error:
        print(("\n" if sys.stderr.isatty() else "") + str(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; part of the record is in the topic.", file=sys.stderr)
        return 130
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(
        f"{done.records:,} flights to {arguments.topic} ({done.partitions} partitions) in {done.seconds:.1f} s, "
        "each acknowledged."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
