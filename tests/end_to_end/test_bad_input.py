"""What a swarm says of input that cannot work: one clear sentence, and nothing lost that was there before."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer.testing import Record, await_committed, committed_offsets, produce

ROOT = Path(__file__).resolve().parent.parent.parent


def test_a_topic_that_does_not_exist_is_refused_by_name(
    broker: Any, start_swarm: Any, point_at: Any, topic_name: Callable[..., str]
) -> None:
    topic = topic_name("missing")
    swarm = start_swarm(
        "swarm", "tests.end_to_end.apps.counting:app", "--nodes", "2", *point_at(broker), TOPIC=topic, GROUP="any"
    )
    assert swarm.popen.wait(60) == 2, swarm.output()
    assert f"topic does not exist at {broker.bootstrap}: '{topic}'" in swarm.output()
    assert "Traceback" not in swarm.output()


def test_a_missing_topic_that_is_allowed_is_waited_for(
    broker: Any, start_swarm: Any, point_at: Any, topic_name: Callable[..., str]
) -> None:
    # With group.protocol=consumer it is the broker that looks for new topics, and the embedded one never does.
    arguments = point_at(broker, "classic")
    topic, group = topic_name("late"), topic_name("waiting")
    swarm = start_swarm(
        "swarm", "tests.end_to_end.apps.counting:app", "--nodes", "1", "--allow-missing-topics", *arguments,
        "--kafka", "auto.commit.interval.ms=100", "--kafka", "topic.metadata.refresh.interval.ms=500",
        TOPIC=topic, GROUP=group,
    )  # fmt: skip
    swarm.running(1)
    broker.create_topic(topic, 2)
    produce(broker.bootstrap, topic, [b"1", b"2", b"3"])
    await_committed(broker.bootstrap, group, topic)
    assert swarm.stop() == 0


def test_nodes_without_a_partition_are_announced(
    broker: Any, start_swarm: Any, point_at: Any, topic_name: Callable[..., str]
) -> None:
    topic = topic_name("narrow")
    broker.create_topic(topic, 2)
    swarm = start_swarm(
        "swarm", "tests.end_to_end.apps.counting:app", "--nodes", "3", *point_at(broker), TOPIC=topic, GROUP="narrow"
    )
    swarm.running(3)
    assert "1 of 3 nodes will be idle" in swarm.output()
    assert swarm.stop() == 0


def test_a_record_that_cannot_be_decoded_holds_its_partition_and_no_other(
    broker: Any, start_swarm: Any, point_at: Any, eventually: Any, topic_name: Callable[..., str], tmp_path: Path
) -> None:
    topic, group, ledger = topic_name("numbers"), topic_name("readers"), tmp_path / "ledger"
    ledger.touch()
    broker.create_topic(topic, 2)
    produce(broker.bootstrap, topic, [Record(value, partition=0) for value in (b"1", b"2", b"three", b"4")])
    produce(broker.bootstrap, topic, [Record(b"%d" % value, partition=1) for value in range(50)])
    swarm = start_swarm(
        "swarm", "tests.end_to_end.apps.strict_numbers:app", "--nodes", "1", *point_at(broker),
        "--kafka", "auto.commit.interval.ms=100", TOPIC=topic, GROUP=group, LEDGER=str(ledger),
    )  # fmt: skip
    await_committed(broker.bootstrap, group, topic, {0: 2, 1: 50})
    where = rf"{topic}\[0\] offset 2: the payload cannot be decoded"
    eventually(lambda: len(re.findall(where, swarm.output())) >= 3, 30, "the third attempt at the record")
    assert committed_offsets(broker.bootstrap, group, topic)[0] == 2, "the broken record was skipped"
    handled = [line.split() for line in ledger.read_text().splitlines()]
    assert [int(offset) for partition, offset, _ in handled if partition == "0"] == [0, 1]
    assert sorted(int(offset) for partition, offset, _ in handled if partition == "1") == list(range(50))
    assert swarm.stop() == 0
    assert committed_offsets(broker.bootstrap, group, topic)[0] == 2


@pytest.mark.parametrize("command", ["swarm", "server"])
def test_an_app_that_does_not_import_is_exit_2_with_the_cause(command: str, tmp_path: Path) -> None:
    (tmp_path / "broken_app.py").write_text("import a_module_that_is_not_there\n")
    done = subprocess.run(
        [sys.executable, "-m", "swarm_cli", command, "broken_app:app"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "a_module_that_is_not_there" in done.stderr


def test_an_absent_broker_is_named_and_tried_again_until_it_is_there(
    embedded_broker: Any, start_swarm: Any, point_at: Any, eventually: Any, topic_name: Callable[..., str]
) -> None:
    topic, group = topic_name("patient"), topic_name("patients")
    embedded_broker.create_topic(topic, 2)
    arguments = point_at(embedded_broker)
    address = embedded_broker.bootstrap
    embedded_broker.kill()
    swarm = start_swarm(
        "swarm", "tests.end_to_end.apps.counting:app", "--nodes", "1", *arguments,
        "--kafka", "auto.commit.interval.ms=100", TOPIC=topic, GROUP=group,
    )  # fmt: skip
    eventually(lambda: f"no broker answers at {address}" in swarm.output(), 30, "the warning that names the address")
    embedded_broker.restart()
    swarm.running(1)
    produce(address, topic, [b"1", b"2"])
    await_committed(address, group, topic)
    assert swarm.stop() == 0


def test_an_import_that_takes_longer_than_a_node_has_is_refused_with_both_times(tmp_path: Path) -> None:
    """It passed in the check child, and then each node was killed at its boot timeout, in a loop."""
    (tmp_path / "slow_app.py").write_text(
        "import time\ntime.sleep(1.5)\nfrom swarm_consumer import App\n"
        "app = App('slow', kafka={'bootstrap.servers': '127.0.0.1:1'})\n"
        "@app.consume('orders', group='slow')\ndef handle(messages): ...\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "swarm_cli", "swarm", "slow_app:app", "--no-preload", "--boot-timeout", "1"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "boot_timeout (1 s)" in done.stderr
    assert "raise --boot-timeout" in done.stderr
