"""Swarms of one application in one group, records at a steady rate, and what a crash costs.

A silence is the longest time between two records of a partition. A rebalance is what an assignment, a revocation or a
loss shows of it in a process that did not die.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Consumer, TopicPartition

from benchmarks.chaos import processes
from benchmarks.chaos.keeper import ROOT
from benchmarks.chaos.ledger import Bound, Ledger
from benchmarks.chaos.producer import SteadyProducer
from benchmarks.chaos.records import Entry, Handled, MemberSeen, decode, parse
from swarm_consumer.testing import KafkaBroker
from swarm_supervisor import ControlClient, ControlError, NodeSnapshot

KEYS_PER_PARTITION = 4
PATIENCE_S = 120.0
"""Longer than two sessions of 45 s."""


class Lab:
    """A topic with a producer, a log of what is handled, and the swarms that handle it. Use it as a context manager."""

    def __init__(
        self, broker: KafkaBroker, folder: Path, *, partitions: int = 6, rate: float = 600.0, protocol: str = "classic"
    ) -> None:
        self.broker, self.folder, self.partitions, self.protocol = broker, folder, partitions, protocol
        self.name = f"crash-{uuid.uuid4().hex[:8]}"
        self.log = folder / f"{self.name}.log"
        self.log.touch()
        self.entries: list[Entry] = []
        self.swarms: list[Swarm] = []
        self.outsiders: list[Outsider] = []
        self._stream = self.log.open()
        self._rest = ""
        keys = KEYS_PER_PARTITION * partitions
        ledger = Ledger(Bound(60.0, 500))
        self.producer = SteadyProducer(broker.bootstrap, self.name, partitions, keys, rate, ledger, threading.Lock())

    def __enter__(self) -> Self:
        self.broker.create_topic(self.name, self.partitions)
        self.producer.start()
        return self

    def __exit__(self, *_: object) -> None:
        for swarm in self.swarms:
            swarm.end()
        for outsider in self.outsiders:
            outsider.close()
        self.producer.finish(0.0)
        self._stream.close()

    def swarm(self, *options: str, nodes: int = 3) -> "Swarm":
        """Start one more swarm."""
        self.swarms.append(Swarm(self, nodes, options))
        return self.swarms[-1]

    def outsider(self) -> "Outsider":
        """Let a member join that is no node: dynamic, and in this process."""
        self.outsiders.append(Outsider(self))
        return self.outsiders[-1]

    # -- what is read ----------------------------------------------------------------------------------------------

    def read(self) -> list[Entry]:
        """Everything in the log, in order."""
        *lines, self._rest = (self._rest + self._stream.read()).split("\n")
        self.entries += map(parse, lines)
        return self.entries

    def owners(self) -> dict[int, int]:
        """The process of each partition: the one that handled its last record."""
        found: dict[int, int] = {}
        for entry in reversed(self.read()):
            if isinstance(entry, Handled):
                found.setdefault(entry.partition, entry.pid)
                if len(found) == self.partitions:
                    break
        return found

    def shared_by(self, pids: Collection[int]) -> bool:
        """Whether each of these processes handles something, and no other one does."""
        owners = self.owners()
        return len(owners) == self.partitions and set(owners.values()) == set(pids)

    def silences(self, since: float, until: float | None = None) -> dict[int, float]:
        """The longest silence of each partition after a moment, in seconds."""
        until = time.monotonic() if until is None else until
        last = dict.fromkeys(range(self.partitions), since)
        longest = dict.fromkeys(range(self.partitions), 0.0)
        for entry in self.read():
            if isinstance(entry, Handled) and since <= entry.at <= until:
                longest[entry.partition] = max(longest[entry.partition], entry.at - last[entry.partition])
                last[entry.partition] = entry.at
        return {number: max(length, until - last[number]) for number, length in longest.items()}

    def rebalances(self, since: float, pids: Collection[int]) -> list[MemberSeen]:
        """What these processes noticed of rebalances after a moment."""
        return [
            entry
            for entry in self.read()
            if isinstance(entry, MemberSeen) and entry.at >= since and entry.pid in pids and not entry.what.isdigit()
        ]

    def repeats(self) -> int:
        """How many records were handled again so far."""
        handled = [(entry.partition, entry.offset) for entry in self.read() if isinstance(entry, Handled)]
        return len(handled) - len(set(handled))

    def missing(self) -> int:
        """How many records below the last one handled of a partition were not handled: lost, or yet to come."""
        seen: dict[int, set[int]] = {}
        for entry in self.read():
            if isinstance(entry, Handled):
                seen.setdefault(entry.partition, set()).add(entry.offset)
        return sum(max(offsets) + 1 - len(offsets) for offsets in seen.values())

    def settled(self, pids: Callable[[], Collection[int]], calm_s: float = 1.5) -> float:
        """Wait until these processes share the partitions and none has noticed a rebalance lately; the time then."""

        def calm() -> bool:
            now = pids()
            return bool(now) and self.shared_by(now) and not self.rebalances(time.monotonic() - calm_s, now)

        expect(calm, PATIENCE_S, "a settled group", self.swarms)
        return time.monotonic()


class Swarm:
    """One supervisor and its nodes."""

    def __init__(self, lab: Lab, nodes: int, options: Iterable[str]) -> None:
        self.lab, self.wanted = lab, nodes
        self.control = lab.folder / f"{uuid.uuid4().hex[:8]}.sock"
        self.log = self.control.with_suffix(".log")
        self.orders = lab.folder / f"orders-{self.control.stem}"
        self.orders.mkdir()
        command = [
            sys.executable, "-m", "swarm_cli", "swarm", "benchmarks.chaos.membership_app:app", "--nodes", str(nodes),
            "--bootstrap-servers", lab.broker.bootstrap, "--kafka", f"group.protocol={lab.protocol}",
            "--kafka", "fetch.wait.max.ms=50", "--control", str(self.control), *options,
        ]  # fmt: skip
        environment = os.environ | {
            "CHAOS_LOG": str(lab.log), "CHAOS_ORDERS": str(self.orders), "CHAOS_TOPIC": lab.name,
            "CHAOS_GROUP": lab.name, "CHAOS_CLIENT": lab.name,
            "PYTHONPYCACHEPREFIX": str(lab.folder / "bytecode"),
        }  # fmt: skip
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled: that is no part of a start
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def nodes(self) -> Mapping[int, NodeSnapshot]:
        """The nodes that run now, by number."""
        with contextlib.suppress(ControlError), ControlClient(self.control, timeout_s=2.0) as client:
            return {node.id: node for node in client.status().nodes if node.state == "running" and node.pid}
        return {}

    def pids(self) -> dict[int, int]:
        """The processes of its nodes; none before all of them run."""
        found = {number: node.pid for number, node in self.nodes().items() if node.pid}
        return found if len(found) == self.wanted else {}

    def settled(self, calm_s: float = 1.5) -> dict[int, int]:
        """Wait until all of its nodes run, and share the partitions in peace. Their processes."""
        found: dict[int, int] = {}

        def look() -> Collection[int]:
            found.clear()
            found.update(self.pids())
            return found.values()

        self.lab.settled(look, calm_s)
        return found

    def pid(self, node: int) -> int:
        """The process of a node that runs."""
        expect(lambda: node in self.nodes(), PATIENCE_S, f"node {node}", [self])
        return self.nodes()[node].pid or 0

    def kill(self, node: int) -> tuple[int, float]:
        """Kill a node; its pid, and the time after its end."""
        return self.signal(node, signal.SIGKILL)

    def signal(self, node: int, number: signal.Signals) -> tuple[int, float]:
        """Send a node a signal that ends it; its pid, and the time after its end."""
        pid = self.pid(node)
        began = time.monotonic()
        os.kill(pid, number)
        self._await_end(pid)
        return pid, began

    def order(self, node: int, what: str) -> tuple[int, float]:
        """Let a node's handler misbehave, as in `benchmarks.chaos.app`; its pid, and the time after its end."""
        pid = self.pid(node)
        began = time.monotonic()
        draft = self.orders / "draft"
        draft.write_text(what)
        draft.rename(self.orders / str(node))
        self._await_end(pid)
        return pid, began

    def _await_end(self, pid: int) -> None:
        """Wait for the end of a node, until its supervisor has seen it too: it would else count as running."""

        def seen() -> bool:
            return processes.gone(pid) and pid not in {node.pid for node in self.nodes().values()}

        expect(seen, PATIENCE_S, f"the end of process {pid}", [self])

    def scale(self, nodes: int) -> None:
        """Change the number of nodes."""
        with ControlClient(self.control, timeout_s=5.0) as client:
            client.scale(nodes)
        self.wanted = nodes

    def terminate(self) -> int:
        """End it in order; its exit code."""
        self.popen.terminate()
        return self.popen.wait(PATIENCE_S)

    def die(self) -> None:
        """Kill the supervisor, whose nodes die with it."""
        self.popen.kill()
        self.popen.wait(10)

    def output(self) -> str:
        """What it logged."""
        return self.log.read_text(errors="replace")

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(20)
        if self.popen.poll() is None:
            self.die()


class Outsider:
    """A member of the group that is no node. It writes down what it reads, and what it notices."""

    def __init__(self, lab: Lab) -> None:
        self.partitions: set[int] = set()
        self.rebalances = 0
        """How often partitions came or went."""
        self._lab = lab
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outsider", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        settings: dict[str, Any] = {
            "bootstrap.servers": self._lab.broker.bootstrap, "group.id": self._lab.name, "fetch.wait.max.ms": 50,
            "group.protocol": self._lab.protocol, "auto.commit.interval.ms": 200, "log_level": 0,
            "auto.offset.reset": "earliest",
        }  # fmt: skip
        if self._lab.protocol == "classic":
            settings |= {"partition.assignment.strategy": "cooperative-sticky", "heartbeat.interval.ms": 1000}
        consumer = Consumer(settings)

        def assigned(_: Consumer, partitions: list[TopicPartition]) -> None:
            self.partitions |= {one.partition for one in partitions}
            self.rebalances += 1

        def taken(_: Consumer, partitions: list[TopicPartition]) -> None:
            self.partitions -= {one.partition for one in partitions}
            self.rebalances += 1

        consumer.subscribe([self._lab.name], on_assign=assigned, on_revoke=taken, on_lost=taken)
        with self._lab.log.open("ab", buffering=0) as log:
            while not self._end.is_set():
                message = consumer.poll(0.05)
                if message is None or message.error() is not None:
                    continue
                place = (message.partition() or 0, message.offset() or 0)
                handled = Handled(time.monotonic(), os.getpid(), *place, decode(message.value() or b""))
                log.write(handled.line().encode())
        consumer.close()

    def close(self) -> None:
        """Leave the group."""
        self._end.set()
        self._thread.join(30)


def expect(condition: Callable[[], object], timeout_s: float, what: str, swarms: Iterable[Swarm] = ()) -> None:
    """Wait for a condition; RuntimeError with the end of the logs if it does not come true."""
    if not processes.wait_until(condition, timeout_s, 0.02):
        logs = "\n".join(swarm.output()[-4000:] for swarm in swarms)
        raise RuntimeError(f"waited {timeout_s:g} s in vain for {what}\n{logs}")


def longest(silences: Mapping[int, float], partitions: Iterable[int] | None = None) -> float:
    """The longest of the silences, or of those of some partitions."""
    return max(_picked(silences, partitions), default=0.0)


def _picked(silences: Mapping[int, float], partitions: Iterable[int] | None) -> Iterator[float]:
    yield from silences.values() if partitions is None else (silences[number] for number in partitions)
