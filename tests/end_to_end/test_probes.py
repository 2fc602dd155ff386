"""`--probe`: what a cluster and a Prometheus server are told, from the supervisor's own loop, and from one process."""

import contextlib
import json
import os
import re
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


def sockets(pid: int) -> set[str]:
    """The sockets of a process, by their inodes, but for its standard streams."""
    links = {}
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            links[int(fd.name)] = str(fd.readlink())
    return {link for fd, link in links.items() if fd > 2 and link.startswith("socket:")}


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
        "--metrics-detail", "topic" if command == "server" else "partition", TOPIC=topic, GROUP="probed",
    )  # fmt: skip
    eventually(lambda: get(port, "/readyz")[0] == 200, 30, f"readiness\n{swarm.output()}")
    assert get(port, "/livez")[0] == 200
    status = json.loads(get(port, "/status")[1])
    assert len(status["nodes"]) == (2 if command == "swarm" else 1)
    # Each partition, or their sum, as it was asked for.
    shown = {""} if command == "server" else {"0", "1", "2", "3"}
    series = re.compile(r'^swarm_partition_messages_total\{.*partition="(\d*)"', re.MULTILINE)
    eventually(lambda: set(series.findall(get(port, "/metrics")[1])) == shown, 30, f"series of {shown}")
    assert get(port, "/elsewhere")[0] == 404
    if command == "swarm":
        own = sockets(swarm.popen.pid)
        assert own, "the probe's and the control socket"
        for node in swarm.running(2):
            assert not own & sockets(node.pid), "a node holds a socket of its supervisor"
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
    assert f"swarm-cli: the probe cannot listen on 127.0.0.1:{port}: another process uses it" in swarm.output()
    assert "Errno" not in swarm.output()
    assert "forked" not in swarm.output()
    assert "Traceback" not in swarm.output()


APP = """from swarm_consumer import App

app = App("x", kafka={"bootstrap.servers": "127.0.0.1:1"})

@app.consume("t")
def handle(messages): ...
"""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("swarm --probe everywhere", "'everywhere' is not an address"),
        ("server --probe 256.0.0.1:80", "'256.0.0.1' is not an IP address"),
        ("swarm --probe 8080 --metrics-detail all", "'all' is not one of partition, topic, node"),
        ("server --memory-limit 0", "is not a limit: give more than 0"),
        ("swarm --memory-limit -5", "is not a limit: give more than 0"),
        ("server --memory-share 80", "is not a share"),
        ("swarm --memory-limit 100 --memory-share 0.8", "memory_limit and memory_share are both set"),
        ("swarm --memory-limit 10 --memory-metric rss", "memory_limit is 10 MB by rss, but the supervisor itself has"),
        ("server --consuming-ttl 3", "consuming_ttl (3 s) is below liveness_interval (10 s)"),
        ("swarm --polling-ttl 0", "polling_ttl is 0.0: give a number of seconds above 0"),
    ],
)
def test_what_cannot_work_is_a_usage_error_before_a_broker_is_asked(
    arguments: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "probed_app.py").write_text(APP)
    done = subprocess.run(
        [sys.executable, "-m", "swarm_cli", *arguments.split(), "probed_app:app"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
