"""serve_supervisor and ProcessProbes: what a supervisor, or one process, shows, put together and asked over HTTP."""

from __future__ import annotations

import importlib.util
import json
import select
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("h11", reason="the extra swarm-liveness[probes] is not installed")
pytest.importorskip("prometheus_client", reason="the extra swarm-liveness[metrics] is not installed")

from swarm_liveness import LivenessListener
from swarm_liveness._integrations.systemd import Notifier
from swarm_liveness.serving import ProcessProbes, parse_address, serve_supervisor
from swarm_liveness.settings import ProbeError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),
        ("[::]:8080", ("::", 8080)),
        ("[::1]:0", ("::1", 0)),
        (" 127.0.0.1:80 ", ("127.0.0.1", 80)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "http", ":8080", "0.0.0.0:", "0.0.0.0:99999", "0.0.0.0:-1", "::x", "0.0.0.0:٣"])
def test_what_is_no_address_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ProbeError, match="give PORT, HOST:PORT"):
        parse_address(text)


class Supervisor:
    """A loop that the test turns, events that it tells, and a snapshot."""

    def __init__(self, snapshot: Any) -> None:
        self.value = snapshot
        self.listeners: list[Callable[[Any], None]] = []
        self.readers: dict[int, Callable[[int], None]] = {}
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.closing: list[Callable[[], None]] = []

    def close_in_children(self, close: Callable[[], None]) -> None:
        self.closing.append(close)

    def subscribe(self, listener: Callable[[Any], None]) -> None:
        self.listeners.append(listener)

    def snapshot(self) -> Any:
        return self.value

    def add_reader(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        self.readers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        del self.readers[fd]

    def call_at(self, deadline: float, callback: Callable[[], None]) -> None:
        self.timers.append((deadline, callback))

    def tell(self, name: str, **fields: Any) -> None:
        event = type(name, (SimpleNamespace,), {})(**fields)
        for listener in self.listeners:
            listener(event)

    def turn(self) -> None:
        due = [timer for timer in self.timers if timer[0] <= time.monotonic()]
        self.timers = [timer for timer in self.timers if timer not in due]
        for _, callback in due:
            callback()
        for fd, callback in list(self.readers.items()):
            if select.select([fd], [], [], 0)[0]:
                callback(select.EPOLLIN)


def ask(supervisor: Supervisor, port: int, path: str) -> tuple[bytes, bytes]:
    """Head and body of an answer, while the test turns the loop."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        sock.setblocking(False)
        received = b""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            supervisor.turn()
            try:
                chunk = sock.recv(65536)
            except BlockingIOError:
                continue
            if not chunk:
                break
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def test_a_supervisor_serves_from_its_own_loop_and_counts_its_events(swarm: Any) -> None:
    supervisor = Supervisor(swarm())
    server = serve_supervisor(supervisor, "0", version="7", swarm_version="8", notifier=Notifier({}))
    assert server is not None
    try:
        supervisor.tell("AfterFork", node_id=1, generation=2, spare=False)
        for path in ("/livez", "/readyz"):
            head, body = ask(supervisor, server.port, path)
            assert head.startswith(b"HTTP/1.1 200")
            assert json.loads(body)["status"] == "ok"
        _, body = ask(supervisor, server.port, "/metrics")
        text = body.decode()
        assert 'swarm_info{name="flights",swarm_version="8",version="7"} 1.0' in text
        assert 'swarm_node_restarts_total{node="1",reason="exit"} 1.0' in text
        assert "swarm_probe_answered_total 2.0" in text
    finally:
        server.close()
    assert supervisor.readers == {}


def test_in_a_node_the_sockets_are_closed(swarm: Any) -> None:
    supervisor = Supervisor(swarm())
    server = serve_supervisor(supervisor, "0", notifier=Notifier({}))
    assert server is not None
    for close in supervisor.closing:  # as the supervisor does first thing in each fork
        close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)
    server._epoll.close()


def test_without_an_address_only_systemd_is_told(swarm: Any, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        supervisor = Supervisor(swarm())
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert serve_supervisor(supervisor, notifier=notifier) is None
        supervisor.tell("NodeRunning", node_id=0)
        assert manager.recv(1000).startswith(b"READY=1")
        notifier.close()
    silent = Supervisor(swarm())
    assert serve_supervisor(silent, notifier=Notifier({})) is None
    assert silent.listeners == []


def test_a_missing_extra_is_said_with_the_command_that_helps(swarm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "h11" else find(name))
    with pytest.raises(ProbeError, match=r"probes need h11, .*pip install 'swarm-liveness\[probes,metrics\]'"):
        serve_supervisor(Supervisor(swarm()), "0", notifier=Notifier({}))


@pytest.fixture
def process(runtime: Any) -> Iterator[tuple[Any, ProcessProbes]]:
    observed = runtime(numbers={"state": "running", "messages": 12})
    listener = LivenessListener(consuming_ttl=30)
    listener.start(observed)
    probes = ProcessProbes(listener, observed, "0", name="delays")
    yield observed, probes
    probes.close()
    probes.close()
    listener.stop()


def fetch(probes: ProcessProbes, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{probes.server.port}{path}", timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_one_process_serves_the_same_and_livez_is_its_own_verdict(process: Any, run: Any) -> None:
    observed, probes = process
    assert fetch(probes, "/livez")[0] == 200
    assert fetch(probes, "/readyz")[0] == 200
    assert 'swarm_node_messages_total{node="0"} 12.0' in fetch(probes, "/metrics")[1]
    observed.hooks.append(run(started=time.monotonic() - 31))
    code, body = fetch(probes, "/livez")
    assert code == 503
    assert "consume of flights/3" in json.loads(body)["reasons"][0]
    assert fetch(probes, "/readyz")[0] == 503
    observed.hooks.clear()
    assert fetch(probes, "/livez")[0] == 200
