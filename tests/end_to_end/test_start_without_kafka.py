"""A start while no broker answers: everything but the work is there, and says what it waits for."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer.testing import await_committed, produce

APP = "tests.end_to_end.apps.counting:app"
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


def test_probes_control_and_systemd_are_answered_until_the_broker_comes(
    embedded_broker: Any, start_swarm: Any, point_at: Any, eventually: Any, topic_name: Callable[..., str],
    tmp_path: Path,
) -> None:  # fmt: skip
    topic, group = topic_name("patient"), topic_name("patients")
    embedded_broker.create_topic(topic, 2)
    arguments = point_at(embedded_broker)
    address = embedded_broker.bootstrap
    embedded_broker.kill()
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        swarm = start_swarm(
            "swarm", APP, "--nodes", "2", "--probe", str(port), *arguments, "--kafka", "auto.commit.interval.ms=100",
            TOPIC=topic, GROUP=group, NOTIFY_SOCKET=str(tmp_path / "notify"),
        )  # fmt: skip
        eventually(lambda: get(port, "/livez")[0] == 200, 30, "/livez before any broker")

        def waits() -> str:
            code, body = get(port, "/readyz")
            assert code in (0, 503), body
            return body if "refused" in body else ""

        body = eventually(waits, 30, "/readyz with the reason")
        assert f"the swarm is starting: waits for Kafka at {address}: connection refused" in body
        assert get(port, "/metrics")[0] == get(port, "/")[0] == 200
        status = swarm.status()
        assert status is not None
        assert (status.state, status.reason) == ("starting", f"waits for Kafka at {address}: connection refused")
        check = subprocess.run(
            [sys.executable, "-m", "swarm_cli", "status", "--check", "live", "--control", str(swarm.control)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (check.returncode, check.stdout) == (0, "live\n")
        told = b""
        while b"EXTEND_TIMEOUT_USEC" not in told or b"waits for Kafka" not in told:
            told += manager.recv(65536)
        embedded_broker.restart()
        eventually(lambda: get(port, "/readyz")[0] == 200, 60, f"readiness\n{swarm.output()}")
        while b"READY=1" not in told:
            told += manager.recv(65536)
    produce(address, topic, [b"1", b"2"])
    await_committed(address, group, topic)
    assert swarm.output().count(f"no broker answers at {address}") == 1
    assert swarm.stop() == 0  # one thread throughout: stop() checks it


@pytest.mark.parametrize("command", ["swarm", "server"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_while_it_waits_ends_it_with_the_documented_code_and_a_line(
    start_swarm: Any, eventually: Any, command: str, number: signal.Signals, code: int
) -> None:
    swarm = start_swarm(command, APP, "--bootstrap-servers", "127.0.0.1:1", TOPIC="any", GROUP="any")
    eventually(lambda: "no broker answers at 127.0.0.1:1: connection refused" in swarm.output(), 30, "the reason")
    swarm.popen.send_signal(number)
    assert swarm.popen.wait(30) == code, swarm.output()
    interrupted = "swarm-cli: interrupted while waiting for Kafka at 127.0.0.1:1: nothing was started."
    assert (interrupted in swarm.output()) is (number == signal.SIGINT)
    assert swarm.left_behind() == []


def test_one_process_without_a_supervisor_says_too_what_it_waits_for(start_swarm: Any, eventually: Any) -> None:
    port = free_port()
    start_swarm(
        "server", APP, "--bootstrap-servers", "127.0.0.1:1", "--probe", str(port), TOPIC="any", GROUP="any"
    )  # fmt: skip
    reason = "the swarm is starting: waits for Kafka at 127.0.0.1:1: connection refused"
    eventually(lambda: reason in get(port, "/readyz")[1], 60, "/readyz with the reason")
    assert get(port, "/livez")[0] == 200


def test_what_is_found_wrong_ends_it_with_the_documented_code(
    embedded_broker: Any, start_swarm: Any, point_at: Any
) -> None:
    swarm = start_swarm("swarm", APP, *point_at(embedded_broker), TOPIC="missing", GROUP="any")
    assert swarm.popen.wait(60) == 2
    assert f"swarm-cli: the topic does not exist at {embedded_broker.bootstrap}: 'missing'" in swarm.output()
    swarm = start_swarm(
        "swarm", APP, "--bootstrap-servers", "127.0.0.1:1", "--connect-timeout", "0.5", TOPIC="any", GROUP="any"
    )
    assert swarm.popen.wait(60) == 1
    last = swarm.output().splitlines()[-1]
    assert last.startswith("swarm-cli: no broker answers at 127.0.0.1:1 after ")
    assert last.count("refused") == 1


def test_probes_and_control_answer_while_nodes_drain(
    embedded_broker: Any, start_swarm: Any, point_at: Any, eventually: Any, topic_name: Callable[..., str],
    tmp_path: Path,
) -> None:  # fmt: skip
    topic, port = topic_name("slow"), free_port()
    embedded_broker.create_topic(topic, 1)
    (tmp_path / "slow_to_stop.py").write_text(
        "import pathlib, time\n"
        "from swarm_consumer import App\n"
        f"app = App('slow')\n"
        f"@app.consume({topic!r}, group='slow')\n"
        "def handle(messages):\n"
        f"    pathlib.Path({str(tmp_path / 'working')!r}).touch()\n"
        f"    while not pathlib.Path({str(tmp_path / 'go')!r}).exists():\n"
        "        time.sleep(0.01)\n"
    )
    swarm = start_swarm(
        "swarm", "slow_to_stop:app", "--nodes", "1", "--probe", str(port), *point_at(embedded_broker),
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    )  # fmt: skip
    produce(embedded_broker.bootstrap, topic, [b"1"])
    eventually((tmp_path / "working").exists, 60, f"a handler at work\n{swarm.output()}")
    swarm.popen.send_signal(signal.SIGTERM)
    eventually(lambda: '"stopping"' in get(port, "/readyz")[1], 30, "/readyz that says stopping")
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert get(port, "/livez")[0] == 200
        assert json.loads(get(port, "/status")[1])["state"] == "stopping"
        status = swarm.status()
        assert status is not None
        assert status.state == "stopping"
    (tmp_path / "go").touch()
    assert swarm.popen.wait(60) == 0


@pytest.mark.parametrize("arguments", [["swarm"], ["swarm", "--no-preload"], ["server"]], ids=" ".join)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_while_the_application_is_imported_ends_it_at_once(
    tmp_path: Path, eventually: Any, arguments: list[str], number: signal.Signals, code: int
) -> None:
    """As PID 1 a process without a handler would not even notice a TERM, and would be killed in the end."""
    (tmp_path / "slow_import.py").write_text(
        "import pathlib, time\n"
        "pathlib.Path('importing').touch()\n"
        "try:\n"
        "    time.sleep(600)\n"
        "except Exception:\n"
        "    pass\n"
    )
    command = [sys.executable, "-m", "swarm_cli", arguments[0], "slow_import:app", *arguments[1:]]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            eventually((tmp_path / "importing").exists, 60, "the import")
            process.send_signal(number)
            assert process.wait(30) == code
            assert process.stderr is not None
            said = process.stderr.read()
            line = "swarm-cli: interrupted while the application was imported: nothing was started.\n"
            assert said == (line if number == signal.SIGINT else "")
        finally:
            process.kill()


@pytest.mark.parametrize("command", ["swarm", "server"])
@pytest.mark.parametrize(("name", "code"), [("INT", 130), ("TERM", 0)])
def test_a_signal_between_the_import_and_the_first_wait_is_answered(
    tmp_path: Path, command: str, name: str, code: int
) -> None:
    """Probes, metrics and the supervisor are imported there: nobody handled a signal for half a second."""
    (tmp_path / "early.py").write_text(
        "import subprocess\n"
        "from swarm_consumer import App\n"
        "app = App('early', kafka={'bootstrap.servers': '127.0.0.1:1'})\n"
        "@app.consume('orders', group='g')\n"
        "def handle(messages): ...\n"
        f"subprocess.Popen(['sh', '-c', 'sleep 0.05; kill -{name} $PPID'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "swarm_cli", command, "early:app", "--probe", str(free_port())],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert ("swarm-cli: interrupted while" in done.stderr) is (name == "INT")


@pytest.mark.parametrize(
    ("command", "last"),
    [("swarm", "swarm_supervisor._supervisor.borrow_process"), ("server", "swarm_cli.composition.say_settings")],
)
@pytest.mark.parametrize(("name", "code"), [("INT", 130), ("TERM", 0)])
def test_a_signal_just_before_the_supervisor_answers_signals_is_answered(
    tmp_path: Path, command: str, last: str, name: str, code: int
) -> None:
    """Between the last step of the start and the handlers of run() there were none: TERM killed, INT said nothing."""
    module, _, attribute = last.rpartition(".")
    (tmp_path / "early.py").write_text(
        "import os, signal\n"
        f"import {module} as module\n"
        "from swarm_consumer import App\n"
        "app = App('early', kafka={'bootstrap.servers': '127.0.0.1:1'})\n"
        "@app.consume('orders', group='g')\n"
        "def handle(messages): ...\n"
        f"original = module.{attribute}\n"
        "def signalled(*arguments, **options):\n"
        f"    os.kill(os.getpid(), signal.SIG{name})\n"
        "    return original(*arguments, **options)\n"
        f"module.{attribute} = signalled\n"
        + ("import swarm_cli.preflight as p\np.examine = lambda *_: None\n" if command == "server" else "")
    )
    done = subprocess.run(
        [sys.executable, "-m", "swarm_cli", command, "early:app"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert ("swarm-cli: interrupted while the start was prepared: nothing" in done.stderr) is (name == "INT")
