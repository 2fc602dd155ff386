"""Messages that kill or hang their process, in a whole swarm on a real broker: what becomes of them and of all others.

    python -m benchmarks.poison_table [--only CASE ...] [--bootstrap HOST:PORT] [--embedded]

Each case is 4,000 messages in 4 partitions (unless it says otherwise), two nodes, four workers each. Printed for each:
whether all others were handled, the dead letters with their stories, the deaths, the attempts at each poison, whether
order was kept in each partition, and how long it took. The exit code is 1 if a case is not as it must be.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from swarm_consumer.testing import EmbeddedBroker, KafkaBroker, Record, produce, read_all
from swarm_supervisor import ControlClient, ControlError

PARTITIONS = 4
ASSIGNED = re.compile(r" node (\d+) .* assigned poison-")
DEATH = re.compile(r"node (\d+) \(pid \d+, generation \d+\) ended after")


@dataclass
class Case:
    """What is in the topic, and what has to come of it."""

    name: str
    poison: dict[tuple[int, int], str] = field(default_factory=dict)
    letters: bool = True
    records: int = 4000
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    limit_s: float = 90.0
    most_deaths: int = 3
    """For each poison."""
    nodes: int = 2
    memory_mb: int = 0
    """What all of its processes may use together, in a memory cgroup; 0: no limit."""
    disturb: Callable[[Swarm], None] | None = None
    check: Callable[[Seen], list[str]] | None = None


@dataclass
class Seen:
    """What came of a case."""

    case: Case
    given: Counter[tuple[int, int]]
    handled: Counter[tuple[int, int]]
    ordered: bool
    letters: dict[tuple[int, int], dict[str, str]]
    deaths: int
    took_s: float
    complete: bool
    log: str

    def problems(self) -> Iterator[str]:
        """What is not as it must be."""
        case = self.case
        if case.check is not None:
            yield from case.check(self)
            return
        if not self.complete:
            yield "not all others were handled in time"
        if not self.ordered:
            yield "a partition was not handled in order"
        guilty = set(case.poison) if case.letters else set()
        if set(self.letters) != guilty:
            yield f"dead letters {sorted(self.letters)} instead of {sorted(guilty)}"
        if self.deaths > case.most_deaths * len(case.poison):
            yield f"{self.deaths} deaths"
        for place in case.poison:
            if self.given[place] > case.most_deaths:
                yield f"{place} was handed out {self.given[place]} times"


class Swarm:
    """A swarm at work on a case."""

    def __init__(self, case: Case, broker: KafkaBroker | EmbeddedBroker, folder: Path) -> None:
        unique = uuid.uuid4().hex[:8]
        self.case, self.broker, self.folder = case, broker, folder
        self.topic, self.dead = f"poison-{unique}", f"dead-{unique}"
        broker.create_topic(self.topic, PARTITIONS)
        broker.create_topic(self.dead, 1)
        self.ledger, self.log, self.control = folder / "ledger", folder / "log", folder / "c.sock"
        environment = {
            "POISON_LEDGER": str(self.ledger), "POISON_TOPIC": self.topic, "POISON_GROUP": f"group-{unique}",
            **({"POISON_LETTERS": self.dead} if case.letters else {}), **case.environment,
        }  # fmt: skip
        into: list[str] = []
        self.cgroup: Path | None = None
        kafka = [f"--kafka={name}={value}" for name, value in broker.client_settings("classic").items()]
        if case.memory_mb:
            self.cgroup = cgroup_of(case.memory_mb)
            into = ["sh", "-c", 'echo $$ > "$0/cgroup.procs"; exec "$@"', str(self.cgroup)]
        command = [
            *into, sys.executable, "-m", "swarm_cli", "swarm", "benchmarks.poison.app:app", "--nodes", str(case.nodes),
            "--node-restart-delay", "0", "--control", str(self.control), *kafka, *case.options,
        ]  # fmt: skip
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(command, env=os.environ | environment, stdout=stream, stderr=stream)
        # A death in the middle of the first rebalance is another matter: here all are at work.
        deadline = time.monotonic() + 60
        while len(set(ASSIGNED.findall(self.log.read_text(errors="replace")))) < case.nodes:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"not all nodes got partitions: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        self.begun = time.monotonic()
        produce(broker.bootstrap, self.topic, [
            Record(case.poison.get((one % PARTITIONS, one // PARTITIONS), "x").encode(), partition=one % PARTITIONS)
            for one in range(case.records)
        ])  # fmt: skip

    def lines(self) -> list[list[str]]:
        """What handlers wrote down."""
        return [line.split() for line in self.ledger.read_text().splitlines()] if self.ledger.exists() else []

    def places(self, kind: str) -> Counter[tuple[int, int]]:
        """How often each message was given, or handled."""
        return Counter((int(line[2]), int(line[3])) for line in self.lines() if line[0] == kind)

    def nodes(self) -> list[int]:
        """The pids of the nodes."""
        try:
            with ControlClient(self.control, timeout_s=2.0) as client:
                return [node.pid for node in client.status().nodes if node.pid]
        except (ControlError, OSError):
            return []

    def command(self, *words: str) -> None:
        """Give the swarm an order."""
        subprocess.run(
            [sys.executable, "-m", "swarm_cli", *words, "--control", str(self.control)], check=False, timeout=120,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def others(self) -> set[tuple[int, int]]:
        """All messages that are no poison; without dead letters only those that no poison holds up."""
        blocked = {} if self.case.letters else dict(sorted(self.case.poison))
        everything = {(number % PARTITIONS, number // PARTITIONS) for number in range(self.case.records)}
        return {
            place for place in everything - set(self.case.poison) if place[1] < blocked.get(place[0], self.case.records)
        }

    def letters(self) -> dict[tuple[int, int], dict[str, str]]:
        """The dead letters: their headers by the place of their message."""
        found = {}
        for record in read_all(self.broker.bootstrap, self.dead):
            headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
            found[int(headers["swarm-source-partition"]), int(headers["swarm-source-offset"])] = headers
        return found

    def _given_up(self) -> bool:
        """Whether all poison is a dead letter, or holds up its partition."""
        if self.case.letters or not self.case.poison:
            return len(self.letters()) >= len(self.case.poison)
        return "is parked here" in self.log.read_text(errors="replace")

    def run(self) -> Seen:
        """Wait until the case is over, stop, and say what was seen."""
        if self.case.disturb is not None:
            self.case.disturb(self)
        deadline, complete, took = self.begun + self.case.limit_s, False, 0.0
        while time.monotonic() < deadline and self.process.poll() is None and not complete:
            time.sleep(0.2)
            handled = set(self.places("handled"))
            complete = handled >= self.others and self._given_up()
            took = time.monotonic() - self.begun
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        if self.cgroup is not None:
            self.cgroup.rmdir()
        log = self.log.read_text(errors="replace")
        first: dict[int, list[int]] = defaultdict(list)
        for line in self.lines():
            if line[0] == "handled" and int(line[3]) not in first[int(line[2])][-1:]:
                first[int(line[2])].append(int(line[3]))
        ordered = all(in_order(offsets) for offsets in first.values())
        deaths = len([line for line in log.splitlines() if DEATH.search(line) and "exited with code 0" not in line])
        return Seen(
            self.case,
            self.places("given"),
            self.places("handled"),
            ordered,
            self.letters(),
            deaths,
            took,
            complete,
            log,
        )


def cgroup_of(memory_mb: int) -> Path:
    """A new memory cgroup with a limit. PermissionError, or another OSError, where none can be made."""
    root = Path("/sys/fs/cgroup")
    v1 = (root / "memory").is_dir()
    folder = (root / "memory" if v1 else root) / f"swarm-poison-{os.getpid()}"
    folder.mkdir()
    (folder / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(memory_mb * 2**20))
    return folder


def in_order(offsets: list[int]) -> bool:
    """Whether each offset was handled for the first time after all before it."""
    seen: set[int] = set()
    newest = -1
    for offset in offsets:
        if offset not in seen and offset < newest:
            return False
        seen.add(offset)
        newest = max(newest, offset)
    return True


# -- the cases ---------------------------------------------------------------------------------------------------------


def killed_at_random(times: int, every_s: float) -> Callable[[Swarm], None]:
    """Somebody kills nodes."""

    def kill(swarm: Swarm) -> None:
        killed: set[int] = set()
        deadline = time.monotonic() + 5 * times * every_s
        while len(killed) < times and time.monotonic() < deadline:
            time.sleep(every_s)
            fresh = [pid for pid in swarm.nodes() if pid not in killed]
            if fresh:
                victim = fresh[len(killed) % len(fresh)]
                killed.add(victim)
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)

    return kill


def hangs_for(seconds: float) -> Callable[[Swarm], None]:
    """Everything hangs for a while: a database is gone."""

    def hang(swarm: Swarm) -> None:
        time.sleep(seconds)
        Path(swarm.case.environment["POISON_STOP_FILE"]).unlink()

    return hang


def in_mid_batch(*orders: tuple[str, ...]) -> Callable[[Swarm], None]:
    """Orders of an operator while all are at work."""

    def give(swarm: Swarm) -> None:
        while len(swarm.lines()) < 40:
            time.sleep(0.1)
        for order in orders:
            swarm.command(*order)
            time.sleep(1.0)

    return give


def by_the_oom_killer(seen: Seen) -> list[str]:
    """The culprit is found, and its story names the OOM killer."""
    story = seen.letters.get((1, 125), {}).get("swarm-error", "")
    problems = [] if seen.complete and "OOM killer" in story else [f"its story is {story!r}"]
    return problems + ([f"{seen.deaths} deaths"] if seen.deaths > seen.case.most_deaths else [])


def no_letters(seen: Seen) -> list[str]:
    """Nothing is given up, and everything is handled."""
    problems = [] if seen.complete else ["not everything was handled in time"]
    return problems + ([f"dead letters: {sorted(seen.letters)}"] if seen.letters else [])


def at_least_fifty_deaths(seen: Seen) -> list[str]:
    """Nothing is given up, however often somebody kills."""
    return no_letters(seen) + ([f"only {seen.deaths} deaths"] if seen.deaths < 50 else [])


def no_suspects(seen: Seen) -> list[str]:
    """Nothing is even suspected."""
    return no_letters(seen) + (["something was suspected"] if "handed out one at a time" in seen.log else [])


def a_crash_loop(seen: Seen) -> list[str]:
    """No record is blamed, and the crash loop is found."""
    problems = ["a record was blamed"] if seen.letters or "is parked here" in seen.log else []
    return problems + ([] if "crash loop" in seen.log.lower() else ["the crash loop was not reported"])


def cases(folder: Path) -> list[Case]:
    """All of them."""
    stop, tick = folder / "stop", folder / "tick"
    hangs = (
        "--node-report-timeout",
        "3",
        "--liveness-interval",
        "0.5",
        "--shutdown-timeout",
        "4",
        "--drain-timeout",
        "2",
    )
    all_five = {
        (0, 125): "segfault", (1, 300): "exit", (2, 475): "regex", (3, 650): "sleep", (0, 825): "segfault"
    }  # fmt: skip
    return [
        Case("segfault and exit in one partition", {(0, 125): "segfault", (0, 300): "exit"}),
        Case("five of four kinds", all_five, options=hangs, environment={"POISON_TTL": "2"}, limit_s=240),
        Case("segfault without a dead-letter topic", {(1, 125): "segfault"}, letters=False),
        Case("three at one offset of three partitions", {(one, 125): "segfault" for one in range(3)}),
        Case(
            "two at once, eight workers", {(0, 130): "segfault", (1, 131): "exit"},
            environment={"POISON_CONCURRENCY": "8"},
        ),
        Case("memory without end", {(1, 125): "memory"}, memory_mb=700, check=by_the_oom_killer),
        Case("one node", {(2, 0): "segfault", (3, 55): "exit"}, nodes=1),
        Case(
            "everything hangs for two minutes", options=hangs, limit_s=300, disturb=hangs_for(120), check=no_letters,
            environment={"POISON_TTL": "2", "POISON_STOP_FILE": str(stop)},
        ),
        Case(
            "fifty kills at random, slow handlers", records=400, limit_s=500, disturb=killed_at_random(50, 1.0),
            environment={"POISON_SECONDS": "0.5", "POISON_BATCH": "5"}, check=at_least_fifty_deaths,
            options=("--max-restarts", "100000"),
        ),
        Case(
            "a tick that segfaults", limit_s=45, environment={"POISON_TICK_FILE": str(tick), "POISON_SECONDS": "0.05"},
            check=a_crash_loop, options=("--max-restarts", "5"),
        ),
        Case(
            "rolling restart and scale-down in mid-batch", records=800, limit_s=120,
            disturb=in_mid_batch(("restart",), ("scale", "1")), environment={"POISON_SECONDS": "0.02"},
            check=no_suspects,
        ),
    ]  # fmt: skip


@contextmanager
def the_broker(arguments: argparse.Namespace) -> Iterator[KafkaBroker | EmbeddedBroker]:
    """The broker that was asked for."""
    if arguments.bootstrap:
        os.environ["KAFKA_BOOTSTRAP_SERVERS"] = arguments.bootstrap
    with ExitStack() as closing:
        yield closing.enter_context(EmbeddedBroker() if arguments.embedded else KafkaBroker())


def main() -> int:
    """Run the cases; 1 if one is not as it must be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="WORDS", help="cases whose names contain one of these")
    parser.add_argument("--bootstrap", help="a cluster that runs already")
    parser.add_argument("--embedded", action="store_true", help="the embedded broker")
    parser.add_argument("--logs", type=Path, help="keep the logs in this folder")
    arguments = parser.parse_args()
    bad = 0
    with the_broker(arguments) as broker, tempfile.TemporaryDirectory() as name:
        base = arguments.logs or Path(name)
        for number, case in enumerate(cases(base)):
            if arguments.only and not any(words in case.name for words in arguments.only):
                continue
            folder = base / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            for variable in ("POISON_STOP_FILE", "POISON_TICK_FILE"):
                if variable in case.environment:
                    Path(case.environment[variable]).touch()
            try:
                swarm = Swarm(case, broker, folder)
            except OSError as error:
                print(f"left out {case.name}: {error}")
                continue
            seen = swarm.run()
            problems = list(seen.problems())
            bad += bool(problems)
            handled = len(seen.handled)
            print(
                f"{'FAILED' if problems else 'ok':6} {case.name}: {handled} of {case.records} handled, "
                f"{sum(seen.handled.values()) - handled} twice, {seen.deaths} deaths, {len(seen.letters)} letters, "
                f"{seen.took_s:.1f} s, order {'kept' if seen.ordered else 'broken'}", flush=True,
            )  # fmt: skip
            for place, kind in case.poison.items():
                headers = seen.letters.get(place, {})
                story = headers.get("swarm-error", "-")
                if "swarm-stack" in headers:
                    story += f"; stack of {len(headers['swarm-stack'])} bytes"
                print(f"         {kind} at {place}: given {seen.given[place]} times; letter: {story}")
            for problem in problems:
                print(f"         {problem}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
