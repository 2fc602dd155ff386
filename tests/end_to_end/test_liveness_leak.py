"""A handler that leaks under load, on real Kafka with static membership: its node is replaced, and that is all."""

import itertools
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer.testing import await_committed, end_offsets
from tests.end_to_end.liveness_lab import PARTITIONS, Feed, Watched, settings_for

LEAK_MB, LIMIT_MB = 10.0, 200.0
REPLACED = 4


@pytest.mark.timeout(240)
def test_a_leaking_node_is_replaced_in_time_and_nothing_is_lost_or_rebalanced(
    kafka_broker: Any, tmp_path: Path
) -> None:
    topic = f"leak-{uuid.uuid4().hex[:8]}"
    kafka_broker.create_topic(topic, PARTITIONS)
    settings = settings_for(
        kafka_broker,
        [topic],
        kafka={"group.instance.id": "leak", "session.timeout.ms": 45000},
        liveness={"memory_limit": LIMIT_MB, "polling_ttl": 60.0, "consuming_ttl": 60.0, "stability_ttl": 60.0},
        supervisor={"nodes": 2, "shutdown_timeout": 20.0, "node_restart_delay": 0.1},
        drain_timeout=15.0,
        leak_mb=LEAK_MB,
        seconds_per_batch=0.25,  # two nodes leak about 40 MB/s each: some seconds from birth to limit
    )
    swarm = Watched(tmp_path, **settings)
    feed = Feed(kafka_broker.bootstrap, [topic], pause_s=0.1)
    try:
        swarm.until(lambda: len(swarm.of("NodeStopping")) >= REPLACED, 120, f"{REPLACED} nodes over their limit")
        feed.stop()
        await_committed(kafka_broker.bootstrap, settings["group"], topic, timeout_s=60)
        ended = time.monotonic()
        assert swarm.stop() == 0
    finally:
        feed.stop()
        swarm.end()

    stops = [event for event in swarm.of("NodeStopping") if event["at"] <= ended]
    assert {event["status"] for event in stops} == {3}
    assert all("is over the memory_limit of 200 MB, in" in event["reason"] for event in stops)
    # One at a time: the next is told to stop only after the one before is gone.
    gone = {event["pid"]: event["at"] for event in swarm.of("NodeExited")}
    for before, after in itertools.pairwise(stops):
        assert gone[before["pid"]] <= after["at"], "two nodes were stopped at once"

    # Each process stayed within the limit and what four seconds of its own growth add, plus what it had in hand.
    for event in stops:
        grown = [
            (float(words[0]), float(words[8])) for words in swarm.lines("handled") if int(words[2]) == event["pid"]
        ]
        at_stop = [figure for figure in grown if figure[0] <= event["at"]]
        over = next(index for index, (_, uss) in enumerate(at_stop) if uss > LIMIT_MB)
        (begun, first), (last, most) = at_stop[0], at_stop[-1]
        rate = (most - first) / (last - begun)
        waiting = sum(1 for other in stops if other is not event and other["at"] <= event["at"] < other["at"] + 10)
        if not waiting:
            print(f"node {event['node_id']}: {rate:.1f} MB/s, {most:.1f} MB at most, limit {LIMIT_MB:g} MB")
            assert most <= LIMIT_MB + 4.0 * rate + LEAK_MB, f"{most} MB at {rate:.0f} MB/s"
            assert event["at"] - at_stop[over][0] <= 4.0
    # Nothing was lost: every record is in the ledger. Nothing was rebalanced: no partition was ever taken away.
    seen: dict[int, set[int]] = {partition: set() for partition in range(PARTITIONS)}
    for words in swarm.lines("handled"):
        seen[int(words[5])].update(range(int(words[6]), int(words[7]) + 1))
    assert {partition: len(offsets) for partition, offsets in seen.items()} == end_offsets(
        kafka_broker.bootstrap, topic
    )
    assert [words for words in swarm.lines("revoked") if stops[0]["at"] <= float(words[0]) <= ended] == []
    # And no process but a new one was told of an assignment since the first was replaced.
    later = [words for words in swarm.lines("assigned") if stops[0]["at"] <= float(words[0]) <= ended]
    told = [int(words[2]) for words in later]
    assert len(told) == len(set(told)) >= REPLACED - 1
    assert not set(told) & {int(words[2]) for words in swarm.lines("handled") if float(words[0]) < stops[0]["at"]}
