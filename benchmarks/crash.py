"""What a crash of a node costs on real Kafka: silence of partitions, repeated records, rebalances at others.

Three nodes of one group handle records at a steady rate, and each is killed (SIGKILL) in turn. That is done for each
group protocol, with static and with dynamic members, and with the default delay before the first restart (5 s) and
none. Sessions are Kafka's own 45 s; heartbeats of group.protocol=consumer are Kafka's own 5 s. Needs Java and Maven.
Exit code 0: no record was lost, and static members of the classic protocol kept the documented bounds.

With --supervisor the whole swarm is killed instead, and a new one started at once, with the same progress file.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.chaos.crash_lab import Lab, Swarm, expect, longest
from swarm_consumer.testing import KafkaBroker, KafkaUnavailable

BROKER = {
    "group.consumer.session.timeout.ms": 45000,
    "group.consumer.max.session.timeout.ms": 60000,
    "group.consumer.heartbeat.interval.ms": 5000,
}
"""As Kafka has them, but for tests."""
BOUNDS_S = {5.0: 6.5, 0.0: 1.5}
"""How long a partition may be silent at most, by the delay before the first restart."""
SUPERVISOR_BOUND_S = 2.5
"""How long a partition may be silent if the supervisor was killed with its nodes: the median."""
MAX_MESSAGES = 100
"""Of the application."""


@dataclass(frozen=True, slots=True)
class Kill:
    """What one kill cost."""

    node: int
    silence_s: float
    repeats: int
    rebalances: int
    """Assignments, revocations and losses that other nodes noticed, until all nodes were at work again."""
    back_s: float
    """From the kill until all nodes were at work again, and no rebalance went on."""


@dataclass(frozen=True, slots=True)
class Row:
    """One combination."""

    protocol: str
    membership: str
    delay_s: float
    kills: list[Kill]
    lost: int

    def problems(self) -> list[str]:
        """What did not hold."""
        name = f"{self.protocol}, {self.membership}, delay {self.delay_s:g} s"
        found = [f"{name}: {self.lost} records were lost"] if self.lost else []
        if (self.protocol, self.membership) != ("classic", "static"):
            return found
        for kill in self.kills:
            if kill.silence_s > BOUNDS_S[self.delay_s]:
                found.append(f"{name}: node {kill.node}: silent for {kill.silence_s:.2f} s")
            if kill.rebalances:
                found.append(f"{name}: node {kill.node}: {kill.rebalances} rebalances at others")
            if kill.repeats > MAX_MESSAGES:
                found.append(f"{name}: node {kill.node}: {kill.repeats} repeats")
        return found


def run(broker: KafkaBroker, folder: Path, protocol: str, membership: str, delay_s: float, extra: list[str]) -> Row:
    """Kill each node of a swarm once."""
    with Lab(broker, folder, protocol=protocol) as lab:
        options = ["--membership", membership, "--first-restart-delay", str(delay_s), *extra]
        swarm = lab.swarm(*options)
        swarm.settled()
        kills = [kill(lab, swarm, node) for node in range(3)]
        expect(lambda: lab.missing() == 0, 60.0, "every record", [swarm])
        return Row(protocol, membership, delay_s, kills, lab.missing())


def kill(lab: Lab, swarm: Swarm, node: int) -> Kill:
    """Kill a node, and wait until all of them are at work again."""
    pids = swarm.settled()
    repeats = lab.repeats()
    _, at = swarm.kill(node)
    swarm.settled()
    others = {pid for number, pid in pids.items() if number != node}
    noticed = lab.rebalances(at, others)
    silence = longest(lab.silences(at))
    return Kill(node, silence, lab.repeats() - repeats, len(noticed), time.monotonic() - at)


def run_supervisor(broker: KafkaBroker, folder: Path, times: int) -> tuple[list[float], int]:
    """Kill the whole swarm again and again. How long the last partition was silent each time, and what was lost."""
    notes = Path("/dev/shm") / f"bench-crash-{os.getpid()}"
    silences = []
    try:
        with Lab(broker, folder) as lab:
            options = ["--progress-memory", str(notes)]
            swarm = lab.swarm(*options)
            for number in range(times + 1):
                swarm.settled()
                killed = time.monotonic()
                swarm.popen.kill()
                last, swarm = swarm, lab.swarm(*options)  # as an init system, which waits for nothing
                last.die()
                swarm.settled()
                if number:  # the modules of the first start were not compiled
                    silences.append(longest(lab.silences(killed)))
            expect(lambda: lab.missing() == 0, 60.0, "every record", [swarm])
            return silences, lab.missing()
    finally:
        notes.unlink(missing_ok=True)


def text(rows: list[Row]) -> str:
    """Return the page."""
    lines = [
        f"{'protocol':<10}{'members':<9}{'delay, s':>9}{'silence, s':>12}{'longest':>9}{'repeats':>9}"
        f"{'rebalances at others':>22}{'lost':>6}"
    ]
    for row in rows:
        silences = [kill.silence_s for kill in row.kills]
        lines.append(
            f"{row.protocol:<10}{row.membership:<9}{row.delay_s:>9g}{statistics.median(silences):>12.2f}"
            f"{max(silences):>9.2f}{sum(kill.repeats for kill in row.kills):>9}"
            f"{sum(kill.rebalances for kill in row.kills):>22}{row.lost:>6}"
        )
    found = [problem for row in rows for problem in row.problems()]
    lines += ["", *(f"FAILED: {problem}" for problem in found)] if found else ["", "PASSED"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run all combinations, print the page, write it as JSON too."""
    parser = argparse.ArgumentParser(prog="hatch run bench crash", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--protocol", choices=("classic", "consumer"), action="append", help="only this; repeatable")
    parser.add_argument("--membership", choices=("static", "dynamic"), action="append", help="only this; repeatable")
    parser.add_argument("--delay", type=float, choices=(5.0, 0.0), action="append", help="only this; repeatable")
    parser.add_argument("--supervisor", type=int, default=0, metavar="N", help="kill the supervisor N times instead")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("extra", nargs="*", metavar="OPTION", help="of swarm-cli swarm, after --")
    options = parser.parse_args(arguments)
    rows = []
    try:
        with tempfile.TemporaryDirectory(prefix="crash-") as folder, KafkaBroker(properties=BROKER) as broker:
            if options.supervisor:
                silences, lost = run_supervisor(broker, Path(folder), options.supervisor)
                median = statistics.median(silences)
                shown = ", ".join(f"{silence:.2f}" for silence in silences)
                print(f"supervisor killed, silence in s: median {median:.2f}, of {shown}; lost {lost}")
                return 1 if lost or median > SUPERVISOR_BOUND_S else 0
            for combination in itertools.product(
                options.protocol or ("classic", "consumer"),
                options.membership or ("static", "dynamic"),
                options.delay or (5.0, 0.0),
            ):
                rows.append(run(broker, Path(folder), *combination, options.extra))
                print(f"{', '.join(map(str, combination))}: done", file=sys.stderr, flush=True)
    except KafkaUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    print(text(rows))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 1 if any(row.problems() for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
