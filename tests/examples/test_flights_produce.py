"""Filling the topic: what is acknowledged, and the sentences for what can go wrong."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from examples.flights import produce

ROOT = Path(produce.__file__).parents[2]


@pytest.fixture
def closed_port() -> int:
    """A port where nobody listens: bound for a moment, so that it is a free one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_no_broker_is_one_sentence_with_the_address(closed_port: int) -> None:
    address = f"127.0.0.1:{closed_port}"
    with pytest.raises(produce.ProduceError, match=rf"^No Kafka broker answers at {address} .*hatch run kafka"):
        produce.ensure_topics(address, {"flights": 8}, timeout_s=0.5)


def test_the_command_line_refuses_no_partitions() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "examples.flights.produce", "--partitions", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert "--partitions must be 1 or more" in run.stderr
