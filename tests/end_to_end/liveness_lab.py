"""A swarm that misbehaves when told to, seen from outside: events, ledger, probes. For the test_liveness_*.py files."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from swarm_supervisor import ControlClient, ControlError

ROOT = Path(__file__).resolve().parent.parent.parent
NODES, PARTITIONS = 3, 6
TTL_S, INTERVAL_S, SILENCE_S = 3.0, 1.0, 5.0
SETTLED_S = 8.0  # the mock broker takes seconds for a rebalance that is well


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

    def status(self) -> Any:
        with ControlClient(self.folder / "control", timeout_s=10) as client:
            return client.status()

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
        self._producer: Any = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})
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
        if self._producer is not None:
            self._producer.flush(10)
            self._producer = None  # a client without a broker would complain to the end of the tests


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
