"""A killed node under group.protocol=consumer: its successor removes its member, and nothing waits for the session."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kafka.admin", reason="the extra swarm-cli[evict] is not installed")

APP = "tests.end_to_end.apps.strict_numbers:app"
PARTITIONS = 6
NODES = 3
SESSION_MS = 45_000
SOON_S = 6.5
"""The restart, and at most one heartbeat of the others, which is 5 s by default."""


def long_session(bootstrap: str, group: str) -> None:
    from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    configs = {"consumer.session.timeout.ms": str(SESSION_MS), "consumer.heartbeat.interval.ms": "5000"}
    admin.alter_configs([ConfigResource(ConfigResourceType.GROUP, group, configs=configs)])
    admin.close()


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
def test_each_node_killed_in_turn(
    kafka_broker: Any, start_swarm: Any, point_at: Callable[..., list[str]], topic_name: Callable[..., str],
    eventually: Callable[..., Any], load_of: Callable[..., Any], tmp_path: Path, static: bool,
) -> None:  # fmt: skip
    topic, group, ledger = topic_name("numbers"), topic_name("evicting"), tmp_path / "ledger"
    kafka_broker.create_topic(topic, PARTITIONS)
    long_session(kafka_broker.bootstrap, group)
    swarm = start_swarm(
        "swarm", APP, "--nodes", str(NODES), "--node-restart-delay", "0.1",
        *point_at(kafka_broker, "consumer"), "--kafka", "auto.commit.interval.ms=100",
        *(["--group-instance-id", "host"] if static else []),
        TOPIC=topic, GROUP=group, LEDGER=str(ledger),
    )  # fmt: skip
    swarm.running(NODES)
    load = load_of(kafka_broker.bootstrap, topic, PARTITIONS)

    def handled() -> set[int]:
        return {int(line.split()[2]) for line in ledger.read_text().splitlines()} if ledger.exists() else set()

    def all_of(first: int) -> bool:
        return handled() >= set(range(first, load.sent))

    load.send(10 * PARTITIONS)
    eventually(lambda: all_of(0), 60, "the first records")

    def shared() -> bool:
        lines = [line for line in swarm.output().splitlines() if " assigned " in line]
        return all(any(f"node {number} [" in line for line in lines) for number in range(NODES))

    eventually(shared, 60, "partitions at each node")
    for number in range(NODES):
        (victim,) = (node for node in swarm.running(NODES) if node.id == number)
        os.kill(victim.pid, signal.SIGKILL)
        killed, first = time.monotonic(), load.sent
        load.send(PARTITIONS)
        eventually(lambda first=first: all_of(first), 30, "a record of each partition")
        took = time.monotonic() - killed
        print(f"node {number}: every partition goes on after {took:.2f} s")
        assert took < SOON_S
    assert swarm.output().count("1 member of processes that have ended removed in ") == NODES
    assert "could not be removed" not in swarm.output()
    assert swarm.stop() == 0  # with the look at the supervisor's threads: the library is imported there, no more


def test_a_rolling_restart_of_static_members_removes_none(
    kafka_broker: Any, start_swarm: Any, point_at: Callable[..., list[str]], topic_name: Callable[..., str],
    eventually: Callable[..., Any], tmp_path: Path,
) -> None:  # fmt: skip
    topic, group = topic_name("numbers"), topic_name("restarting")
    kafka_broker.create_topic(topic, PARTITIONS)
    long_session(kafka_broker.bootstrap, group)
    swarm = start_swarm(
        "swarm", APP, "--nodes", "2", *point_at(kafka_broker, "consumer"), "--group-instance-id", "host",
        TOPIC=topic, GROUP=group, LEDGER=str(tmp_path / "ledger"),
    )  # fmt: skip

    def have_partitions(pids: set[int]) -> bool:
        lines = [line for line in swarm.output().splitlines() if f" assigned {topic}" in line]
        return all(any(f"[{pid}]" in line for line in lines) for pid in pids)

    def pids() -> set[int]:
        return {node.pid for node in swarm.running(2)}

    old = pids()
    eventually(lambda: have_partitions(old), 60, "partitions at each node")
    swarm.popen.send_signal(signal.SIGUSR2)
    eventually(lambda: not old & pids(), 60, "two new processes")
    eventually(lambda: have_partitions(pids()), 30, "partitions at each new one, long before a session ends")
    assert "of processes that have ended" not in swarm.output()
    assert "still holds the static member id" not in swarm.output()
    assert swarm.stop() == 0
