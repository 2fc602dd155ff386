"""`--probe`: what a cluster and a Prometheus server are told, from the supervisor's own loop, and from one process."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body; (0, why) while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except (urllib.error.URLError, OSError) as error:
        return 0, str(error)


@pytest.mark.parametrize("command", ["swarm", "server"])
def test_probes_and_metrics_of_a_consuming_process(
    command: str,
    embedded_broker: Any,
    start_swarm: Any,
    point_at: Any,
    eventually: Callable[..., Any],
    topic_name: Callable[..., str],
) -> None:
    topic, port = topic_name("probed"), free_port()
    embedded_broker.create_topic(topic, 4)
    swarm = start_swarm(
        command, "tests.end_to_end.apps.counting:app", "--nodes", "2", "--probe", str(port), *point_at(embedded_broker),
        TOPIC=topic, GROUP="probed",
    )  # fmt: skip
    eventually(lambda: get(port, "/readyz")[0] == 200, 30, f"readiness\n{swarm.output()}")
    assert get(port, "/livez")[0] == 200
    status = json.loads(get(port, "/status")[1])
    assert len(status["nodes"]) == (2 if command == "swarm" else 1)
    code, metrics = get(port, "/metrics")
    assert code == 200
    assert "swarm_" in metrics
    assert get(port, "/elsewhere")[0] == 404
    assert swarm.stop() == 0
    assert get(port, "/livez")[0] == 0, "the port is closed with its process"


def test_a_port_that_is_in_use_is_refused_before_any_node_exists(
    embedded_broker: Any, start_swarm: Any, point_at: Any, topic_name: Callable[..., str]
) -> None:
    topic = topic_name("busy")
    embedded_broker.create_topic(topic, 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        swarm = start_swarm(
            "swarm", "tests.end_to_end.apps.counting:app", "--nodes", "1", "--probe", str(port),
            *point_at(embedded_broker), TOPIC=topic, GROUP="busy",
        )  # fmt: skip
        assert swarm.popen.wait(30) == 2, swarm.output()
    assert str(port) in swarm.output()
    assert "forked" not in swarm.output()
    assert "Traceback" not in swarm.output()


def test_an_address_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "probed_app.py").write_text(
        "from swarm_consumer import App\napp = App('x', kafka={'bootstrap.servers': '127.0.0.1:1'})\n"
        "@app.consume('t')\ndef handle(messages): ...\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "swarm_cli", "swarm", "probed_app:app", "--probe", "everywhere"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "'everywhere' is no address" in done.stderr
