"""What a swarm says when it starts, is ready and stops: where to look and what to do."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swarm_cli.banner import Banner, Facts, lines

FACTS = Facts("shop:app", 3, "kafka:9092", ("127.0.0.1", 8089), Path("/run/swarm/7.sock"), 75.0)


def test_the_lines_name_application_page_control_and_the_way_to_stop() -> None:
    first, page, control, stop = lines(FACTS)
    assert "shop:app on 3 nodes, Kafka at kafka:9092" in first
    assert "http://127.0.0.1:8089/" in page
    assert "--control /run/swarm/7.sock" in control
    assert stop == "Ctrl-C or TERM stops it gracefully, within 75 s; a second one kills the rest"


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "localhost"), ("::", "localhost"), ("::1", "[::1]")])
def test_the_page_has_an_address_that_a_browser_takes(host: str, shown: str) -> None:
    assert f"http://{shown}:80/" in lines(Facts("a:b", 1, "k", (host, 80), None, 1.0))[1]


def test_what_is_not_there_is_not_named() -> None:
    found = lines(Facts("a:b", 1, "k", None, None, 1.0))
    assert len(found) == 2
    assert "on 1 node," in found[0]


class FakeSupervisor:
    def __init__(self) -> None:
        self.listeners: dict[str, Any] = {}
        self.nodes = [SimpleNamespace(pid=1), SimpleNamespace(pid=2)]
        self.running = 0

    def on(self, kind: type) -> Callable[[Any], Any]:
        return lambda listener: self.listeners.setdefault(kind.__name__, listener)

    def snapshot(self) -> Any:
        return SimpleNamespace(running=self.running, wanted=2, nodes=self.nodes)


def test_ready_is_said_once_and_the_stop_says_what_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = FakeSupervisor()
    with caplog.at_level(logging.INFO):
        banner = Banner(FACTS, supervisor.snapshot)
        banner.attach(supervisor)  # type: ignore[arg-type]
        caplog.clear()
        for running in (1, 2, 2):
            supervisor.running = running
            supervisor.listeners["NodeRunning"](SimpleNamespace(at=banner._started + 2.04))
        supervisor.listeners["Stopping"](SimpleNamespace(reason="SIGTERM"))
        supervisor.nodes = [SimpleNamespace(pid=None), SimpleNamespace(pid=2)]
        # By the control socket: one TERM after it forces nothing (docs/signals.md).
        supervisor.listeners["Stopping"](SimpleNamespace(reason="swarm-cli stop, by ada"))
        supervisor.nodes = []
        supervisor.listeners["Stopping"](SimpleNamespace(reason="SIGINT"))
    assert [record.message for record in caplog.records] == [
        "ready after 2.0 s: 2 of 2 nodes run",
        "2 nodes finish current batches, within 75 s; Ctrl-C or TERM again kills them",
        "1 node finishes current batches, within 75 s; Ctrl-C or TERM twice kills them",
    ]
