"""What liveness must catch although something works, and what it must leave alone although it takes long."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer.testing import EmbeddedBroker
from tests.end_to_end.liveness_lab import INTERVAL_S, PARTITIONS, TTL_S, Feed, Watched, settings_for

Launch = Callable[..., Watched]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts a swarm on a broker of its own, which keeps getting records for all topics."""
    ends: list[Callable[[], None]] = []

    def start(topics: list[str], **changes: Any) -> Watched:
        broker = EmbeddedBroker().start()
        ends.append(broker.close)
        for topic in topics:
            broker.create_topic(topic, PARTITIONS)
        feed = Feed(broker.bootstrap, topics)
        ends.append(feed.stop)
        swarm = Watched(tmp_path, **settings_for(broker, topics, **changes))
        ends.append(swarm.end)
        return swarm

    yield start
    for end in reversed(ends):
        end()


def test_a_topic_that_works_does_not_hide_one_that_hangs(launch: Launch) -> None:
    """One node, one group, two topics: while one handler hangs the other goes on as if nothing were wrong."""
    swarm = launch(["fast", "slow"], supervisor={"nodes": 1}, app={"concurrency": 2})
    swarm.until(lambda: {words[4] for words in swarm.lines("handled")} == {"fast", "slow"}, 60, "both topics to work")
    begun = swarm.order(0, "consuming slow")
    (stopping,) = swarm.until(lambda: swarm.of("NodeStopping", begun), 30, "a verdict")
    assert stopping["status"] == 2
    assert "consume of slow/" in stopping["reason"]
    assert TTL_S <= stopping["at"] - begun <= TTL_S + INTERVAL_S + 2.0
    fast = [
        float(words[0])
        for words in swarm.lines("handled")
        if words[4] == "fast" and stopping["at"] - 1.5 < float(words[0]) <= stopping["at"]
    ]
    assert fast, "the fast topic had stopped too: nothing was hidden"
    assert swarm.stop() == 0


def test_long_batches_within_their_ttl_are_left_alone(launch: Launch) -> None:
    """Three times the report timeout in one batch, statistics off, the very first batch already; then a slow drain."""
    report_timeout = 3.0
    swarm = launch(
        ["work"],
        supervisor={
            "nodes": 2,
            "node_report_timeout": report_timeout,
            "boot_timeout": report_timeout,
            "shutdown_timeout": 25.0,
        },
        liveness={"consuming_ttl": 60.0, "polling_ttl": 60.0},
        kafka={"statistics.interval.ms": 0},
        seconds_per_batch=3 * report_timeout,
        drain_timeout=20.0,
    )
    swarm.until(lambda: all(swarm.handled(node) for node in range(2)), 100, "a long batch on each node")
    assert swarm.get("/readyz")[0] == 200
    # Right into the next long batches.
    begun = time.monotonic()
    assert swarm.stop() == 0
    assert swarm.of("NodeTerminating") == []
    stopping = swarm.of("NodeStopping")
    assert all(event["at"] >= begun and event["status"] == 0 for event in stopping), stopping
    exits = swarm.of("NodeExited")
    assert len(exits) == 2
    assert all(event["code"] == 0 for event in exits), exits
    # The drain had something to wait for, or this test proves nothing.
    assert max(event["at"] for event in exits) - begun > 1.0


def test_a_long_running_topic_is_judged_by_its_own_ttl(launch: Launch) -> None:
    """Its TTL of 60 s wins over the swarm's 3 s."""
    swarm = launch(
        ["work"], app={"long_running": True, "consuming_ttl": 60.0}, supervisor={"nodes": 1}, seconds_per_batch=6.0
    )
    swarm.until(lambda: len(swarm.handled(0)) >= 1, 60, "a long batch to end")
    assert swarm.of("NodeStopping") == []
    swarm.end()
