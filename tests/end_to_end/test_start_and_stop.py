"""`swarm-cli swarm` from start to TERM: it consumes, it stops within its budget, and nothing is left of it."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from swarm_consumer.testing import Record, await_committed, end_offsets, produce
from swarm_pidfd import Pidfd

APP = "tests.end_to_end.apps.counting:app"
RECORDS = 400


@pytest.fixture
def consuming(
    broker: Any, start_swarm: Any, point_at: Callable[[Any], list[str]], topic_name: Callable[..., str]
) -> Any:
    """A swarm of two nodes that has consumed all there was."""
    topic, group = topic_name("counted"), topic_name("counters")
    broker.create_topic(topic, 4)
    produce(broker.bootstrap, topic, [Record(b"%d" % number, partition=number % 4) for number in range(RECORDS)])
    swarm = start_swarm(
        "swarm", APP, "--nodes", "2", *point_at(broker), "--kafka", "auto.commit.interval.ms=100",
        TOPIC=topic, GROUP=group,
    )  # fmt: skip
    swarm.running(2)
    await_committed(broker.bootstrap, group, topic)
    assert sum(end_offsets(broker.bootstrap, topic).values()) == RECORDS
    return swarm


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_signal_ends_everything_with_exit_0(consuming: Any, number: signal.Signals) -> None:
    nodes = consuming.nodes()
    handles = [Pidfd(node.pid) for node in nodes]
    consuming.popen.send_signal(number)
    assert consuming.popen.wait(60) == 0, consuming.output()
    for handle in handles:
        with handle:
            assert not handle.alive()
    assert consuming.left_behind() == []
    consuming.threads.check()


def test_an_order_that_comes_at_the_very_end_changes_no_exit_code(consuming: Any) -> None:
    """USR2 between the end of run() and that of the process had its default effect: exit code 140."""
    consuming.popen.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 60
    while consuming.popen.poll() is None and time.monotonic() < deadline:
        consuming.popen.send_signal(signal.SIGUSR2)
        time.sleep(0.0005)
    assert consuming.popen.wait(5) == 0, consuming.output()


def test_a_killed_supervisor_leaves_no_node_behind(consuming: Any) -> None:
    handles = [Pidfd(node.pid) for node in consuming.nodes()]
    os.kill(consuming.popen.pid, signal.SIGKILL)
    for handle in handles:
        with handle:
            assert handle.wait(1.0) is not None, "a node outlived its supervisor by more than a second"
    consuming.popen.wait(5)
