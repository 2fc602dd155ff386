"""A soak on real Kafka: ten million records, nodes killed all the while; none may be lost, and memory must stay flat.

A record's value follows from its partition and offset; the handler writes one line for each batch, and a ledger outside
the swarm keeps one byte for each record. Node 0 is never killed: its memory is that of one long life. Needs Java and
Maven. Exit code 0: all of it held.
"""

import argparse
import importlib.util
import json
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from benchmarks.chaos import processes
from benchmarks.chaos.flatness import Trend, trend
from benchmarks.chaos.keeper import Keeper
from benchmarks.chaos.processes import wait_until
from benchmarks.chaos.soak_ledger import SoakLedger, parse, value
from swarm_consumer.testing import KafkaBroker, KafkaUnavailable, end_offsets
from swarm_pidfd import Pidfd

SESSION_S = 6.0
COMMIT_S = 1.0
UNCOMMITTED_S = COMMIT_S + SESSION_S + 2.0
"""librdkafka commits nothing while it waits for the answer to JoinGroup: until the killed member's session is over."""
TOO_LITTLE_MB = 1.0
"""A rise of this much over half a soak is not told from nothing."""
WARM_S = 10.0
"""A node's memory counts from this age on: its buffers are filled by then."""
CHUNK = 200
MOST_BEHIND = 200_000
"""The producer waits while so many records have not been handled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run."""

    records: int
    rate: float
    kill_every_s: float
    limit_s: float
    most_kills: int | None = None
    """None: until the end. A group whose members are killed faster than it can settle gets nothing done."""
    nodes: int = 3
    partitions: int = 12
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory at one moment, in MB of 2^20 bytes."""

    at: float
    supervisor: float
    nodes: dict[int, tuple[int, float]]
    """Node -> its pid and its memory."""
    handled: int


@dataclass(slots=True)
class Outcome:
    """What a soak came to."""

    plan: Plan
    duration_s: float = 0.0
    produced: int = 0
    times: dict[int, int] = field(default_factory=dict)
    lost: int = 0
    replays: int = 0
    longest_replay_s: float = 0.0
    kills: list[float] = field(default_factory=list)
    """Seconds since the beginning."""
    memory: list[Memory] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def trends(self) -> dict[str, Trend]:
        """Return the memory's line over the second half: supervisor, the node that lives on, and those that are killed.

        For the killed ones each life is one point: the mean of its memory, once it is warm.
        """
        half = [sample for sample in self.memory if sample.at >= self.duration_s / 2]
        series: dict[str, list[tuple[float, float]]] = defaultdict(list)
        lives: dict[int, list[tuple[float, float]]] = defaultdict(list)
        born: dict[int, float] = {}
        for sample in self.memory:
            for pid, _ in sample.nodes.values():
                born.setdefault(pid, sample.at)
        for sample in half:
            series["supervisor"].append((sample.at, sample.supervisor))
            for node, (pid, resident) in sample.nodes.items():
                if sample.at - born[pid] >= WARM_S:
                    if node == 0:
                        series["node 0, never killed"].append((sample.at, resident))
                    else:
                        lives[pid].append((sample.at, resident))
        means = [_mean(points) for points in lives.values()]
        series["killed nodes, a point a life"] = sorted(means)
        return {name: trend(points) for name, points in series.items() if len(points) >= 3}


def _mean(points: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(at for at, _ in points) / len(points), sum(one for _, one in points) / len(points)


class Soak:
    """One soak; `carry_out` does it."""

    def __init__(self, plan: Plan, broker: KafkaBroker, folder: Path) -> None:
        self.plan, self.broker, self.folder = plan, broker, folder
        self.name = f"soak-{uuid.uuid4().hex[:8]}"
        self.log = folder / "handled.log"
        self.log.touch()
        share, more = divmod(plan.records, plan.partitions)
        self.ledger = SoakLedger([share + (number < more) for number in range(plan.partitions)], UNCOMMITTED_S)
        self.outcome = Outcome(plan)
        self._failures: Counter[str] = Counter()
        self._ending = threading.Event()
        self._produced = threading.Event()
        self._sent = [0] * plan.partitions
        self._started = time.monotonic()

    def carry_out(self) -> Outcome:
        """Do it, from the topic to the last process that has gone."""
        plan, outcome = self.plan, self.outcome
        self.broker.create_topic(self.name, plan.partitions)
        keeper = self._keeper()
        threads = [threading.Thread(target=each, name=each.__name__) for each in (self._produce, self._read)]
        try:
            keeper.start()
            if not wait_until(lambda: len(keeper.running()) == plan.nodes, 60.0, 0.1):
                raise RuntimeError(f"the swarm did not start:\n{keeper.log.read_text()[-3000:]}")
            self._started = time.monotonic()
            for thread in threads:
                thread.start()
            self._watch(keeper)
            outcome.duration_s = time.monotonic() - self._started
            code = keeper.stop(60.0)
            if code != 0:
                outcome.problems.append(f"the supervisor ended with exit code {code}")
        finally:
            self._ending.set()
            keeper.kill()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if self._failures:
            outcome.problems.append(f"the producer failed: {dict(self._failures)}")
        ends = end_offsets(self.broker.bootstrap, self.name)
        outcome.produced = sum(ends.values())
        if outcome.produced != plan.records:
            outcome.problems.append(f"{outcome.produced:,} records are in the topic, and should be {plan.records:,}")
        outcome.times, outcome.lost = self.ledger.times(), self.ledger.lost()
        outcome.replays, outcome.longest_replay_s = self.ledger.replays, self.ledger.longest_replay_s
        outcome.problems += self.ledger.problems
        if outcome.lost:
            outcome.problems.append(f"{outcome.lost:,} records were lost")
        for name, line in outcome.trends().items():
            if not line.flat(TOO_LITTLE_MB):
                outcome.problems.append(f"{name}: {line.rise:+.1f} MB in the second half, noise {line.noise:.1f} MB")
        return outcome

    def _keeper(self) -> Keeper:
        kafka = {
            **self.broker.client_settings("classic"),
            "session.timeout.ms": int(1000 * SESSION_S),
            "auto.commit.interval.ms": int(1000 * COMMIT_S),
        }
        arguments = [
            "swarm", "benchmarks.chaos.soak_app:app", "--nodes", str(self.plan.nodes),
            "--bootstrap-servers", str(kafka.pop("bootstrap.servers")),
            "--node-restart-delay", "0.5",
            *(part for name, setting in kafka.items() for part in ("--kafka", f"{name}={setting}")),
        ]  # fmt: skip
        environment = {
            "CHAOS_LOG": str(self.log), "CHAOS_TOPIC": self.name, "CHAOS_GROUP": self.name,
            "SWARM_RESTART_DELAY_MAX": "1", "SWARM_MAX_RESTARTS": "10000",
        }  # fmt: skip
        return Keeper(arguments, environment, self.folder, self.folder / "control.sock")

    def _watch(self, keeper: Keeper) -> None:
        """Measure each second, kill now and then, until every record was handled or time is over."""
        plan, draw = self.plan, random.Random(self.plan.seed)
        due = plan.kill_every_s
        while not (self._produced.is_set() and self.ledger.handled() >= plan.records):
            now = time.monotonic() - self._started
            if now > plan.limit_s:
                self.outcome.problems.append(f"not done within {plan.limit_s:g} s")
                return
            nodes = {node.id: node.pid for node in keeper.running() if node.pid}
            memory = {node: (pid, processes.resident_mb(pid)) for node, pid in nodes.items()}
            self.outcome.memory.append(Memory(now, processes.resident_mb(keeper.pid), memory, self.ledger.handled()))
            more = plan.most_kills is None or len(self.outcome.kills) < plan.most_kills
            if more and now >= due and len(nodes) > 1:
                victim = nodes[draw.choice([node for node in nodes if node != 0])]
                with Pidfd(victim) as process:
                    process.signal(signal.SIGKILL)
                    process.wait(10)
                self.outcome.kills.append(now)
                due += plan.kill_every_s
            time.sleep(1.0)

    def _produce(self) -> None:
        def failed(error: Any, _: Any) -> None:
            self._failures[str(error)] += 1

        producer = Producer(
            {
                "bootstrap.servers": self.broker.bootstrap,
                "enable.idempotence": True,
                "delivery.report.only.error": True,
                "message.timeout.ms": 0,
                "linger.ms": 20,
                "log_level": 0,
            }
        )
        counts, total = self.ledger.produced, 0
        while total < self.plan.records and not self._ending.is_set():
            due = (time.monotonic() - self._started) * self.plan.rate
            if total >= due or total - self.ledger.handled() > MOST_BEHIND:
                producer.poll(0.005)
                continue
            for partition, count in enumerate(counts):
                first = self._sent[partition]
                for offset in range(first, min(first + CHUNK, count)):
                    while True:
                        try:
                            producer.produce(self.name, value(partition, offset), partition=partition,
                                             on_delivery=failed)  # fmt: skip
                            break
                        except BufferError:
                            producer.poll(0.05)
                self._sent[partition] = min(first + CHUNK, count)
            total = sum(self._sent)
        if producer.flush(60.0):
            self._failures["not acknowledged"] += 1
        self._produced.set()

    def _read(self) -> None:
        rest = ""
        with self.log.open() as stream:
            while True:
                ending = self._ending.is_set()
                if chunk := stream.read(1 << 18):
                    *lines, rest = (rest + chunk).split("\n")
                    for line in lines:
                        self.ledger.done(parse(line))
                elif ending:
                    return
                else:
                    time.sleep(0.02)


def text(outcome: Outcome) -> str:
    """Return the page."""
    handled = sum(count for times, count in outcome.times.items() if times)
    duplicates = sum((times - 1) * count for times, count in outcome.times.items() if times)
    lines = [
        f"Soak: {outcome.produced:,} records in {outcome.duration_s:.0f} s, {outcome.plan.nodes} nodes, "
        f"{len(outcome.kills)} kills",
        "FAILED" if outcome.problems else "PASSED",
        "",
        f"  handled     {handled:>12,}",
        f"  lost        {outcome.lost:>12,}",
        f"  duplicates  {duplicates:>12,}  in {outcome.replays} replayed batches; the oldest work done again was "
        f"finished {outcome.longest_replay_s:.1f} s before, the bound is {UNCOMMITTED_S:g} s",
        "",
        "  resident memory, second half       mean, MB  MB/minute  rise, MB  noise, MB  points",
        *(f"  {name:<32}  {line}" for name, line in outcome.trends().items()),
        *(f"  problem: {problem}" for problem in outcome.problems[:20]),
    ]
    return "\n".join(lines) + "\n"


def plot(outcome: Outcome, path: Path) -> None:
    """Draw memory and throughput over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(11, 6), sharex=True, height_ratios=(3, 2))
    times = [sample.at for sample in outcome.memory]
    above.plot(times, [sample.supervisor for sample in outcome.memory], label="supervisor", color="tab:red")
    lives: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for sample in outcome.memory:
        for node, (pid, resident) in sample.nodes.items():
            lives[node, pid].append((sample.at, resident))
    colours = ("tab:blue", "tab:gray", "tab:olive", "tab:cyan", "tab:purple")
    labelled = set()
    for (node, _), points in lives.items():
        label = None if node in labelled else f"node {node}" + (", never killed" if node == 0 else "")
        labelled.add(node)
        above.plot(*zip(*points, strict=True), color=colours[node % len(colours)], linewidth=1, label=label)
    above.axvline(outcome.duration_s / 2, color="black", linestyle=":", linewidth=1)
    above.set_ylim(bottom=0)
    above.set_ylabel("resident memory, MB")
    above.legend(loc="lower right", fontsize=8, ncols=2)
    above.set_title(f"{outcome.produced:,} records, {len(outcome.kills)} kills, {outcome.lost} lost", fontsize=10)
    rates = [
        (later.at, (later.handled - earlier.handled) / (later.at - earlier.at))
        for earlier, later in pairwise(outcome.memory)
    ]
    below.plot(*zip(*rates, strict=True), color="tab:blue", linewidth=1)
    below.plot(outcome.kills, [0] * len(outcome.kills), "v", color="tab:red", markersize=5, label="SIGKILL of a node")
    below.set_ylabel("records handled per second")
    below.set_xlabel("seconds")
    below.legend(loc="upper right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Run, print the page, write text, JSON and picture."""
    parser = argparse.ArgumentParser(prog="hatch run bench soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--rate", type=float, default=30_000.0, help="records per second, at most (30000)")
    parser.add_argument("--kill-every", type=float, default=12.0, metavar="SECONDS")
    parser.add_argument("--limit", type=float, default=30.0, metavar="MINUTES", help="give up after (30)")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="default: .cache/soak")
    options = parser.parse_args(arguments)
    report: Path = options.report or Path(".cache") / "soak"
    report.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        records=options.records, rate=options.rate, kill_every_s=options.kill_every, limit_s=60.0 * options.limit
    )
    try:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder, KafkaBroker() as broker:
            outcome = Soak(plan, broker, Path(folder)).carry_out()
    except KafkaUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    page = text(outcome)
    print(page)
    (report / "soak.txt").write_text(page)
    (report / "soak.json").write_text(json.dumps(asdict(outcome)) + "\n")
    if importlib.util.find_spec("matplotlib") is not None:
        plot(outcome, report / "soak.png")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
