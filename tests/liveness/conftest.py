"""A runtime to observe and a reporter to listen to, both plain and scripted by the test."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from swarm_health import Accounts, NodeStatistics, PartitionAccount, TopicStatistics, Totals


@dataclass
class Poll:
    subscription_group: str = "group"
    last_poll: float | None = 0.0
    max_poll_interval_s: float = 300.0
    join_state: str | None = "steady"
    join_state_since: float | None = 0.0


@dataclass
class Run:
    topic: str = "flights"
    partition: int = 3
    first_offset: int | None = 100
    last_offset: int | None = 199
    action: str = "consume"
    started: float = 0.0
    ttl_s: float | None = None
    max_poll_interval_s: float = 300.0


@dataclass
class Runtime:
    phase: str = "running"
    groups: list[Poll] = field(default_factory=list)
    hooks: list[Run] = field(default_factory=list)
    fatal: str | None = None
    numbers: dict[str, object] = field(default_factory=dict)
    callbacks: list[Callable[[], None]] = field(default_factory=list)
    state_callbacks: list[Callable[[], None]] = field(default_factory=list)
    error: Exception | None = None

    def polls(self) -> list[Poll]:
        if self.error is not None:
            raise self.error
        return list(self.groups)

    def runs(self) -> list[Run]:
        return list(self.hooks)

    def fatal_error(self) -> str | None:
        return self.fatal

    def statistics(self) -> Mapping[str, object]:
        return self.numbers

    def after_batch(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def after_state(self, callback: Callable[[], None]) -> None:
        self.state_callbacks.append(callback)

    def enter(self, phase: str) -> None:
        self.phase = phase
        for callback in self.state_callbacks:
            callback()


class Recorder:
    """A reporter whose reports a test waits for."""

    def __init__(self) -> None:
        self.health: queue.Queue[tuple[int, str]] = queue.Queue()
        self.statistics: queue.Queue[NodeStatistics] = queue.Queue()
        self.drop = 0
        self.drop_statistics = 0

    def healthy(self) -> bool:
        self.health.put((0, ""))
        return True

    def unhealthy(self, code: int, reason: str) -> bool:
        if self.drop > 0:
            self.drop -= 1
            return False
        self.health.put((code, reason))
        return True

    def report(self, statistics: NodeStatistics) -> bool:
        if self.drop_statistics > 0:
            self.drop_statistics -= 1
            return False
        self.statistics.put(statistics)
        return True

    def next_health(self, timeout: float = 20.0) -> tuple[int, str]:
        return self.health.get(timeout=timeout)


@pytest.fixture(scope="session")
def poll() -> type[Poll]:
    return Poll


@pytest.fixture(scope="session")
def run() -> type[Run]:
    return Run


@pytest.fixture(scope="session")
def runtime() -> type[Runtime]:
    return Runtime


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@dataclass
class Node:
    """A node as a supervisor's snapshot shows it."""

    id: int = 0
    generation: int = 1
    pid: int | None = 1000
    state: str = "running"
    uptime_s: float = 10.0
    restarts: int = 0
    last_report_age_s: float | None = 0.5
    status: int = 0
    reason: str = ""
    last_exit: str = ""
    crash_loop: bool = False
    restart_in_s: float | None = None
    statistics: NodeStatistics | None = None
    totals: Totals = field(default_factory=Totals)


@dataclass
class Swarm:
    """A supervisor's snapshot."""

    pid: int = 999
    name: str = "flights"
    state: str = "running"
    reason: str = ""
    wanted: int = 2
    uptime_s: float = 60.0
    restarts: int = 0
    report_timeout_s: float | None = 60.0
    nodes: list[Node] = field(default_factory=lambda: [Node(0), Node(1)])
    running: int = -1
    totals: Totals = field(default_factory=Totals)
    topics: list[TopicStatistics] = field(default_factory=list)
    partitions: list[PartitionAccount] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Count as a supervisor does: from what the nodes tell, if nothing else is given."""
        if self.running < 0:
            self.running = sum(node.state == "running" and node.status == 0 for node in self.nodes)
        accounts = Accounts()
        for node in self.nodes:
            if node.statistics is not None:
                accounts.take(node.id, node.generation, node.statistics, 0.0)
                node.totals = accounts.node(node.id)
        if not self.partitions:
            self.totals, self.topics, self.partitions = accounts.total(), accounts.topics(), accounts.partitions(0.0)


@pytest.fixture(scope="session")
def node() -> type[Node]:
    return Node


@pytest.fixture(scope="session")
def swarm() -> type[Swarm]:
    return Swarm
