"""The demo from end to end: broker, input, swarm, a kill, the comparison, the verdict.

The driver is an ordinary process with Kafka clients of its own, so it is not the supervisor: it starts `swarm-cli
swarm` as any user would and observes it through the control socket and the output topic.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from swarm_cli._flights import delays, produce, single_process
from swarm_cli._flights.records import decode_enriched
from swarm_cli._flights.source import FLIGHTS
from swarm_cli.demonstration.output import OutputReader
from swarm_cli.demonstration.pace import Pace
from swarm_cli.demonstration.processes import Processes, Swarm
from swarm_cli.demonstration.report import MemoryComparison, Report, show
from swarm_cli.demonstration.tally import Tally
from swarm_cli.errors import CommandError
from swarm_cli.exit_codes import ExitCode
from swarm_cli.views.demo import DemoView, view_for
from swarm_consumer.testing import EmbeddedBroker
from swarm_liveness import ProcessMemory
from swarm_pidfd import Pidfd
from swarm_supervisor import NodeSnapshot, Snapshot

APP = "swarm_cli._flights.app:app"
PARTITIONS = 8
TOPIC, OUTPUT = "flights", "flights-enriched"
OUTPUT_OF_SEPARATE, OUTPUT_OF_ONE = "flights-enriched-by-separate-processes", "flights-enriched-by-one-process"
STATUS_INTERVAL_S = 0.2
RESTART_DELAY_S = 1.0
"""Shorter than the default (5 s), so that the viewer sees the node return."""
DEADLINE_S = 120.0


class Demonstration:
    """One run of the demo. `run()` returns the exit code; Ctrl-C ends everything it started."""

    def __init__(self, nodes: int, console: Console) -> None:
        self.nodes = nodes
        self.console = console
        self.view: DemoView = view_for(console)
        self._status: Snapshot | None = None
        self._status_at = 0.0

    def run(self) -> ExitCode:
        """The whole demo."""
        folder = Path(tempfile.mkdtemp(prefix="swarm-demo-"))
        try:
            topics = dict.fromkeys((TOPIC, OUTPUT, OUTPUT_OF_SEPARATE, OUTPUT_OF_ONE), PARTITIONS)
            self.view.stage("Starting the embedded broker")
            with EmbeddedBroker(topics=topics) as broker:
                report = self._report(broker, folder)
        finally:
            self.view.close()
            shutil.rmtree(folder, ignore_errors=True)
        show(report, self.console)
        return ExitCode.CLEAN if report.passed else ExitCode.ERROR

    def _report(self, broker: EmbeddedBroker, folder: Path) -> Report:
        self.view.stage(f"Producing {FLIGHTS:,} flights to {PARTITIONS} partitions")
        produced = produce.produce(
            broker.bootstrap,
            topic=TOPIC,
            partitions=PARTITIONS,
            on_progress=lambda done, total: self.view.progress(done, total, (), {}),
        ).records
        self.view.event(f"{produced:,} records produced and acknowledged")

        tally = Tally(produced)
        settings = broker.client_settings()
        with (
            Swarm(self._swarm_arguments(broker), folder, self._environment(OUTPUT, "delays")) as swarm,
            OutputReader(settings, OUTPUT, PARTITIONS) as reader,
        ):
            started = time.monotonic()
            self.view.stage(f"A swarm of {self.nodes} nodes consumes")
            pace = Pace()
            victim = self._consume(swarm, reader, tally, pace)
            consuming_s = time.monotonic() - started
            node = self._await_replacement(swarm, reader, tally, victim)
            restarts = [f"node {each.id}: {each.last_exit}" for each in self._nodes() if each.restarts]
            swarm_mb = self._pss([*swarm.pids(), *(each.pid for each in self._nodes() if each.pid)])
            codes = swarm.stop()
        if codes != [0]:
            raise CommandError(f"the swarm did not stop cleanly ({codes}):\n{swarm.tail()}")

        _, pace_of_one = self._without_swarm(1, OUTPUT_OF_ONE, broker, folder, settings)
        separate_mb, pace_of_separate = self._without_swarm(self.nodes, OUTPUT_OF_SEPARATE, broker, folder, settings)
        self.view.stage("Processing the same file in one process, to compare record by record")
        expected = {
            key.encode(): value
            for key, value in single_process.single_pass(
                on_progress=lambda done: self.view.progress(done, FLIGHTS, (), {})
            ).items()
        }
        return Report(
            records_in=produced,
            records_out=tally.distinct,
            lost=tally.lost(expected),
            wrong=tally.wrong(expected),
            duplicated=tally.duplicated,
            by_node=tally.by_node,
            killed=f"node {victim.id} (pid {victim.pid})",
            replaced=node.generation > victim.generation,
            restarts=restarts,
            consuming_s=consuming_s,
            paces={
                "one process": pace_of_one,
                f"{self.nodes} separate processes": pace_of_separate,
                f"swarm of {self.nodes} nodes, until the kill": pace,
            },
            memory=MemoryComparison(swarm_mb=swarm_mb, separate_mb=separate_mb, processes=self.nodes),
            delays=_delay_rows(tally),
        )

    def _swarm_arguments(self, broker: EmbeddedBroker) -> list[str]:
        return [
            APP,
            *("--nodes", str(self.nodes)),
            # With notes the successor of the killed node loads kafka-python if the extra evict is there, to remove its
            # member. That is of no use here, because kafka-python cannot read the embedded broker's answers, and its
            # 10 MB would be measured as if the swarm needed them.
            *("--progress-memory", "off"),
            *("--node-restart-delay", str(RESTART_DELAY_S)),
            # If the demo is killed, its broker is gone too, and a drain could never end.
            *("--drain-timeout", "5", "--shutdown-timeout", "10"),
            *self._kafka_arguments(broker),
        ]

    def _kafka_arguments(self, broker: EmbeddedBroker) -> list[str]:
        arguments = ["--bootstrap-servers", broker.bootstrap]
        for key, value in broker.client_settings().items():
            if key != "bootstrap.servers":
                arguments += ["--kafka", f"{key}={value}"]
        return arguments

    def _environment(self, output: str, group: str) -> dict[str, str]:
        return {"FLIGHTS_OUTPUT_TOPIC": output, "FLIGHTS_GROUP": group}

    def _consume(self, swarm: Swarm, reader: OutputReader, tally: Tally, pace: Pace) -> NodeSnapshot:
        """Read the output until it is complete, and kill one node half-way. Returns the killed node's last snapshot."""
        deadline = time.monotonic() + DEADLINE_S
        victim: NodeSnapshot | None = None
        while tally.distinct < tally.total:
            reader.read_into(tally, 0.05)
            self._refresh(swarm, tally)
            if victim is None:
                pace.note(tally.distinct, time.monotonic())
            if victim is None and tally.distinct >= tally.total // 2:
                victim = self._kill_one(swarm, tally)
            if time.monotonic() > deadline:
                counted = f"{tally.distinct:,} of {tally.total:,} records"
                raise CommandError(f"only {counted} came out in {DEADLINE_S:.0f} s:\n{swarm.tail()}")
        if victim is None:
            raise CommandError(f"every record came out before a node could be killed:\n{swarm.tail()}")
        return victim

    def _kill_one(self, swarm: Swarm, tally: Tally) -> NodeSnapshot | None:
        self._refresh(swarm, tally, now=True)
        running = [node for node in self._nodes() if node.state == "running" and node.pid]
        if not running:
            return None
        victim = running[-1]
        with Pidfd(victim.pid or 0) as process:
            process.signal(signal.SIGKILL)
        self.view.event(f"SIGKILL to node {victim.id} (pid {victim.pid}), {tally.distinct:,} records out")
        return victim

    def _nodes(self) -> Sequence[NodeSnapshot]:
        return () if self._status is None else self._status.nodes

    def _await_replacement(
        self, swarm: Swarm, reader: OutputReader, tally: Tally, victim: NodeSnapshot
    ) -> NodeSnapshot:
        """Wait until the killed node is running again. Returns its entry in the snapshot."""
        self.view.stage(f"Waiting for node {victim.id} to be back")
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            reader.read_into(tally, 0.05)  # records handled again show up here
            self._refresh(swarm, tally)
            for node in self._nodes():
                replaced = node.id == victim.id and node.generation > victim.generation
                if replaced and node.state == "running":
                    self.view.event(f"node {node.id} is back as pid {node.pid}")
                    reader.read_into(tally, 0.5)
                    return node
        raise CommandError(f"node {victim.id} was not replaced in {DEADLINE_S:.0f} s:\n{swarm.tail()}")

    def _without_swarm(
        self, count: int, output: str, broker: EmbeddedBroker, folder: Path, settings: Mapping[str, str | int]
    ) -> tuple[float, Pace]:
        """PSS in MB of `count` separate processes after the same work on the same records, and their pace."""
        who = "Running one process with" if count == 1 else f"{count} separate processes with"
        self.view.stage(f"{who} the same work, to compare")
        pace = Pace()
        command = ["server", APP, *self._kafka_arguments(broker)]
        environment = self._environment(output, f"delays-of-{count}")
        tally = Tally(FLIGHTS)
        deadline = time.monotonic() + DEADLINE_S
        with (
            Processes([command] * count, folder / f"separate-{count}.log", environment) as processes,
            OutputReader(settings, output, PARTITIONS) as reader,
        ):
            while tally.distinct < tally.total:
                processes.check()
                reader.read_into(tally, 0.05)
                pace.note(tally.distinct, time.monotonic())
                self.view.progress(tally.distinct, tally.total, (), {})
                if time.monotonic() > deadline:
                    raise CommandError(f"the separate processes did not finish:\n{processes.tail()}")
            return self._pss(processes.pids()), pace

    def _refresh(self, swarm: Swarm, tally: Tally, now: bool = False) -> None:
        moment = time.monotonic()
        if now or moment - self._status_at >= STATUS_INTERVAL_S:
            self._status_at = moment
            self._status = swarm.status() or self._status
        self.view.progress(tally.distinct, tally.total, self._nodes(), tally.by_node)

    @staticmethod
    def _pss(pids: Sequence[int]) -> float:
        total = 0.0
        for pid in pids:
            with ProcessMemory(pid) as memory:
                total += memory.exact().pss_mb or 0.0
        return total


def _delay_rows(tally: Tally) -> list[tuple[str, ...]]:
    flights = [decode_enriched(value) for value in tally.values.values()]
    names = {flight.carrier: flight.carrier_name or flight.carrier for flight in flights}
    rows: list[tuple[str, ...]] = []
    for carrier, group in delays.by_carrier(flights).items():
        spread = group.arrival
        numbers = (
            (f"{spread.mean_min:.1f}", f"{spread.median_min:.0f}", f"{spread.p90_min:.0f}") if spread else ("-",) * 3
        )
        rows.append((names[carrier], f"{group.flights:,}", f"{group.cancelled:,}", f"{group.late:,}", *numbers))
    return rows


def cores() -> int:
    """The number of nodes: one per core that this process may use, at least 2."""
    return max(2, len(os.sched_getaffinity(0)))
