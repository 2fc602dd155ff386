"""Each of the five verdicts stops exactly the right node, in time, with the right code and reason, twice in a row.

One swarm of three nodes on a broker that keeps getting records; a node at a time is told to misbehave for real: its
handler hangs, deadlocks in C with the GIL held, eats memory; its polling thread hangs; its join state never settles.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from swarm_consumer.testing import EmbeddedBroker
from swarm_supervisor import ControlClient, ControlError

ROOT = Path(__file__).resolve().parent.parent.parent
NODES, PARTITIONS = 3, 6
TTL_S, INTERVAL_S, SILENCE_S = 3.0, 1.0, 5.0
SETTLED_S = 8.0  # the mock broker takes seconds for a rebalance that is well
# Two cores shared with a broker, a producer and whatever else runs on the machine.
LATE_S = 2.0


class Watched:
    """A swarm of tests/end_to_end/apps/liveness_swarm.py, its events and its ledger."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.log = folder / "log"
        with self.log.open("wb") as stream:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "tests.end_to_end.apps.liveness_swarm"],
                cwd=ROOT,
                env=os.environ | {"FOLDER": str(folder), "SETTINGS": json.dumps(settings)},
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        self.events: list[dict[str, Any]] = []
        self._control: ControlClient | None = None
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while self._control is None and self.popen.poll() is None:
            try:
                self._control = ControlClient(self.folder / "control", timeout_s=10)
            except ControlError:
                time.sleep(0.05)
        if self._control is not None:
            for event in self._control.subscribe():
                self.events.append(event)

    def lines(self, kind: str) -> list[list[str]]:
        try:
            text = (self.folder / "ledger").read_text()
        except OSError:
            return []
        return [words for line in text.splitlines() if (words := line.split(" "))[3] == kind]

    def handled(self, node: int, since: float = 0.0, pid: int | None = None) -> list[float]:
        """When a node handled batches."""
        return [
            float(words[0])
            for words in self.lines("handled")
            if int(words[1]) == node and float(words[0]) >= since and pid in (None, int(words[2]))
        ]

    def steady(self, nodes: int, seconds: float = 2.0) -> bool:
        """Whether every node has handled something in each half second of the last ones: no rebalance is under way."""
        now = time.monotonic()
        for node in range(nodes):
            moments = [now - seconds, *self.handled(node, now - seconds), now]
            if max(after - before for before, after in pairwise(moments)) > 0.5:
                return False
        return True

    def of(self, kind: str, since: float = 0.0) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event["event"] == kind and event["at"] >= since]

    def until(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert self.popen.poll() is None, f"the swarm ended ({self.popen.returncode}):\n{self.log.read_text()}"
            if time.monotonic() > deadline:
                pytest.fail(f"waited {seconds} s in vain for {what}:\n{self.log.read_text()[-6000:]}")
            time.sleep(0.02)
        return value

    def order(self, node: int, kind: str) -> float:
        """Have a node misbehave; when it began."""
        begun = len(self.lines("order"))
        temporary = self.folder / "order"
        temporary.write_text(kind)
        temporary.rename(self.folder / f"order-{node}")
        (line,) = self.until(lambda: self.lines("order")[begun:], 30, f"node {node} to obey")
        assert int(line[1]) == node
        return float(line[0])

    def get(self, path: str) -> tuple[int, str]:
        port = (self.folder / "port").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self, timeout_s: float = 60.0) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout_s)

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait(10)
        if self._control is not None:
            self._thread.join(10)
            self._control.close()


class Feed:
    """Puts a record into every partition of every topic, again and again."""

    def __init__(self, bootstrap: str, topics: list[str], pause_s: float = 0.05) -> None:
        self._producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})
        self._topics = topics
        self._pause_s = pause_s
        self.sent = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(self._pause_s):
            for topic in self._topics:
                for partition in range(PARTITIONS):
                    self._producer.produce(topic, b"record", partition=partition)
                    self.sent += 1
            self._producer.poll(0)

    def stop(self) -> None:
        self._end.set()
        self._thread.join()
        self._producer.flush(10)


def settings_for(broker: Any, topics: list[str], **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "topics": topics,
        "group": f"group-{uuid.uuid4().hex[:8]}",
        "kafka": broker.client_settings("classic") | {"statistics.interval.ms": 500, "auto.commit.interval.ms": 200},
        "liveness": {
            "polling_ttl": TTL_S,
            "consuming_ttl": TTL_S,
            "stability_ttl": SETTLED_S,
            "memory_limit": 150,
            "liveness_interval": INTERVAL_S,
        },
        "supervisor": {
            "nodes": NODES,
            "node_report_timeout": SILENCE_S,
            "liveness_interval": INTERVAL_S,
            "stack_dump_timeout": 1.0,
            "shutdown_timeout": 4.0,
            "node_restart_delay": 0.2,
            "max_restarts": 1000,
        },
    }
    for name, change in changes.items():
        settings[name] = settings[name] | change if isinstance(settings.get(name), dict) else change
    return settings


@pytest.fixture(scope="module")
def misbehaving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One swarm for all verdicts: they come one after the other, as in life."""
    with EmbeddedBroker() as broker:
        broker.create_topic("work", PARTITIONS)
        feed = Feed(broker.bootstrap, ["work"])
        swarm = Watched(tmp_path_factory.mktemp("swarm"), **settings_for(broker, ["work"]))
        try:
            swarm.until(lambda: all(swarm.handled(node) for node in range(NODES)), 60, "all nodes to work")
            yield swarm
            assert swarm.stop() == 0
        finally:
            swarm.end()
            feed.stop()


REASONS = {
    "consuming": r"consume of work/\d \(offsets \d+ to \d+\) has been running for [\d.]+ s \(consuming_ttl 3 s\)",
    "polling": r"subscription group '.*' has not been polled for [\d.]+ s \(polling_ttl 3 s\)",
    "stability": r"subscription group '.*' has been in join state wait-sync for [\d.]+ s \(stability_ttl 8 s\)",
    "memory": r"uss [\d.]+ MB is over memory_limit 150 MB in 3 samples in a row",
    "silence": r"no report for [\d.]+ s",
}
# (code, seconds until the report is due). Memory: three samples, one a second.
VERDICTS = {
    "consuming": (2, TTL_S),
    "polling": (1, TTL_S),
    "stability": (4, SETTLED_S),
    "memory": (3, TTL_S),
    "silence": (-1, SILENCE_S),
}


@pytest.mark.parametrize(("victim", "kind"), list(enumerate(VERDICTS)))
def test_a_verdict_stops_the_right_node_in_time_twice(misbehaving: Watched, victim: int, kind: str) -> None:
    swarm, victim = misbehaving, victim % NODES
    code, due_s = VERDICTS[kind]
    for _ in range(2):
        swarm.until(lambda: swarm.steady(NODES), 60, "a steady swarm")
        (pid,) = {node.pid for node in _status(swarm).nodes if node.id == victim}
        logged = len(swarm.log.read_text())
        begun = swarm.order(victim, kind)
        (stopping,) = swarm.until(
            lambda begun=begun: swarm.of("NodeStopping", begun), due_s + INTERVAL_S + 20, "a verdict"
        )
        stopped = stopping["at"]

        # The right node, with code and reason, in time.
        assert (stopping["node_id"], stopping["pid"], stopping["status"]) == (victim, pid, code)
        assert re.search(REASONS[kind], stopping["reason"]), stopping["reason"]
        # The last sign of life may be a beat, or a poll, before the order.
        assert due_s - INTERVAL_S - 0.5 <= stopped - begun <= due_s + INTERVAL_S + LATE_S

        # Nobody else was stopped, and everybody else kept consuming meanwhile.
        for other in {0, 1, 2} - {victim}:
            worked = [at for at in swarm.handled(other, begun) if at <= stopped]
            assert worked, f"node {other} did nothing while node {victim} misbehaved"
            moments = [begun, *worked, stopped]
            assert max(after - before for before, after in pairwise(moments)) < 2.0

        # It is replaced and works again; only it.
        swarm.until(
            lambda stopped=stopped: swarm.handled(victim, stopped) and swarm.of("NodeRunning", stopped),
            40,
            f"node {victim} to work again",
        )
        assert {event["node_id"] for event in swarm.of("NodeExited", begun)} == {victim}
        assert len(swarm.of("NodeStopping", begun)) == 1
        # What it hung in was told before it was stopped: by itself, or by its supervisor where it could not.
        if kind in ("consuming", "polling"):
            assert "in hang_in_handler" in swarm.log.read_text()[logged:]
        elif kind == "silence":
            (dump, *_) = [event for event in swarm.of("StacksDumped", begun) if event["node_id"] == victim]
            assert "in hang_holding_the_gil" in dump["text"]
            assert dump["at"] <= swarm.of("NodeExited", begun)[0]["at"]


def test_metrics_and_probes_tell_what_has_happened(misbehaving: Watched) -> None:
    """After the verdicts above, in the same swarm: counted by reason, and ready again."""
    code, _ = misbehaving.get("/livez")
    assert code == 200
    misbehaving.until(lambda: misbehaving.get("/readyz")[0] == 200, 30, "readiness")
    _, text = misbehaving.get("/metrics")
    for kind in VERDICTS:
        total = sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("swarm_node_stops_total{") and f'reason="{kind}"' in line.replace("silent", "silence")
        )
        assert total == 2, f"{kind}: {total}"
    assert "swarm_partition_lag_messages{" in text


def _status(swarm: Watched) -> Any:
    with ControlClient(swarm.folder / "control", timeout_s=10) as client:
        return client.status()
