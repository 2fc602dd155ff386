"""A client from outside: produce records, and read what the broker holds, while a consumer under test does its work.

Each function makes its own client and lets go of it: no librdkafka thread is left behind when it returns.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from swarm_consumer._payloads.codec import Encoded
from swarm_consumer.admin.cluster import Cluster
from swarm_consumer.errors import AdminError
from swarm_consumer.kafka.clients import KafkaClients
from swarm_consumer.kafka.record_headers import headers_of
from swarm_consumer.testing.errors import BrokerError

POLL_INTERVAL_S = 0.02  # between two questions to the broker; committed offsets are not announced
REQUEST_TIMEOUT_S = 10.0
ASK_S = 5.0  # to ask what a topic is; later code finds out on its own
_CLIENTS = KafkaClients(log_level=0)  # their logs are not watched; failures are raised


@dataclass(frozen=True, slots=True)
class Record:
    """A record to produce, or one that was read (then with its partition, offset and timestamp).

    ``value`` may be bytes, None (a tombstone) or any object that the encoder given to produce() turns into bytes.
    """

    value: Any
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    partition: int | None = None
    timestamp_ms: int | None = None
    offset: int | None = None


def produce(
    bootstrap: str,
    topic: str,
    records: Iterable[Record | bytes | None | Any],
    *,
    encode: Callable[[Any], bytes | Encoded] = msgspec.json.encode,
    timeout_s: float = 30.0,
) -> list[tuple[int, int]]:
    """Produce records in order and return (partition, offset) of each, in the same order, once all are acknowledged.

    What is not a Record is a record's value; a value that is not bytes or None goes through ``encode``, which may be
    that of a codec. A connection that breaks before an acknowledgement arrives may make a record appear twice. Raises
    BrokerError when one fails or is not acknowledged within timeout_s seconds.
    """
    # Not idempotent: a client that has just been made gets its producer id only at the next tick of a timer of 500 ms.
    # One request in flight keeps the order as well.
    ordered = {"max.in.flight.requests.per.connection": 1, "linger.ms": 1000}
    producer = _CLIENTS.producer({"bootstrap.servers": bootstrap, **ordered})
    # A few records should be one batch on the broker, so that they come to a consumer together: they wait for each
    # other until flush() sends them. Records of a topic that the client does not know yet are handed over one by one
    # when it does, and the first would be sent alone: hence the question before.
    with contextlib.suppress(KafkaException):
        producer.list_topics(topic, min(timeout_s, ASK_S))
    positions: dict[int, tuple[int, int]] = {}
    failures: list[str] = []

    def delivered(number: int) -> Callable[[KafkaError | None, Message], None]:
        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failures.append(f"record {number}: {error.str()}")
            else:
                positions[number] = (_known(message.partition()), _known(message.offset()))

        return report

    deadline = time.monotonic() + timeout_s
    count = 0
    for item in records:
        record = as_bytes(item if isinstance(item, Record) else Record(item), encode)
        arguments: dict[str, Any] = {"value": record.value, "key": record.key, "headers": list(record.headers)}
        if record.partition is not None:
            arguments["partition"] = record.partition
        if record.timestamp_ms is not None:
            arguments["timestamp"] = record.timestamp_ms
        while True:
            try:
                producer.produce(topic, on_delivery=delivered(count), **arguments)
                break
            except BufferError:  # the queue is full: wait for room
                producer.poll(0.1)
                if time.monotonic() > deadline:
                    break
        count += 1
    producer.flush(max(0.0, deadline - time.monotonic()))
    if failures or len(positions) < count:
        missing = count - len(positions)
        reason = failures[0] if failures else f"no acknowledgement within {timeout_s:g} s"
        raise BrokerError(f"{missing} of {count} records for {topic!r} were not acknowledged by {bootstrap}: {reason}.")
    return [positions[number] for number in range(count)]


def as_bytes(record: Record, encode: Callable[[Any], bytes | Encoded]) -> Record:
    """Return a record with a value of bytes: an object goes through ``encode``."""
    if record.value is None or isinstance(record.value, bytes):
        return record
    made = encode(record.value)
    if isinstance(made, Encoded):
        return replace(record, value=made.value, headers=(*record.headers, *made.headers))
    return replace(record, value=made)


def create_topic(
    bootstrap: str, name: str, partitions: int = 1, replication: int = 1, *, timeout_s: float = 30.0
) -> None:
    """Create a topic on a real broker and wait until every partition has a leader; raises BrokerError.

    The embedded broker has no admin API: use its own create_topic().
    """
    with _cluster(bootstrap, timeout_s) as cluster:
        cluster.create_topic(name, partitions=partitions, replication=replication)
        cluster.await_leaders(name, partitions)


def add_partitions(bootstrap: str, name: str, total: int, *, timeout_s: float = 30.0) -> None:
    """Grow a topic of a real broker to a total number of partitions and wait for their leaders; raises BrokerError."""
    with _cluster(bootstrap, timeout_s) as cluster:
        cluster.add_partitions(name, total)
        cluster.await_leaders(name, total)


def delete_topic(bootstrap: str, name: str, *, timeout_s: float = 30.0) -> None:
    """Delete a topic of a real broker and wait until it is gone; raises BrokerError."""
    with _cluster(bootstrap, timeout_s) as cluster:
        cluster.delete_topic(name)


def delete_records(bootstrap: str, topic: str, partition: int, before_offset: int, *, timeout_s: float = 30.0) -> None:
    """Delete the records of a real broker's partition before an offset; raises BrokerError."""
    with _cluster(bootstrap, timeout_s) as cluster:
        cluster.delete_records(topic, partition, before_offset)


def committed_offsets(
    bootstrap: str, group: str, topic: str, *, timeout_s: float = REQUEST_TIMEOUT_S
) -> dict[int, int]:
    """Return the group's committed offset of each partition that has one: the next record to read.

    Raises BrokerError when the broker does not say within timeout_s seconds.
    """
    with _cluster(bootstrap, timeout_s) as cluster:
        return cluster.group(group).committed(topic)


def end_offsets(bootstrap: str, topic: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> dict[int, int]:
    """Return the offset that the next record of each partition will get.

    Raises BrokerError when the broker does not say within timeout_s seconds.
    """
    with _cluster(bootstrap, timeout_s) as cluster:
        return cluster.end_offsets(topic)


@contextlib.contextmanager
def _cluster(bootstrap: str, timeout_s: float) -> Iterator[Cluster]:
    properties = {"bootstrap.servers": bootstrap, "isolation.level": "read_uncommitted"}
    with Cluster(properties, client_id="swarm-testing", timeout_s=timeout_s) as cluster:
        try:
            yield cluster
        except AdminError as error:
            raise BrokerError(str(error)) from None


def await_committed(
    bootstrap: str, group: str, topic: str, expected: Mapping[int, int] | None = None, *, timeout_s: float = 30.0
) -> dict[int, int]:
    """Wait until the group has committed at least the expected offset of each partition; return what it has committed.

    Without ``expected``: until it has committed the end of each partition that has records. Raises TimeoutError, saying
    what was committed, after timeout_s seconds.
    """
    deadline = time.monotonic() + timeout_s
    if expected is None:
        expected = {number: offset for number, offset in end_offsets(bootstrap, topic).items() if offset > 0}
    committed: dict[int, int] = {}
    with _cluster(bootstrap, min(1.0, timeout_s)) as cluster:
        while True:
            try:
                committed = cluster.group(group).committed(topic)
            except AdminError:  # a broker that comes back is what tests wait for
                if time.monotonic() > deadline:
                    raise
            if all(committed.get(number, -1) >= offset for number, offset in expected.items()):
                return committed
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"Group {group!r} has not committed {dict(expected)} of topic {topic!r} within {timeout_s:g} s, "
                    f"only {committed}."
                )
            time.sleep(POLL_INTERVAL_S)


def read_all(
    bootstrap: str,
    topic: str,
    *,
    timeout_s: float = 30.0,
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
) -> list[Record]:
    """Return every record of a topic, in order within each partition; raises TimeoutError after timeout_s seconds."""
    reader = _reader(bootstrap, isolation)
    try:
        partitions = reader.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic].partitions
        reader.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        unfinished = set(partitions)
        records: list[Record] = []
        deadline = time.monotonic() + timeout_s
        while unfinished:
            message = reader.poll(min(0.5, max(0.0, deadline - time.monotonic())))
            if message is None:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"Topic {topic!r} was not read to its end within {timeout_s:g} s: "
                        f"{len(records)} records so far, partitions {sorted(unfinished)} are unfinished."
                    )
                continue
            error = message.error()
            if error is None:
                records.append(_record(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                unfinished.discard(_known(message.partition()))
            elif not error.retriable():
                raise BrokerError(f"Topic {topic!r} cannot be read: {error.str()}.")
        return records
    finally:
        reader.close()


def _reader(bootstrap: str, isolation: str) -> Consumer:
    return _CLIENTS.consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "swarm-testing-reader",  # the client demands one; nothing joins it and nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "fetch.wait.max.ms": 10,
        }
    )


def _record(message: Message) -> Record:
    _, timestamp_ms = message.timestamp()
    return Record(
        value=message.value(),
        key=_bytes(message.key()),
        headers=tuple((name, _bytes(value)) for name, value in headers_of(message)),
        partition=message.partition(),
        timestamp_ms=timestamp_ms,
        offset=message.offset(),
    )


def _bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data


def _known(number: int | None) -> int:
    assert number is not None  # only a message that was never sent has none
    return number
