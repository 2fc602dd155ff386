"""What a service manager hears of a swarm, from its start to its end: this test is the manager."""

import select
import signal
import socket
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

WATCHDOG_S = 2.0


class Manager:
    """Reads what is sent to NOTIFY_SOCKET."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.heard: list[tuple[float, dict[str, str]]] = []

    def until(self, condition: Callable[[dict[str, str]], bool], swarm: Any, timeout_s: float = 60.0) -> dict[str, str]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if select.select([self.sock], [], [], 0.1)[0]:
                text = self.sock.recv(65536).decode()
                message = dict(line.split("=", 1) for line in text.splitlines())
                self.heard.append((time.monotonic(), message))
                if condition(message):
                    return message
        raise AssertionError(f"waited in vain; heard {[message for _, message in self.heard]}\n{swarm.output()}")


def test_ready_reloading_stopping_and_a_watchdog_that_is_fed_throughout(
    embedded_broker: Any, start_swarm: Any, point_at: Any, topic_name: Callable[..., str], tmp_path: Path
) -> None:
    topic = topic_name("managed")
    embedded_broker.create_topic(topic, 2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        manager = Manager(sock)
        swarm = start_swarm(
            "swarm", "tests.end_to_end.apps.counting:app", "--nodes", "2", *point_at(embedded_broker), TOPIC=topic,
            GROUP="managed", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC=str(int(WATCHDOG_S * 1e6)),
        )  # fmt: skip
        ready = manager.until(lambda message: message.get("READY") == "1", swarm)
        assert ready["STATUS"].startswith("running: 2 of 2 nodes healthy")
        assert {node.state for node in swarm.nodes()} == {"running"}
        manager.until(lambda _: len([1 for _, message in manager.heard if "WATCHDOG" in message]) == 3, swarm)

        swarm.popen.send_signal(signal.SIGUSR2)
        reloading = manager.until(lambda message: message.get("RELOADING") == "1", swarm)
        assert 0 <= time.monotonic() - int(reloading["MONOTONIC_USEC"]) / 1e6 < 30
        manager.until(lambda message: message.get("READY") == "1", swarm)
        assert {node.generation for node in swarm.nodes()} == {2}

        swarm.popen.send_signal(signal.SIGTERM)
        manager.until(lambda message: message.get("STOPPING") == "1", swarm)
        more = manager.until(lambda message: "EXTEND_TIMEOUT_USEC" in message, swarm)
        assert int(more["EXTEND_TIMEOUT_USEC"]) > 1e6
        assert swarm.popen.wait(60) == 0

    fed = [at for at, message in manager.heard if message.get("WATCHDOG") == "1"]
    # Twice in its time, so that the manager never waits for as long as that; one turn of the machine is allowed for.
    assert len(fed) >= 3
    assert max(after - before for before, after in pairwise(fed)) < WATCHDOG_S
