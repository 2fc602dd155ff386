"""A whole swarm in processes of its own, and brokers of both kinds to run it on."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from swarm_consumer.testing import Record, produce
from swarm_supervisor import ControlClient, ControlError, NodeSnapshot, Snapshot

ROOT = Path(__file__).resolve().parent.parent.parent


class Broker(Protocol):
    """What these tests need of a broker of either kind."""

    @property
    def bootstrap(self) -> str: ...

    def client_settings(self, group_protocol: Any = "consumer") -> dict[str, str | int]: ...


def wait_until(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """The first true value of `condition`, asked again and again; AssertionError naming `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    pause = 0.005
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
        time.sleep(pause)  # between two looks at another process; the deadline decides
        pause = min(0.1, pause * 1.5)
    return value


def _process(folder: Path) -> tuple[int, int, str] | None:
    """(pid, session, name and state) of one entry of /proc."""
    if not folder.name.isdigit():
        return None
    try:
        name, _, rest = (folder / "stat").read_text().rpartition(")")
    except OSError:
        return None
    state, _, _, session = rest.split()[:4]
    return int(folder.name), int(session), f"{name}) {state}"


class ThreadWatch:
    """Looks at the threads of a process, again and again, from a thread of the test."""

    def __init__(self, pid: int) -> None:
        self.tasks = Path(f"/proc/{pid}/task")
        self.looks = 0
        self.most: set[str] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(0.002):
            try:
                names = {f"{task.name}:{(task / 'comm').read_text().strip()}" for task in self.tasks.iterdir()}
            except OSError:
                continue  # a thread, or the process, went away meanwhile
            self.looks += 1
            if len(names) > len(self.most):
                self.most = names

    def stop(self) -> None:
        self._end.set()
        self._thread.join(5)

    def check(self) -> None:
        """The supervisor had one thread whenever somebody looked."""
        self.stop()
        assert self.looks > 50, f"only {self.looks} looks at the supervisor's threads"
        assert len(self.most) == 1, f"the supervisor had more than one thread: {sorted(self.most)}"


class SwarmProcess:
    """`swarm-cli swarm` (or `server`) as a user starts it."""

    def __init__(self, folder: Path, arguments: list[str], environment: dict[str, str]) -> None:
        self.control = folder / f"{uuid.uuid4().hex[:8]}.sock"
        self.log = self.control.with_suffix(".log")
        command = [sys.executable, "-m", "swarm_cli", *arguments]
        if arguments[0] == "swarm" and "--control" not in arguments:
            command += ["--control", str(self.control)]
        with self.log.open("ab") as stream:
            self.popen = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | environment, stdout=stream, stderr=stream, start_new_session=True
            )
        self.seen_pids: set[int] = {self.popen.pid}
        self.threads = ThreadWatch(self.popen.pid) if arguments[0] == "swarm" else None

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def status(self) -> Snapshot | None:
        assert self.popen.poll() is None, f"the swarm ended ({self.popen.returncode}):\n{self.output()}"
        try:
            with ControlClient(self.control, timeout_s=2.0) as client:
                status = client.status()
        except ControlError:
            return None
        self.seen_pids |= {node.pid for node in status.nodes if node.pid}
        return status

    def nodes(self) -> list[NodeSnapshot]:
        status = self.status()
        return [] if status is None else status.nodes

    def running(self, count: int, timeout_s: float = 60.0) -> list[NodeSnapshot]:
        """Wait until `count` nodes run; their entries."""

        def all_run() -> list[NodeSnapshot]:
            nodes = [node for node in self.nodes() if node.state == "running"]
            return nodes if len(nodes) == count else []

        try:
            return list(wait_until(all_run, timeout_s, f"{count} running nodes"))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.status()}\n{self.output()}") from None

    def stop(self, timeout_s: float = 75.0) -> int:
        self.popen.send_signal(signal.SIGTERM)
        code = self.popen.wait(timeout_s)
        if self.threads is not None:
            self.threads.check()
        return code

    def left_behind(self) -> list[tuple[int, int, str]]:
        """Processes of this swarm's session that are still there, zombies included."""
        return [found for found in map(_process, Path("/proc").iterdir()) if found and found[1] == self.popen.pid]

    def end(self) -> None:
        """Whatever happened, leave nothing behind."""
        if self.threads is not None:
            self.threads.stop()
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait(10)


@pytest.fixture
def start_swarm(tmp_path: Path) -> Iterator[Callable[..., SwarmProcess]]:
    started: list[SwarmProcess] = []

    def start(*arguments: str, **environment: str) -> SwarmProcess:
        started.append(SwarmProcess(tmp_path, list(arguments), environment))
        return started[-1]

    yield start
    for swarm in started:
        swarm.end()


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real_kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    """The embedded broker and the real one, in turn."""
    return request.getfixturevalue("embedded_broker" if request.param == "embedded" else "kafka_broker")


def kafka_arguments(broker: Broker, protocol: str = "consumer") -> list[str]:
    """The options that point a swarm at a broker, with the properties that suit it."""
    arguments = ["--bootstrap-servers", broker.bootstrap]
    for key, value in broker.client_settings(protocol).items():
        if key != "bootstrap.servers":
            arguments += ["--kafka", f"{key}={value}"]
    return arguments


@pytest.fixture
def point_at() -> Callable[..., list[str]]:
    return kafka_arguments


@pytest.fixture
def eventually() -> Callable[..., Any]:
    return wait_until


class Load:
    """Numbers, one after the other, to all partitions of a topic, from a thread, while it is entered."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self.bootstrap, self.topic, self.partitions = bootstrap, topic, partitions
        self.sent = 0
        self._done = threading.Event()

    def send(self, records: int) -> None:
        """Send so many, and wait until the broker has them."""
        batch = [Record(b"%d" % (self.sent + i), partition=i % self.partitions) for i in range(records)]
        produce(self.bootstrap, self.topic, batch)
        self.sent += records

    def _run(self) -> None:
        while not self._done.wait(0.05):
            self.send(2 * self.partitions)

    def __enter__(self) -> "Load":
        self._done.clear()
        self._thread = threading.Thread(target=self._run, name="load")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(60)


@pytest.fixture
def load_of() -> Callable[..., Load]:
    return Load


@pytest.fixture
def swarm_cli() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command of swarm-cli to its end."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SWARM_")}
        return subprocess.run(
            [sys.executable, "-m", "swarm_cli", *arguments],
            cwd=ROOT, env=kept | environment, capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def declared_app() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command of swarm-cli on the app whose declarations the test gives."""

    def run(
        broker: Broker, *arguments: str, declared: Any = None, groups: Any = None, text: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        environment = {
            "SERVERS": broker.bootstrap,
            "DECLARED": json.dumps(declared or {}),
            "GROUPS": json.dumps(groups or {}),
        }
        return subprocess.run(
            [sys.executable, "-m", "swarm_cli", *arguments],
            cwd=ROOT, env=os.environ | {"SWARM_APP": "tests.end_to_end.apps.declared:app"} | environment,
            input=text, stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip

    return run
