"""The operations on a swarm that consumes: what each says, and that no record is lost by any of them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer.testing import Record, await_committed, produce

APP = "tests.end_to_end.apps.strict_numbers:app"
PARTITIONS = 6


class Work:
    """A swarm at work on numbers, and the ledger of those that were handled."""

    def __init__(self, broker: Any, swarm: Any, topic: str, group: str, ledger: Path) -> None:
        self.broker, self.swarm, self.topic, self.group, self.ledger = broker, swarm, topic, group, ledger
        self.sent = 0

    def send(self, number: int = 300) -> None:
        records = [Record(b"%d" % (self.sent + i), partition=i % PARTITIONS) for i in range(number)]
        produce(self.broker.bootstrap, self.topic, records)
        self.sent += number

    def await_all(self) -> None:
        await_committed(self.broker.bootstrap, self.group, self.topic)
        handled = [int(line.split()[2]) for line in self.ledger.read_text().splitlines()]
        assert set(handled) == set(range(self.sent))

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "swarm_cli", *arguments, "--control", str(self.swarm.control)],
            env=os.environ, capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip


@pytest.fixture
def work(
    broker: Any, start_swarm: Any, point_at: Callable[[Any], list[str]], topic_name: Callable[..., str], tmp_path: Path
) -> Work:
    topic, group = topic_name("numbers"), topic_name("operators")
    broker.create_topic(topic, PARTITIONS)
    ledger = tmp_path / "ledger"
    swarm = start_swarm(
        "swarm", APP, "--nodes", "2", *point_at(broker), "--kafka", "auto.commit.interval.ms=100",
        "--node-restart-delay", "0.5",
        TOPIC=topic, GROUP=group, LEDGER=str(ledger),
    )  # fmt: skip
    swarm.running(2)
    work = Work(broker, swarm, topic, group, ledger)
    work.send()
    return work


def test_every_operation_does_what_it_says_and_loses_nothing(work: Work, eventually: Callable[..., Any]) -> None:
    def stands_at(nodes: int) -> bool:
        return len(work.swarm.running(nodes)) == nodes

    before = {node.id: node.pid for node in work.swarm.nodes()}
    work.send()
    done = work.cli("restart", "1")
    assert done.returncode == 0, done.stderr
    after = {node.id: node.pid for node in work.swarm.nodes()}
    assert after[0] == before[0]
    assert after[1] != before[1]

    work.send()
    done = work.cli("scale", "3", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["nodes"] == 3
    assert stands_at(3)

    work.send()
    done = work.cli("restart", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["nodes"] == [0, 1, 2]
    renewed = {node.id: node.pid for node in work.swarm.nodes()}
    assert all(renewed[id_] != pid for id_, pid in after.items())

    work.send()
    done = work.cli("scale", "1")
    assert done.returncode == 0, done.stderr
    assert stands_at(1)
    work.await_all()

    traced = json.loads(work.cli("trace", "0", "--json").stdout)
    assert "swarm_consumer" in traced["nodes"][0]["stacks"]
    assert work.cli("status", "--check", "ready").stdout == "ready\n"
    status = eventually(
        lambda: _known_lag(json.loads(work.cli("status", "--json").stdout)), 20, "the lag of every partition"
    )
    partitions = status["nodes"][0]["statistics"]["partitions"]
    assert {(one["topic"], one["partition"]) for one in partitions} == {(work.topic, i) for i in range(PARTITIONS)}
    assert " 0  running" in work.cli("status").stdout

    done = work.cli("quiet")
    assert done.returncode == 0, done.stderr
    assert work.cli("status", "--check", "ready").returncode == 1
    done = work.cli("stop", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["exit_code"] == 0
    assert work.swarm.popen.wait(10) == 0
    assert work.swarm.left_behind() == []


def _known_lag(status: dict[str, Any]) -> dict[str, Any] | None:
    partitions = status["nodes"][0]["statistics"]["partitions"]
    return status if len(partitions) == PARTITIONS and all(one["lag"] == 0 for one in partitions) else None
