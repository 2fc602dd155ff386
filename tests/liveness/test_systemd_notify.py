"""What systemd is told, read from a real datagram socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swarm_liveness._integrations.systemd import EXTEND_BY_S, EXTEND_EVERY_S, Notifier, SystemdListener


class Event(SimpleNamespace):
    def __str__(self) -> str:
        return f"told {type(self).__name__}"


def event(name: str, **fields: Any) -> Any:
    return type(name, (Event,), {})(**fields)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """systemd's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


def received(manager: socket.socket) -> list[str]:
    """Everything that has come so far."""
    manager.setblocking(False)
    messages = []
    try:
        while True:
            messages.append(manager.recv(65536).decode())
    except BlockingIOError:
        return messages


class Loop:
    """Timers that the test lets come due."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def add_reader(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        raise AssertionError("not needed")

    def remove_reader(self, fd: int) -> None:
        raise AssertionError("not needed")

    def call_at(self, deadline: float, callback: Callable[[], None]) -> None:
        self.timers.append((deadline, callback))

    def fire(self) -> float:
        """Let the only timer come due; returns in how many seconds it would have."""
        ((deadline, callback),) = self.timers
        self.timers.clear()
        delay = deadline - time.monotonic()
        callback()
        return delay


def notifier(manager: socket.socket, **more: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.getsockname(), **more})


class TestNotifier:
    def test_without_a_manager_nothing_is_sent(self) -> None:
        one = Notifier({})
        assert not one.enabled
        assert not one.notify(READY=1)
        assert one.dropped == 0

    def test_assignments_travel_in_one_datagram_a_line_each(self, manager: socket.socket) -> None:
        one = notifier(manager)
        assert one.notify(READY=1, STATUS="all is\nwell")
        assert received(manager) == ["READY=1\nSTATUS=all is well"]
        one.close()
        one.close()

    def test_the_abstract_namespace(self) -> None:
        name = f"swarm-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(f"\0{name}")
            one = Notifier({"NOTIFY_SOCKET": f"@{name}"})
            assert one.notify(WATCHDOG=1)
            one.close()
            assert sock.recv(100) == b"WATCHDOG=1"

    def test_another_transport_is_left_alone(self) -> None:
        assert not Notifier({"NOTIFY_SOCKET": "vsock:2:1234"}).enabled

    def test_a_manager_that_is_gone_or_does_not_read_costs_a_count(
        self, tmp_path: Path, manager: socket.socket
    ) -> None:
        gone = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
        assert not gone.notify(READY=1)
        assert gone.dropped == 1
        gone.close()
        one = notifier(manager)
        for _ in range(10_000):  # never blocks: the receive queue is full after some hundred
            if not one.notify(STATUS="x" * 500):
                break
        assert one.dropped == 1
        one.close()

    @pytest.mark.parametrize(
        ("usec", "pid", "expected"),
        [("30000000", "", 30.0), ("30000000", "1", None), ("0", "", None), ("soon", "", None), ("", "", None)],
    )
    def test_the_watchdog_is_read_for_this_process_only(self, usec: str, pid: str, expected: float | None) -> None:
        environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid or "77"}
        assert Notifier(environment, pid=77).watchdog_s == expected


class TestListener:
    def test_ready_comes_when_all_wanted_nodes_are_healthy_and_only_once(
        self, manager: socket.socket, swarm: Any, node: Any
    ) -> None:
        snapshot = swarm(state="starting", nodes=[node(0), node(1, state="booting")])
        listener = SystemdListener(Loop(), lambda: snapshot, notifier(manager))
        listener(event("NodeRunning"))
        assert received(manager) == ["STATUS=starting: 1 of 2 nodes healthy"]
        snapshot.state, snapshot.running = "running", 2
        listener(event("NodeRunning"))
        assert received(manager) == ["READY=1\nSTATUS=running: 2 of 2 nodes healthy"]
        snapshot.running = 1
        listener(event("NodeStopping"))
        listener(event("NodeExited"))
        snapshot.running, snapshot.restarts = 2, 1
        listener(event("NodeRunning"))
        assert received(manager) == [
            "STATUS=running: 1 of 2 nodes healthy",
            "STATUS=running: 2 of 2 nodes healthy, 1 restart",
        ]
        listener.notifier.close()

    def test_a_readiness_that_the_manager_did_not_take_is_told_again(
        self, manager: socket.socket, swarm: Any, node: Any
    ) -> None:
        """It was told once: where the socket was full, the manager waited in vain and killed the unit."""
        loop = Loop()
        snapshot = swarm(state="running", nodes=[node(0), node(1)])
        listener = SystemdListener(loop, lambda: snapshot, notifier(manager))
        while listener.notifier.notify(STATUS="x" * 500):
            pass
        listener(event("NodeRunning"))
        loop.fire()
        assert "READY=1" not in "".join(received(manager))
        loop.fire()
        assert received(manager) == ["READY=1\nSTATUS=running: 2 of 2 nodes healthy"]
        assert loop.timers == []
        listener.notifier.close()

    def test_stopping_asks_for_more_time_until_it_is_over(self, manager: socket.socket, swarm: Any) -> None:
        snapshot, loop = swarm(), Loop()
        listener = SystemdListener(loop, lambda: snapshot, notifier(manager))
        snapshot.state = "stopping"
        listener(event("Stopping"))
        listener(event("Stopping"))
        extend = f"EXTEND_TIMEOUT_USEC={int(EXTEND_BY_S * 1e6)}"
        assert received(manager) == ["STOPPING=1\nSTATUS=told Stopping", extend]
        assert loop.fire() == pytest.approx(EXTEND_EVERY_S, abs=2)
        assert received(manager) == [extend]
        snapshot.state = "stopped"
        loop.fire()
        listener(event("Stopped"))
        assert received(manager) == ["STATUS=told Stopped"]
        assert loop.timers == []

    def test_a_rolling_restart_is_a_reload(self, manager: socket.socket, swarm: Any) -> None:
        before = int(time.monotonic() * 1e6)
        listener = SystemdListener(Loop(), swarm, notifier(manager))
        listener(event("RolloutStarted"))
        listener(event("RolloutFinished"))
        listener(event("RolloutFinished"))
        reloading, ready = received(manager)
        fields = dict(line.split("=", 1) for line in reloading.splitlines())
        assert fields["RELOADING"] == "1"
        assert before <= int(fields["MONOTONIC_USEC"]) <= int(time.monotonic() * 1e6)
        assert ready == "READY=1\nSTATUS=told RolloutFinished"
        listener.notifier.close()

    def test_the_watchdog_is_fed_by_timers_of_the_loop(self, manager: socket.socket, swarm: Any) -> None:
        loop = Loop()
        listener = SystemdListener(loop, swarm, notifier(manager, WATCHDOG_USEC="10000000"))
        listener(event("AfterFork"))
        listener(event("Controlled"))
        assert received(manager) == ["WATCHDOG=1"]
        assert loop.fire() == pytest.approx(5.0, abs=2)
        assert received(manager) == ["WATCHDOG=1"]
        listener.notifier.close()

    def test_without_a_watchdog_and_without_a_manager_there_are_no_timers(
        self, manager: socket.socket, swarm: Any
    ) -> None:
        loop = Loop()
        listener = SystemdListener(loop, swarm, notifier(manager))
        listener(event("AfterFork"))
        assert loop.timers == []
        silent = SystemdListener(loop, lambda: pytest.fail("not asked"), Notifier({}))
        for name in ("AfterFork", "NodeRunning", "Stopping", "Stopped"):
            silent(event(name))
        assert loop.timers == []

    def test_more_time_is_asked_for_while_a_start_waits_and_until_it_is_ready(
        self, manager: socket.socket, swarm: Any, node: Any
    ) -> None:
        now = swarm(nodes=[node(state="backing off")], state="starting", reason="waits for Kafka at k:9092", wanted=1)
        loop = Loop()
        listener = SystemdListener(loop, lambda: now, notifier(manager))
        listener(event("Held"))
        assert received(manager) == [
            "STATUS=starting: 0 of 1 nodes healthy (waits for Kafka at k:9092)",
            f"EXTEND_TIMEOUT_USEC={int(EXTEND_BY_S * 1e6)}",
        ]
        for _ in range(20):
            assert loop.fire() <= EXTEND_EVERY_S
            assert received(manager) == [f"EXTEND_TIMEOUT_USEC={int(EXTEND_BY_S * 1e6)}"]
        listener(event("Held"))  # another reason: no second timer
        assert len(loop.timers) == 1
        now.running, now.state, now.reason = 1, "running", ""
        listener(event("NodeRunning"))
        assert received(manager)[-1].startswith("READY=1")
        loop.fire()
        assert received(manager) == []
        assert loop.timers == []
        listener.notifier.close()
