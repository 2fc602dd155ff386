"""A rolling restart of static members: the rest of the group notices nothing, and no record is lost."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer

from swarm_consumer.testing import await_committed

APP = "tests.end_to_end.apps.strict_numbers:app"
PARTITIONS = 6
NODES = 2
CALM_S = 2.0
"""So long without a rebalance, the group has settled."""


class Outsider:
    """A member of the group that is no node: what it notices, and what it reads (numbers, all committed)."""

    def __init__(self, settings: dict[str, Any], group: str, topic: str) -> None:
        self.noticed: list[str] = []
        self.read: set[int] = set()
        self.rebalances = -1
        self._end = threading.Event()
        self._settings = settings | {
            "group.id": group, "group.instance.id": "outsider", "auto.offset.reset": "earliest",
            "auto.commit.interval.ms": 100, "statistics.interval.ms": 100, "stats_cb": self._statistics,
        }  # fmt: skip
        self._topic = topic
        self._thread = threading.Thread(target=self._run, name="outsider")
        self._thread.start()

    def _statistics(self, text: str) -> None:
        self.rebalances = json.loads(text).get("cgrp", {}).get("rebalance_cnt", -1)

    def _run(self) -> None:
        consumer = Consumer(self._settings)

        def note(what: str) -> Callable[..., None]:
            return lambda _, partitions: self.noticed.append(f"{what} {sorted(one.partition for one in partitions)}")

        consumer.subscribe([self._topic], on_assign=note("got"), on_revoke=note("gave"), on_lost=note("lost"))
        while not self._end.is_set():
            message = consumer.poll(0.05)
            if message is not None and message.error() is None:
                self.read.add(int(message.value()))
        consumer.close()

    def close(self) -> None:
        self._end.set()
        self._thread.join(30)


@pytest.fixture
def outsider() -> Iterator[Callable[..., Outsider]]:
    joined: list[Outsider] = []

    def join(*arguments: Any) -> Outsider:
        joined.append(Outsider(*arguments))
        return joined[-1]

    yield join
    for one in joined:
        one.close()


def settle(outsider: Outsider, eventually: Callable[..., Any]) -> None:
    """Wait until the outsider holds its share and the group has been calm for some time."""

    def calm() -> bool:
        before = (outsider.rebalances, list(outsider.noticed))
        threading.Event().wait(CALM_S)  # calm is that nothing happens for so long
        held = [what for what in outsider.noticed if what.startswith("got") and not what.endswith("[]")]
        return bool(held) and before == (outsider.rebalances, outsider.noticed)

    eventually(calm, 60, "a group that has settled")


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_no_other_member_sees_a_rolling_restart(
    kafka_broker: Any, start_swarm: Any, point_at: Callable[..., list[str]], topic_name: Callable[..., str],
    outsider: Callable[..., Outsider], eventually: Callable[..., Any], swarm_cli: Callable[..., Any],
    load_of: Callable[..., Any], tmp_path: Path, protocol: str,
) -> None:  # fmt: skip
    topic, group, ledger = topic_name("numbers"), topic_name("static"), tmp_path / "ledger"
    kafka_broker.create_topic(topic, PARTITIONS)
    session = {"session.timeout.ms": 45000} if protocol == "classic" else {}
    swarm = start_swarm(
        "swarm", APP, "--nodes", str(NODES), *point_at(kafka_broker, protocol),
        "--kafka", "auto.commit.interval.ms=100", "--group-instance-id", "host",
        *(f"--kafka={key}={value}" for key, value in session.items()),
        TOPIC=topic, GROUP=group, LEDGER=str(ledger),
    )  # fmt: skip
    swarm.running(NODES)
    settings = kafka_broker.client_settings(protocol) | session
    if protocol == "classic":
        settings |= {"partition.assignment.strategy": "cooperative-sticky"}
    other = outsider(settings, group, topic)
    settle(other, eventually)
    before, seen, rebalances = {node.id: node.pid for node in swarm.nodes()}, list(other.noticed), other.rebalances

    with load_of(kafka_broker.bootstrap, topic, PARTITIONS) as load:
        restarted = swarm_cli("restart", "--json", "--control", str(swarm.control))
    assert restarted.returncode == 0, restarted.stderr
    assert json.loads(restarted.stdout)["nodes"] == list(range(NODES))
    after = {node.id: node.pid for node in swarm.nodes()}
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())

    await_committed(kafka_broker.bootstrap, group, topic)
    assert (other.noticed, other.rebalances) == (seen, rebalances), "the other member saw a rebalance"
    by_nodes = {int(line.split()[2]) for line in ledger.read_text().splitlines()}
    assert by_nodes | other.read == set(range(load.sent))
    assert by_nodes
    assert other.read

    # The count can fail: a node that leaves for good is a rebalance, and the other member sees it.
    assert swarm_cli("scale", "1", "--control", str(swarm.control)).returncode == 0
    eventually(lambda: other.noticed != seen, 60, "the outsider to get more partitions")
    assert swarm.stop() == 0
