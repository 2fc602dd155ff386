"""What a crash costs on real Kafka with default settings: each node killed in turn; silence, repeats, rebalances.

One run for each `first_restart_delay` (5 and 0): sessions of 45 s, the rate of records is steady, and each node in turn
gets SIGKILL. Measured from outside: how long any partition was silent, how many records were handled again, and which
rebalances reached the nodes that were not killed. ``--kill-supervisor`` kills the supervisor instead, which an outer
loop starts again at once; its notes survive in a file in /dev/shm. Needs Java and Maven. Exit code 0: the bounds held.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.chaos import processes
from benchmarks.chaos.keeper import Keeper
from benchmarks.chaos.records import Entry, Handled
from benchmarks.static_membership import Kill, Membership, Outcome
from benchmarks.static_membership import Plan as MembershipPlan
from swarm_consumer.testing import KafkaBroker, KafkaUnavailable

JOIN_S = 1.5
"""What a restart may take on top of its delay: the fork, the join, the first fetch."""
SUPERVISOR_S = 5.0
"""The same where the command is started again: it imports the application first."""
MAX_MESSAGES = 100
BROKER_SESSION_S = 45
"""Kafka's default, also of group.protocol=consumer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run."""

    first_restart_delay: float
    nodes: int = 3
    partitions: int = 6
    rate: float = 600.0
    protocol: str = "classic"
    extra: tuple[str, ...] = ()
    """More arguments of `swarm-cli swarm`."""
    supervisor: bool = False
    """The supervisor is killed, as often as there are nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one kill cost."""

    node: int
    """-1: the supervisor."""
    silence_s: float
    """The longest time between two records of any partition."""
    own_silence_s: float
    """The same of the partitions of what was killed."""
    repeats: int
    """Records handled again until the next kill."""
    partitions: int
    """Partitions that what was killed had: each may have had a batch at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one run came to."""

    plan: Plan
    costs: list[Cost]
    rebalances_at_others: int | None
    """None: everything was killed, so there were no others."""
    lost: int

    @property
    def bound_s(self) -> float:
        """How long a partition may be silent."""
        return SUPERVISOR_S if self.plan.supervisor else self.plan.first_restart_delay + JOIN_S

    def problems(self) -> list[str]:
        """What did not hold."""
        found = []
        for cost in self.costs:
            who = "the supervisor" if cost.node < 0 else f"node {cost.node}"
            if cost.silence_s > self.bound_s:
                found.append(f"{who}: a partition was silent for {cost.silence_s:.2f} s, the bound is {self.bound_s:g}")
            if cost.repeats > MAX_MESSAGES * cost.partitions:
                found.append(f"{who}: {cost.repeats} records again, more than a batch for each of {cost.partitions}")
        if self.rebalances_at_others:
            found.append(f"{self.rebalances_at_others} rebalance events at nodes that were not killed")
        if self.lost:
            found.append(f"{self.lost} records were lost")
        return found


def longest_gap(entries: list[Entry], start: float, end: float) -> float:
    """Return the longest time without a record of any partition that has some in a stretch of time, ends included."""
    last: dict[int, float] = {}
    longest = 0.0
    for entry in entries:
        if not isinstance(entry, Handled):
            continue
        if entry.partition in last and entry.at > start and last[entry.partition] < end:
            longest = max(longest, entry.at - last[entry.partition])
        last[entry.partition] = entry.at
    return longest


def repeats(entries: list[Entry], start: float, end: float) -> int:
    """Return how many records were handled in a stretch of time that had been handled before."""
    seen: set[tuple[int, int]] = set()
    count = 0
    for entry in entries:
        if isinstance(entry, Handled):
            place = (entry.partition, entry.offset)
            count += place in seen and start <= entry.at < end
            seen.add(place)
    return count


def costs(kills: list[Kill], entries: list[Entry]) -> list[Cost]:
    """Return what each kill cost, until the next one."""
    found = []
    for number, kill in enumerate(kills):
        end = kills[number + 1].at if number + 1 < len(kills) else float("inf")
        found.append(
            Cost(
                node=kill.node,
                silence_s=longest_gap(entries, kill.at, end),
                own_silence_s=max(kill.silences.values(), default=0.0),
                repeats=repeats(entries, kill.at, end),
                partitions=len(kill.silences),
            )
        )
    return found


class Crash(Membership):
    """One run with default settings."""

    probed = False

    def __init__(self, plan: Plan, broker: KafkaBroker, folder: Path) -> None:
        kills = MembershipPlan(
            static=True, kills=plan.nodes, nodes=plan.nodes, partitions=plan.partitions, rate=plan.rate
        )
        super().__init__(kills, broker, folder)
        self.crash = plan
        self.notes = Path("/dev/shm") / f"{self.name}.progress"

    def bill(self) -> Bill:
        """Do it, and sum up."""
        try:
            outcome: Outcome = self.carry_out()
        finally:
            self.notes.unlink(missing_ok=True)
        return Bill(
            plan=self.crash,
            costs=costs(outcome.kills, self.entries),
            rebalances_at_others=None if self.crash.supervisor else outcome.events_at_others,
            lost=outcome.lost,
        )

    def _keeper(self) -> Keeper:
        plan = self.crash
        arguments = [
            "swarm", "benchmarks.chaos.membership_app:app", "--nodes", str(plan.nodes),
            "--bootstrap-servers", self.broker.bootstrap, "--kafka", "debug=cgrp",
            "--first-restart-delay", str(plan.first_restart_delay), *plan.extra,
        ]  # fmt: skip
        if plan.protocol == "consumer":
            arguments += ["--kafka", "group.protocol=consumer"]
        if plan.supervisor:
            arguments += ["--progress-memory", str(self.notes)]
        environment = {
            "CHAOS_LOG": str(self.log), "CHAOS_ORDERS": str(self.folder),
            "CHAOS_TOPIC": self.name, "CHAOS_GROUP": self.name,
        }  # fmt: skip
        return Keeper(arguments, environment, self.folder, self.folder / "control.sock")

    def _kill(self, keeper: Keeper, node_id: int) -> Kill:
        if not self.crash.supervisor:
            return super()._kill(keeper, node_id)
        self._expect(self._every_node_at_work, 60.0, "records handled by every node")
        pids = set(self._owners().values())
        supervisor = keeper.signal(signal.SIGKILL)
        self._expect(lambda: processes.gone(supervisor), 10.0, f"the end of supervisor {supervisor}")
        at = time.monotonic()
        self._expect(lambda: all(map(processes.gone, pids)), 10.0, "the end of its nodes")
        self._read()
        before = {partition: when for pid in pids for partition, when in self._last_of(pid).items()}
        after: dict[int, float] = {}

        def at_work_again() -> bool:
            self._read()
            for entry in reversed(self.entries):
                if entry.at < at:
                    break
                if isinstance(entry, Handled) and entry.pid not in pids:
                    after[entry.partition] = entry.at
            return after.keys() >= before.keys()

        self._expect(at_work_again, 120.0, f"the partitions {sorted(before)}")
        self._expect(lambda: len(keeper.running()) == self.plan.nodes, 60.0, "all nodes")
        self._expect(self._every_node_at_work, 120.0, "records handled by every node")
        return Kill(-1, supervisor, at, {one: after[one] - before[one] for one in before})


def text(bill: Bill) -> str:
    """Return the page of one run."""
    plan = bill.plan
    what = "the supervisor" if plan.supervisor else "each node in turn"
    lines = [
        f"{what} killed, group.protocol={plan.protocol}, first_restart_delay {plan.first_restart_delay:g} s, "
        f"session {BROKER_SESSION_S} s{' '.join(['', *plan.extra])}",
        "  killed      silence of its partitions, s   of any partition, s   records again   its partitions",
    ]
    for cost in bill.costs:
        who = "supervisor" if cost.node < 0 else f"node {cost.node}"
        lines.append(
            f"  {who:<10}{cost.own_silence_s:>31.2f}{cost.silence_s:>22.2f}{cost.repeats:>16}{cost.partitions:>17}"
        )
    others = "none were left" if bill.rebalances_at_others is None else str(bill.rebalances_at_others)
    lines.append(f"  rebalance events at nodes that were not killed: {others}; records lost: {bill.lost}")
    lines += [f"  FAILED: {problem}" for problem in bill.problems()] or ["  PASSED"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run each delay, print the pages, write them as JSON too."""
    parser = argparse.ArgumentParser(prog="hatch run bench crash", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--first-restart-delay", type=float, action="append", metavar="SECONDS", help="repeatable")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--rate", type=float, default=600.0, help="records per second (600)")
    parser.add_argument("--protocol", choices=("classic", "consumer"), default="classic")
    parser.add_argument("--kill-supervisor", action="store_true", help="its notes are kept in a file in /dev/shm")
    parser.add_argument("--swarm", action="append", default=[], metavar="ARGUMENT", help="as --swarm=--membership=...")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    options = parser.parse_args(arguments)
    bills = []
    try:
        properties = {"group.consumer.session.timeout.ms": 1000 * BROKER_SESSION_S}
        with KafkaBroker(properties=properties) as broker:
            for delay in options.first_restart_delay or [5.0, 0.0]:
                plan = Plan(
                    first_restart_delay=delay, nodes=options.nodes, partitions=options.partitions, rate=options.rate,
                    protocol=options.protocol, extra=tuple(options.swarm), supervisor=options.kill_supervisor,
                )  # fmt: skip
                with tempfile.TemporaryDirectory(prefix="crash-") as folder:
                    run = Crash(plan, broker, Path(folder))
                    try:
                        bills.append(run.bill())
                    except RuntimeError as error:
                        print(f"The run could not be made: {error}", file=sys.stderr)
                        print((Path(folder) / "swarm.log").read_text()[-4000:], file=sys.stderr)
                        return 2
                sys.stdout.write(text(bills[-1]))
                sys.stdout.flush()
    except KafkaUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(bill) for bill in bills], indent=1) + os.linesep)
    return 1 if any(bill.problems() for bill in bills) else 0


if __name__ == "__main__":
    sys.exit(main())
