"""A static node dies while it has still to give partitions up: they find an owner, though no member asks for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swarm_consumer.testing import Record, produce

PARTITIONS, EACH = 4, 300
POISON = (1, 60)


@pytest.mark.real_kafka
@pytest.mark.timeout(180)
def test_what_was_to_be_given_up_is_owned_again(
    kafka_broker: Any, start_swarm: Any, point_at: Any, eventually: Any, topic_name: Any, tmp_path: Path
) -> None:
    """Node 0 begins with all partitions and dies in their first batches, as node 1 waits for half of them."""
    topic, dead, ledger = topic_name("poison"), topic_name("dead"), tmp_path / "ledger"
    kafka_broker.create_topic(topic, PARTITIONS)
    kafka_broker.create_topic(dead, 1)
    numbers = [(partition, offset) for offset in range(EACH) for partition in range(PARTITIONS)]
    records = [Record(b"segfault" if place == POISON else b"x", partition=place[0]) for place in numbers]
    produce(kafka_broker.bootstrap, topic, records)
    swarm = start_swarm(
        "swarm", "benchmarks.poison.app:app", "--nodes", "2", "--node-restart-delay", "0", "--membership", "static",
        *point_at(kafka_broker, "classic"),
        POISON_LEDGER=str(ledger), POISON_TOPIC=topic, POISON_GROUP=topic_name("group"), POISON_LETTERS=dead,
        POISON_SECONDS="0.03",
    )  # fmt: skip

    def handled() -> int:
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        return len({tuple(line.split()[2:4]) for line in lines if line.startswith("handled")})

    eventually(lambda: handled() == PARTITIONS * EACH - 1, 100, "all records but the one that kills")
    assert swarm.stop() == 0, swarm.output()
