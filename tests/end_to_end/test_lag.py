"""How far groups are behind, on both brokers: what lag says is what the broker holds."""

import json
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from swarm_consumer.testing import KafkaBroker, Record, produce


def commit(bootstrap: str, group: str, topic: str, offsets: dict[int, int]) -> None:
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 0})
    try:
        wanted = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        client.commit(offsets=wanted, asynchronous=False)
    finally:
        client.close()


def records(counts: dict[int, int]) -> list[Record]:
    return [Record(b"x", partition=partition) for partition, count in counts.items() for _ in range(count)]


def test_lag_by_group_and_partition(broker: Any, declared_app: Any, topic_name: Callable[..., str]) -> None:
    orders, refunds = topic_name("orders"), topic_name("refunds")
    billing, audit = topic_name("billing"), topic_name("audit")
    broker.create_topic(orders, 3)
    broker.create_topic(refunds, 1)
    produce(broker.bootstrap, orders, records({0: 10, 1: 4}))
    produce(broker.bootstrap, refunds, records({0: 5}))
    commit(broker.bootstrap, billing, orders, {0: 7, 1: 4})
    groups = {billing: {orders: {}, refunds: {}}, audit: {orders: {"initial_offset": "latest"}}}
    done = declared_app(broker, "lag", "--json", groups=groups)
    assert done.returncode == 0, done.stderr
    told = {entry["group"]: entry for entry in json.loads(done.stdout)}
    found = {
        (group, one["topic"], one["partition"]): (one["committed"], one["end"], one["lag"])
        for group, entry in told.items()
        for one in entry["partitions"]
    }
    assert found == {
        (billing, orders, 0): (7, 10, 3),
        (billing, orders, 1): (4, 4, 0),
        (billing, orders, 2): (None, 0, 0),
        (billing, refunds, 0): (None, 5, 5),  # it would start at the beginning
        (audit, orders, 0): (None, 10, 0),  # and this group at the end
        (audit, orders, 1): (None, 4, 0),
        (audit, orders, 2): (None, 0, 0),
    }
    assert (told[billing]["lag"], told[audit]["lag"]) == (8, 0)

    table = declared_app(broker, "lag", "--include-consumer-groups", billing, groups=groups).stdout.splitlines()
    assert table[0].split() == ["GROUP", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG"]
    assert table[-1].split() == [billing, "(all)", "-", "-", "-", "8"]
    assert len(table) == 6


def test_a_pattern_is_looked_up_and_deleted_records_do_not_count(
    kafka_broker: KafkaBroker, declared_app: Any, topic_name: Callable[..., str]
) -> None:
    prefix, group = topic_name("audit"), topic_name("auditors")
    for number in (1, 2):
        kafka_broker.create_topic(f"{prefix}.{number}", 1)
        produce(kafka_broker.bootstrap, f"{prefix}.{number}", [b"x"] * 6)
    kafka_broker.delete_records(f"{prefix}.2", 0, 4)
    commit(kafka_broker.bootstrap, group, f"{prefix}.2", {0: 1})
    done = declared_app(kafka_broker, "lag", "--json", groups={group: {f"^{prefix}.*": {}}})
    (entry,) = json.loads(done.stdout)
    assert {one["topic"]: one["lag"] for one in entry["partitions"]} == {f"{prefix}.1": 6, f"{prefix}.2": 2}


def test_a_topic_that_is_not_there_is_named(embedded_broker: Any, declared_app: Any) -> None:
    done = declared_app(embedded_broker, "lag", groups={"billing": {"nowhere": {}}})
    assert done.returncode == 2
    assert "topic 'nowhere' of group 'billing' does not exist" in done.stderr
    assert done.stderr.count("\n") == 1
