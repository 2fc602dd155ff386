"""A node killed in the middle of a batch: every record is handled, and what is handled twice is what was not committed.

The same run on the embedded broker and on real Kafka. The promise is also broken on purpose, in two ways, to see the
test fail.
"""

import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from examples.flights import reference
from examples.flights.enrich import enrich
from examples.flights.records import encode
from examples.flights.source import flights
from swarm_consumer.testing import Record, await_committed, committed_offsets, end_offsets, produce, read_all
from swarm_pidfd import Pidfd

RECORDS = 2000
PARTITIONS = 8
APP = "tests.end_to_end.apps.flights_ledger:app"


@dataclass
class Run:
    """Everything that was seen of one run, from outside the swarm."""

    handled: Counter[tuple[int, int]]
    produced: dict[int, int]
    committed_at_kill: dict[int, int]
    handled_at_kill: dict[int, int]
    in_hand: set[tuple[int, int]]
    """What the killed node had in hand."""
    log: str
    output: dict[bytes, bytes]
    expected: dict[bytes, bytes]


def ledger_lines(path: Path, kind: str) -> list[list[str]]:
    if not path.exists():
        return []
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    return [line[1:] for line in lines if line[0] == kind]


def run_with_a_kill(
    broker: Any,
    start_swarm: Callable[..., Any],
    point_at: Callable[[Any], list[str]],
    eventually: Callable[..., Any],
    folder: Path,
    sabotage: str = "",
    patience_s: float = 60.0,
    commit_interval_ms: int = 100,
    options: Sequence[str] = (),
) -> Run:
    unique = uuid.uuid4().hex[:8]
    topic, output, group = f"flights-{unique}", f"enriched-{unique}", f"delays-{unique}"
    for name in (topic, output):
        broker.create_topic(name, PARTITIONS)
    tables = reference.load()
    records = list(islice(flights(), RECORDS))
    produce(broker.bootstrap, topic, [Record(encode(flight), key=key.encode()) for key, flight in records])
    ledger = folder / "ledger"

    swarm = start_swarm(
        "swarm", APP, "--nodes", "2", "--node-restart-delay", "0.5", *point_at(broker),
        "--kafka", f"auto.commit.interval.ms={commit_interval_ms}", *options,
        LEDGER=str(ledger), TOPIC=topic, OUTPUT=output, GROUP=group, SABOTAGE=sabotage,
    )  # fmt: skip
    nodes = swarm.running(2)
    eventually(lambda: len(ledger_lines(ledger, "record")) >= RECORDS // 2, 60, "half of the records")

    # In the middle of a batch: it began a good while ago, as commits go, and has a good while left.
    victim = nodes[-1]

    def in_mid_batch() -> bool:
        own = [line for line in ledger_lines(ledger, "batch") if int(line[0]) == victim.pid]
        if not own or int(own[-1][3]) - int(own[-1][2]) < 60:
            return False
        _, partition, first, _ = (int(part) for part in own[-1])
        done = [line for line in ledger_lines(ledger, "record") if int(line[1]) == partition and int(line[2]) >= first]
        return len(done) in range(45, 56)

    eventually(in_mid_batch, 60, f"node {victim.id} in the middle of a batch")
    with Pidfd(victim.pid) as process:
        os.kill(victim.pid, signal.SIGKILL)
        process.wait(10)
    committed_at_kill = committed_offsets(broker.bootstrap, group, topic)
    handled_at_kill: dict[int, int] = {}
    for _, partition, offset, _ in ledger_lines(ledger, "record"):
        handled_at_kill[int(partition)] = max(handled_at_kill.get(int(partition), -1), int(offset))

    lines = ledger_lines(ledger, "record")
    own = {(int(line[1]), int(line[2])) for line in lines if int(line[0]) == victim.pid}
    in_hand = {
        (int(partition), offset)
        for pid, partition, first, last in ledger_lines(ledger, "batch")
        if int(pid) == victim.pid and (int(partition), int(last)) not in own
        for offset in range(int(first), int(last) + 1)
    }

    if commit_interval_ms < patience_s * 1000:
        await_committed(broker.bootstrap, group, topic, timeout_s=patience_s)
    else:
        ends = end_offsets(broker.bootstrap, topic)
        every = {(partition, offset) for partition, count in ends.items() for offset in range(count)}
        eventually(
            lambda: every <= {(int(line[1]), int(line[2])) for line in ledger_lines(ledger, "record")},
            patience_s, "all records",
        )  # fmt: skip
    replaced = next(node for node in swarm.running(2) if node.id == victim.id)
    assert replaced.generation > victim.generation, "the killed node was not replaced"
    assert swarm.stop() == 0, swarm.output()
    return Run(
        handled=Counter((int(line[1]), int(line[2])) for line in ledger_lines(ledger, "record")),
        produced=end_offsets(broker.bootstrap, topic),
        committed_at_kill=committed_at_kill,
        handled_at_kill=handled_at_kill,
        in_hand=in_hand,
        log=swarm.output(),
        output={record.key: record.value for record in read_all(broker.bootstrap, output, timeout_s=30)},
        expected={key.encode(): encode(enrich(flight, tables)) for key, flight in records},
    )


def judge(run: Run) -> None:
    """The promise, as an assertion."""
    every = {(partition, offset) for partition, count in run.produced.items() for offset in range(count)}
    lost = every - run.handled.keys()
    assert not lost, f"lost: {len(lost)} records were never handled, among them {sorted(lost)[:5]}"
    assert run.output == run.expected, "lost: the output topic does not hold what one process makes of the input"
    for (partition, offset), times in run.handled.items():
        if times > 1:
            committed, handled = run.committed_at_kill.get(partition, 0), run.handled_at_kill.get(partition, -1)
            assert committed <= offset <= handled, (
                f"duplicate out of bounds: partition {partition} offset {offset}, handled {times} times, but at the "
                f"kill {committed} was committed and {handled} was the last that had been handled"
            )


def test_a_killed_node_loses_nothing(
    broker: Any, start_swarm: Any, point_at: Any, eventually: Any, tmp_path: Path
) -> None:
    run = run_with_a_kill(broker, start_swarm, point_at, eventually, tmp_path)
    judge(run)
    assert sum(run.handled.values()) > RECORDS, (
        "the kill hit a batch half done, so some records had to be handled again"
    )


def test_without_commits_the_run_fails(
    embedded_broker: Any, start_swarm: Any, point_at: Any, eventually: Any, tmp_path: Path
) -> None:
    with pytest.raises(TimeoutError, match="has not committed"):
        run_with_a_kill(embedded_broker, start_swarm, point_at, eventually, tmp_path, "commits-off", patience_s=20)


def test_offsets_stored_before_the_handler_lose_records(
    embedded_broker: Any, start_swarm: Any, point_at: Any, eventually: Any, tmp_path: Path
) -> None:
    run = run_with_a_kill(embedded_broker, start_swarm, point_at, eventually, tmp_path, "store-before")
    with pytest.raises(AssertionError, match="lost"):
        judge(run)


@pytest.mark.parametrize("memory", ["auto", "file"])
def test_what_was_handled_but_not_committed_is_not_repeated(
    broker: Any, start_swarm: Any, point_at: Any, eventually: Any, tmp_path: Path, memory: str
) -> None:
    """Nothing is committed in the middle of this run, so only the notes say how far the killed node was."""
    path = Path(f"/dev/shm/swarm-test-{uuid.uuid4().hex}")
    options = ["--progress-memory", str(path) if memory == "file" else memory]
    try:
        run = run_with_a_kill(
            broker, start_swarm, point_at, eventually, tmp_path, commit_interval_ms=3600_000, options=options
        )
    finally:
        path.unlink(missing_ok=True)
    judge(run)
    repeated = {place for place, times in run.handled.items() if times > 1}
    assert repeated <= run.in_hand, f"not in hand: {sorted(repeated - run.in_hand)[:5]} of {len(repeated)}"
    assert "continues at offset" in run.log


def test_without_notes_all_that_was_not_committed_is_repeated(
    embedded_broker: Any, start_swarm: Any, point_at: Any, eventually: Any, tmp_path: Path
) -> None:
    """What the test above rests on."""
    run = run_with_a_kill(
        embedded_broker, start_swarm, point_at, eventually, tmp_path,
        commit_interval_ms=3600_000, options=["--progress-memory", "off"],
    )  # fmt: skip
    judge(run)
    assert {place for place, times in run.handled.items() if times > 1} - run.in_hand
    assert "continues at offset" not in run.log
