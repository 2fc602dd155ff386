"""The application and the ledger together: a real consumer writes the log, and a dishonest one is found out."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.ledger import Account, Bound, Ledger
from benchmarks.chaos.records import BatchBegun, Handled, decode, encode, parse
from swarm_consumer.testing import Record, await_committed, produce

ROOT = Path(__file__).resolve().parent.parent.parent
RECORDS, KEYS, PARTITIONS = 1200, 6, 2


def account_of_a_run(broker: Any, folder: Path, sabotage: str) -> Account:
    topic = f"chaos-app-{sabotage or 'honest'}"
    broker.create_topic(topic, PARTITIONS)
    ledger = Ledger(Bound(uncommitted_s=3.0, held=500))
    values = [encode(f"k{number % KEYS}", number // KEYS, b"x" * 50) for number in range(RECORDS)]
    records = [Record(value, partition=number % KEYS % PARTITIONS) for number, value in enumerate(values)]
    for value, (partition, offset) in zip(values, produce(broker.bootstrap, topic, records), strict=True):
        ledger.produced(partition, offset, decode(value), 0.0)
    log = folder / "handled.log"
    arguments = ["server", "benchmarks.chaos.app:app", "--bootstrap-servers", broker.bootstrap]
    for key, value in broker.client_settings().items():
        if key != "bootstrap.servers":
            arguments += ["--kafka", f"{key}={value}"]
    environment = {
        "CHAOS_LOG": str(log), "CHAOS_ORDERS": str(folder), "CHAOS_TOPIC": topic, "CHAOS_GROUP": topic,
        "CHAOS_SECONDS_PER_RECORD": "0", "CHAOS_SABOTAGE": sabotage,
    }  # fmt: skip
    with (folder / "server.log").open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "swarm_cli", *arguments, "--kafka", "auto.commit.interval.ms=100"],
            cwd=ROOT, env=os.environ | environment, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        await_committed(broker.bootstrap, topic, topic, timeout_s=60)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()
    for line in log.read_text().splitlines():
        match parse(line):
            case BatchBegun() as begun:
                ledger.batch(begun)
            case Handled() as done:
                ledger.handled(done)
    return ledger.account()


@pytest.mark.parametrize("sabotage", ["", "drop", "double", "reorder"])
def test_only_an_honest_handler_has_a_clean_account(embedded_broker: Any, tmp_path: Path, sabotage: str) -> None:
    account = account_of_a_run(embedded_broker, tmp_path, sabotage)
    assert account.produced == RECORDS
    assert account.clean == (not sabotage)
    assert bool(account.lost) == (sabotage == "drop")
    assert bool(account.out_of_bounds) == (sabotage == "double")
    assert bool(account.reordered) == (sabotage == "reorder")
    assert account.duplicates == (RECORDS // 100 if sabotage == "double" else 0)
