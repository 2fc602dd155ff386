"""Filters on a live broker: the same 20 cases through `swarm` and `server` give the same assignment."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from swarm_consumer.testing import committed_offsets, produce
from tests.cli.test_cli_filters import CASES

ROOT = Path(__file__).resolve().parent.parent.parent
TOPICS = ("orders-eu", "orders-us", "refunds", "payments", "archived")
PARTITIONS = 2
AT_ONCE = 10


class Start(NamedTuple):
    """One case through one command; `number` is in the names of its groups."""

    command: str
    arguments: list[str]
    expected: "dict[str, list[str]] | int"
    number: int
    ledger: Path
    log: Path

    def described(self, kafka: list[str]) -> dict[str, Any]:
        numbered = [re.sub(r"\b(audit|billing|slow)\b", rf"\1-{self.number}", word) for word in self.arguments]
        nodes = ["--nodes", "1"] if self.command == "swarm" else []
        return {
            "arguments": [self.command, "tests.end_to_end.apps.filtered:app", *numbered, *nodes, *kafka,
                          "--control", "off", "--kafka", "auto.commit.interval.ms=100"],
            "environment": {"LEDGER": str(self.ledger), "NUMBER": str(self.number)},
            "log": str(self.log),
        }  # fmt: skip

    def seen(self, verb: str) -> set[tuple[str, ...]]:
        lines = [line.split() for line in self.ledger.read_text().splitlines()] if self.ledger.exists() else []
        return {tuple(words[1:]) for words in lines if words[0] == verb}

    def routes(self) -> set[tuple[str, str]]:
        """(subscription group, topic) that it must run."""
        assert isinstance(self.expected, dict)
        return {(f"{group}-{self.number}", topic) for group, topics in self.expected.items() for topic in topics}

    def assignment(self) -> set[tuple[str, ...]]:
        return {(*route, str(partition)) for route in self.routes() for partition in range(PARTITIONS)}


@contextlib.contextmanager
def started(starts: list[Start], kafka: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run all of them at once."""
    described = json.dumps([one.described(kafka) for one in starts])
    popen = subprocess.Popen(
        [sys.executable, "-m", "tests.end_to_end.apps.many_starts", described],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield popen
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        popen.communicate()


@pytest.mark.timeout(240)
def test_twenty_cases_give_the_same_assignment_in_both_commands(
    embedded_broker: Any, point_at: Any, eventually: Any, tmp_path: Path
) -> None:
    for topic in TOPICS:
        embedded_broker.create_topic(topic, PARTITIONS)
        produce(embedded_broker.bootstrap, topic, [b"%d" % number for number in range(8)])
    assert len(CASES) == 20
    starts = [
        Start(command, arguments, expected, number, tmp_path / f"{number}.ledger", tmp_path / f"{number}.log")
        for number, ((arguments, expected), command) in enumerate(product(CASES, ("swarm", "server")))
    ]
    for first in range(0, len(starts), AT_ONCE):
        batch = starts[first : first + AT_ONCE]
        with started(batch, point_at(embedded_broker)) as popen:
            assert popen.stdout is not None
            pids = json.loads(popen.stdout.readline())
            for one, pid in zip(batch, pids, strict=True):
                if isinstance(one.expected, dict):
                    what = f"the assignment of {one.command} {one.arguments}"
                    eventually(lambda one=one: one.seen("assigned") >= one.assignment(), 60, what)
                    eventually(lambda one=one: one.seen("handled") >= one.routes(), 60, what)
                    os.kill(pid, signal.SIGTERM)
            codes = dict(json.loads(line) for line in popen.stdout)
        for one, pid in zip(batch, pids, strict=True):
            code = one.expected if isinstance(one.expected, int) else 0
            assert codes[pid] == code, (one.command, one.arguments, one.log.read_text())
            if code == 0:
                assert one.seen("assigned") == one.assignment(), (one.command, one.arguments)
                assert one.seen("handled") == one.routes()
            else:
                assert one.log.read_text().count("\n") == 1, "one sentence"
                assert not one.ledger.exists() or not one.ledger.read_text(), "nothing was started"

    # What was not chosen is left alone: another process finds it as it was.
    (excluded,) = [
        one for one in starts if one.arguments == ["--exclude-topics", "orders-*"] and one.command == "swarm"
    ]
    billing = f"billing-{excluded.number}"
    assert committed_offsets(embedded_broker.bootstrap, billing, "orders-eu") == {}
    assert committed_offsets(embedded_broker.bootstrap, billing, "refunds").keys() <= {0, 1}
