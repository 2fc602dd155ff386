"""Static members on real Kafka: 50 kills with restart in time, and not one rebalance; beside it without static ids.

Nodes are killed one after the other, each restarted at once (restart delay 0), while records come in. Counted are the
generations of the broker's own record of the group, those that librdkafka's members name, and what the nodes that were
not killed saw of rebalances; and how long the partitions of the killed node were silent. The control run does the same
without static ids: there the same probes must count. Needs Java and Maven. Exit code 0: all of it held.
"""

import argparse
import json
import signal
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.chaos import processes
from benchmarks.chaos.generations import BrokerGenerations
from benchmarks.chaos.keeper import Keeper
from benchmarks.chaos.ledger import Bound, Ledger
from benchmarks.chaos.processes import wait_until
from benchmarks.chaos.producer import SteadyProducer
from benchmarks.chaos.records import BatchBegun, Entry, Handled, MemberSeen, parse
from swarm_consumer.testing import KafkaBroker, KafkaUnavailable
from swarm_pidfd import Pidfd

SESSION_S = 15.0
CONTROL_SESSION_S = 6.0
"""Without static ids the partitions of a killed node wait for the end of its session: no need to wait for long."""
RESTART_DELAY_S = 0.0
SILENCE_S = RESTART_DELAY_S + 1.5
KEYS_PER_PARTITION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run."""

    static: bool
    kills: int
    nodes: int = 3
    partitions: int = 6
    rate: float = 400.0

    @property
    def session_s(self) -> float:
        """session.timeout.ms, in seconds."""
        return SESSION_S if self.static else CONTROL_SESSION_S


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: who, when, and how long each of its partitions was silent then, in seconds."""

    node: int
    pid: int
    at: float
    silences: dict[int, float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run came to."""

    static: bool
    kills: list[Kill]
    broker_generations: list[int]
    """Each generation in the broker's record of the group, from the first kill on, the one before it first."""
    member_generations: list[int]
    """Each generation that a member named, likewise."""
    events_at_others: int
    """Assignments, revocations and losses at nodes other than the one killed."""
    produced: int
    handled: int
    lost: int
    out_of_bounds: int

    @property
    def silences(self) -> list[float]:
        """Every silence of a partition of a killed node, in seconds."""
        return sorted(length for kill in self.kills for length in kill.silences.values())


def changes(numbers: Iterable[int]) -> int:
    """Return how often a number is not the one before it."""
    return sum(1 for before, after in pairwise(numbers) if before != after)


class Membership:
    """One run; `carry_out` does it."""

    def __init__(self, plan: Plan, broker: KafkaBroker, folder: Path) -> None:
        self.plan, self.broker, self.folder = plan, broker, folder
        self.name = f"membership-{uuid.uuid4().hex[:8]}"
        self.log = folder / f"{self.name}.log"
        self.log.touch()
        self.entries: list[Entry] = []
        self._stream = self.log.open()
        self._rest = ""

    def carry_out(self) -> Outcome:
        """Do it, from the topic to the last process that has gone."""
        plan = self.plan
        self.broker.create_topic(self.name, plan.partitions)
        ledger, lock = Ledger(Bound(plan.session_s + 3.0, 500)), threading.Lock()
        keys = KEYS_PER_PARTITION * plan.partitions
        producer = SteadyProducer(self.broker.bootstrap, self.name, plan.partitions, keys, plan.rate, ledger, lock)
        keeper = self._keeper()
        generations = BrokerGenerations(self.broker.bootstrap, self.name)
        try:
            keeper.start()
            self._expect(lambda: len(keeper.running()) == plan.nodes, 60.0, "all nodes")
            producer.start()
            self._expect(self._every_node_at_work, 60.0, "records handled by every node")
            generations.start()
            self._expect(lambda: generations.seen, 30.0, "the group in __consumer_offsets")
            began = time.monotonic()
            kills = [self._kill(keeper, number % plan.nodes) for number in range(plan.kills)]
            ended = time.monotonic()
            producer.finish(30.0)
            self._expect(lambda: self._handled() >= sum(producer.ends), 60.0, "the last record")
            time.sleep(0.5)  # the probe reads what the broker wrote last
        finally:
            if generations.started:
                generations.stop()
            producer.finish(0.0)
            keeper.stop(30.0)
        self._read()
        self._stream.close()
        for entry in self.entries:
            match entry:
                case BatchBegun():
                    ledger.batch(entry)
                case Handled():
                    ledger.handled(entry)
        account = ledger.account()
        return Outcome(
            plan.static, kills,
            _from(began, generations.seen),
            _from(began, [(one.at, int(one.what)) for one in self._members(ended) if one.what.isdigit()]),
            self._events_at_others(kills, began, ended),
            account.produced, account.handled, len(account.lost), len(account.out_of_bounds),
        )  # fmt: skip

    def _keeper(self) -> Keeper:
        plan = self.plan
        kafka = {
            **self.broker.client_settings("classic"),
            "session.timeout.ms": int(1000 * plan.session_s),
            "heartbeat.interval.ms": 300,
            "auto.commit.interval.ms": 500,
            "debug": "cgrp",
        }
        arguments = [
            "swarm", "benchmarks.chaos.membership_app:app", "--nodes", str(plan.nodes),
            "--bootstrap-servers", str(kafka.pop("bootstrap.servers")),
            "--node-restart-delay", str(RESTART_DELAY_S),
            *(part for name, value in kafka.items() for part in ("--kafka", f"{name}={value}")),
        ]  # fmt: skip
        # Without progress memory no successor knows the dead member, so that it is not removed from the group.
        control = ["--membership", "dynamic", "--progress-memory", "off"]
        arguments += ["--group-instance-id", "static"] if plan.static else control
        environment = {
            "CHAOS_LOG": str(self.log), "CHAOS_ORDERS": str(self.folder),
            "CHAOS_TOPIC": self.name, "CHAOS_GROUP": self.name,
            "SWARM_RESTART_DELAY_MAX": str(RESTART_DELAY_S), "SWARM_MAX_RESTARTS": "10000",
        }  # fmt: skip
        return Keeper(arguments, environment, self.folder, self.folder / "control.sock")

    # -- what happens ----------------------------------------------------------------------------------------------

    def _kill(self, keeper: Keeper, node_id: int) -> Kill:
        """Kill a node that works, and wait until each of its partitions is at work again."""
        found = [node for node in keeper.running() if node.id == node_id and node.pid]
        assert found, f"node {node_id} does not run"
        pid = found[0].pid
        assert pid is not None
        self._expect(lambda: pid in self._owners().values(), 60.0, f"records handled by node {node_id}")
        with Pidfd(pid) as process:
            process.signal(signal.SIGKILL)
            process.wait(10)
        at = time.monotonic()
        self._expect(lambda: processes.gone(pid), 10.0, f"the end of pid {pid}")
        self._read()
        before = self._last_of(pid)
        after: dict[int, float] = {}

        def at_work_again() -> bool:
            self._read()
            for entry in reversed(self.entries):
                if entry.at < at:
                    break
                if isinstance(entry, Handled) and entry.partition in before and entry.pid != pid:
                    after[entry.partition] = entry.at
            return after.keys() == before.keys()

        self._expect(at_work_again, self.plan.session_s + 30.0, f"the partitions of node {node_id}: {sorted(before)}")
        self._expect(lambda: len(keeper.running()) == self.plan.nodes, 30.0, "all nodes")
        self._expect(self._every_node_at_work, self.plan.session_s + 30.0, "records handled by every node")
        return Kill(node_id, pid, at, {one: after[one] - before[one] for one in before})

    def _every_node_at_work(self) -> bool:
        """Whether the partitions were handled lately by as many processes as there are nodes."""
        return len(set(self._owners().values())) == self.plan.nodes

    def _owners(self) -> dict[int, int]:
        """The process of each partition: the one that handled its last record."""
        self._read()
        owners: dict[int, int] = {}
        for entry in reversed(self.entries):
            if isinstance(entry, Handled):
                owners.setdefault(entry.partition, entry.pid)
                if len(owners) == self.plan.partitions:
                    break
        return owners

    def _last_of(self, pid: int) -> dict[int, float]:
        """When each partition of a process had its last record: those whose owner it was at the end."""
        owned = [partition for partition, owner in self._owners().items() if owner == pid]
        last: dict[int, float] = {}
        for entry in reversed(self.entries):
            if isinstance(entry, Handled) and entry.partition in owned:
                last.setdefault(entry.partition, entry.at)
                if len(last) == len(owned):
                    break
        return last

    # -- what is read ----------------------------------------------------------------------------------------------

    def _read(self) -> None:
        *lines, self._rest = (self._rest + self._stream.read()).split("\n")
        self.entries += map(parse, lines)

    def _handled(self) -> int:
        self._read()
        return len({(entry.partition, entry.offset) for entry in self.entries if isinstance(entry, Handled)})

    def _members(self, until: float) -> list[MemberSeen]:
        return [entry for entry in self.entries if isinstance(entry, MemberSeen) and entry.at <= until]

    def _events_at_others(self, kills: list[Kill], began: float, ended: float) -> int:
        """Rebalances that reached members other than the killed node's next life."""
        count = 0
        for one in self._members(ended):
            if one.what.isdigit() or one.at < began:
                continue
            current = [kill for kill in kills if kill.at <= one.at]
            own = current and current[-1].node == one.node and one.what == "assigned"
            count += not own
        return count

    def _expect(self, condition: object, timeout_s: float, what: str) -> None:
        assert callable(condition)
        if not wait_until(condition, timeout_s, 0.02):
            raise RuntimeError(f"waited {timeout_s:g} s in vain for {what}")


def _from(began: float, seen: list[tuple[float, int]]) -> list[int]:
    """The numbers seen from a moment on, the last one before it first."""
    before = [number for at, number in seen if at < began]
    return before[-1:] + [number for at, number in seen if at >= began]


def problems(static: Outcome, control: Outcome) -> list[str]:
    """What did not hold."""
    found = []
    for what, counted in probes(static).items():
        if counted:
            found.append(f"static members: {what}: {counted}, and should be 0")
    for what, counted in probes(control).items():
        if not counted:
            found.append(f"control: {what}: 0: the probe does not see rebalances")
    if static.silences[-1] > SILENCE_S:
        found.append(f"a partition was silent for {static.silences[-1]:.2f} s, the bound is {SILENCE_S:g} s")
    for outcome in (static, control):
        if outcome.lost or outcome.handled < outcome.produced:
            found.append(f"{outcome.lost} records were lost")
    return found


def probes(outcome: Outcome) -> dict[str, int]:
    """What each probe counted."""
    return {
        "changes of the broker's generation": changes(outcome.broker_generations),
        "changes of a member's generation": changes(outcome.member_generations),
        "rebalance events at nodes that were not killed": outcome.events_at_others,
    }


def text(static: Outcome, control: Outcome) -> str:
    """Return the page."""
    lines = [f"{'':<48}{'static ids':>12}{'without':>12}"]
    rows: list[tuple[str, list[str]]] = [
        ("kills", [str(len(outcome.kills)) for outcome in (static, control)]),
        ("session.timeout.ms", [f"{1000 * session:.0f}" for session in (SESSION_S, CONTROL_SESSION_S)]),
        *(
            (what, [str(probes(outcome)[what]) for outcome in (static, control)])
            for what in probes(static)
        ),
        ("silence of a killed node's partition, median, s", [
            f"{statistics.median(outcome.silences):.2f}" for outcome in (static, control)
        ]),
        ("  95 of 100 within, s", [
            f"{outcome.silences[int(0.95 * (len(outcome.silences) - 1))]:.2f}" for outcome in (static, control)
        ]),
        ("  longest, s", [f"{outcome.silences[-1]:.2f}" for outcome in (static, control)]),
        ("records produced", [f"{outcome.produced:,}" for outcome in (static, control)]),
        ("records lost", [str(outcome.lost) for outcome in (static, control)]),
    ]  # fmt: skip
    lines += [f"{title:<48}{values[0]:>12}{values[1]:>12}" for title, values in rows]
    found = problems(static, control)
    lines += ["", *(f"FAILED: {problem}" for problem in found)] if found else ["", "PASSED"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run both, print the page, write it as JSON too."""
    parser = argparse.ArgumentParser(
        prog="hatch run bench static_membership", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--control-kills", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="static-") as folder, KafkaBroker() as broker:
            static = Membership(Plan(static=True, kills=options.kills), broker, Path(folder)).carry_out()
            control = Membership(Plan(static=False, kills=options.control_kills), broker, Path(folder)).carry_out()
    except KafkaUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    print(text(static, control))
    if options.json is not None:
        options.json.write_text(json.dumps({"static": asdict(static), "control": asdict(control)}, indent=1) + "\n")
    return 1 if problems(static, control) else 0


if __name__ == "__main__":
    sys.exit(main())
