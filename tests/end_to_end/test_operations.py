"""The operations on a swarm at work: what each says, and that no record is lost by any of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer.testing import await_committed, committed_offsets, read_all

APP = "tests.end_to_end.apps.strict_numbers:app"
PARTITIONS = 6


class Work:
    """A swarm at work on numbers, and the ledger of those that were handled."""

    def __init__(self, broker: Any, swarm: Any, load: Any, group: str, ledger: Path, run: Callable[..., Any]) -> None:
        self.broker, self.swarm, self.load, self.group, self.ledger, self._run = broker, swarm, load, group, ledger, run
        self.topic = load.topic

    def handled(self) -> set[int]:
        return {int(line.split()[2]) for line in self.ledger.read_text().splitlines()}

    def await_all(self) -> None:
        await_committed(self.broker.bootstrap, self.group, self.topic, timeout_s=60)
        assert self.handled() == set(range(self.load.sent))

    def cli(self, *arguments: str) -> Any:
        return self._run(*arguments, "--control", str(self.swarm.control))

    def done(self, *arguments: str) -> Any:
        """The JSON of a command that must succeed."""
        done = self.cli(*arguments, "--json")
        assert done.returncode == 0, f"{done.stderr}\n{self.swarm.output()}"
        return json.loads(done.stdout)

    def pids(self) -> dict[int, int]:
        return {node.id: node.pid for node in self.swarm.nodes()}


@pytest.fixture
def work(
    broker: Any, start_swarm: Any, point_at: Callable[[Any], list[str]], topic_name: Callable[..., str], tmp_path: Path,
    load_of: Callable[..., Any], swarm_cli: Callable[..., Any],
) -> Work:  # fmt: skip
    topic, group = topic_name("numbers"), topic_name("operators")
    broker.create_topic(topic, PARTITIONS)
    ledger = tmp_path / "ledger"
    swarm = start_swarm(
        "swarm", APP, "--nodes", "2", *point_at(broker), "--kafka", "auto.commit.interval.ms=100",
        "--node-restart-delay", "0.5",
        TOPIC=topic, GROUP=group, LEDGER=str(ledger),
    )  # fmt: skip
    swarm.running(2)
    return Work(broker, swarm, load_of(broker.bootstrap, topic, PARTITIONS), group, ledger, swarm_cli)


@pytest.mark.timeout(240)
def test_every_operation_does_what_it_says_and_loses_nothing(work: Work, eventually: Callable[..., Any]) -> None:
    with work.load:
        before = work.pids()
        assert work.done("restart", "1")["nodes"] == [1]
        after = work.pids()
        assert after[0] == before[0]
        assert after[1] != before[1]

        assert work.done("scale", "3")["nodes"] == 3
        assert len(work.swarm.running(3)) == 3
        assert work.done("restart")["nodes"] == [0, 1, 2]
        renewed = work.pids()
        assert all(renewed[id_] != pid for id_, pid in after.items())

        work.done("scale", "1")
        assert len(work.swarm.running(1)) == 1
        traced = work.done("trace", "0")
        assert "swarm_consumer" in traced["nodes"][0]["stacks"]
    work.await_all()

    assert work.cli("status", "--check", "ready").stdout == "ready\n"
    status = eventually(lambda: _known_lag(work.done("status")), 30, "the lag of every partition")
    partitions = status["nodes"][0]["statistics"]["partitions"]
    assert {(one["topic"], one["partition"]) for one in partitions} == {(work.topic, i) for i in range(PARTITIONS)}
    assert " 0  running" in work.cli("status").stdout

    # Quiet under load: what had begun is finished and committed, the rest is left for others, and none is skipped.
    with work.load:
        work.done("quiet")
        finished = work.handled()
        work.load.send(PARTITIONS)
    assert work.handled() == finished
    assert work.cli("status", "--check", "ready").returncode == 1
    assert work.done("stop")["exit_code"] == 0
    assert work.swarm.popen.wait(30) == 0
    assert work.swarm.left_behind() == []
    committed = committed_offsets(work.broker.bootstrap, work.group, work.topic)
    records = read_all(work.broker.bootstrap, work.topic)
    assert len(records) == work.load.sent
    skipped = [one for one in records if one.offset < committed[one.partition] and int(one.value) not in work.handled()]
    assert not skipped
    assert len(finished) < work.load.sent


def _known_lag(status: dict[str, Any]) -> dict[str, Any] | None:
    partitions = status["nodes"][0]["statistics"]["partitions"]
    return status if len(partitions) == PARTITIONS and all(one["lag"] == 0 for one in partitions) else None


@pytest.mark.timeout(240)
def test_nodes_that_are_restarted_in_a_quiet_swarm_are_shown_quiet_everywhere(
    work: Work, eventually: Callable[..., Any]
) -> None:
    before = work.pids()
    work.done("quiet")
    said = work.cli("restart")
    assert (said.returncode, said.stdout.splitlines()[-1]) == (0, "2 nodes restarted, and quiet as before")
    assert all(work.pids()[id_] != pid for id_, pid in before.items())
    eventually(lambda: work.done("status")["state"] == "quiet", 30, "the new nodes to be quiet")
    status = work.done("status")
    assert [node["statistics"]["state"] for node in status["nodes"]] == ["quiet", "quiet"]
    lines = work.cli("status").stdout.splitlines()
    assert ": quiet, 2 of 2 nodes healthy" in lines[0]
    assert [line.split()[:2] for line in lines if line.split()[:1] in (["0"], ["1"])] == [
        ["0", "quiet"],
        ["1", "quiet"],
    ]
    ready = work.cli("status", "--check", "ready")
    assert ready.returncode == 1
    assert all(f"node {id_} is quiet" in ready.stdout for id_ in before)
