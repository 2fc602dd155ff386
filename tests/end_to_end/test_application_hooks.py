"""An application's warm-up, lifespan and listeners of the supervisor under swarm-cli: what is called where; faults."""

import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer.testing import Record, await_committed, produce

APP = "tests.end_to_end.apps.hooked:app"
FILE = r"tests/end_to_end/apps/hooked\.py"


class Ledger:
    """What the hooks wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def lines(self, *names: str) -> list[tuple[str, int, str, str]]:
        found = []
        for line in self.path.read_text().splitlines():
            name, pid, node, detail = line.split()
            if not names or name in names:
                found.append((name, int(pid), node, detail))
        return found


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture
def hooked(
    start_swarm: Any, embedded_broker: Any, point_at: Any, topic_name: Callable[..., str], tmp_path: Path
) -> Callable[..., Any]:
    topic, group = topic_name("hooked"), topic_name("hooks")
    embedded_broker.create_topic(topic, 2)
    produce(embedded_broker.bootstrap, topic, [Record(b"1", partition=partition) for partition in (0, 1)])

    def start(command: str, *arguments: str, **environment: str) -> Any:
        swarm = start_swarm(
            command, APP, *point_at(embedded_broker), *arguments,
            TOPIC=topic, GROUP=group, LEDGER=str(ledger.path), **environment,
        )  # fmt: skip
        swarm.ledger = ledger
        swarm.committed = lambda: await_committed(embedded_broker.bootstrap, group, topic, timeout_s=60)
        return swarm

    ledger = Ledger(tmp_path / "ledger")
    return start


@pytest.mark.parametrize("asynchronous", ["0", "1"])
def test_in_a_swarm_each_hook_is_called_in_its_process(hooked: Any, asynchronous: str) -> None:
    swarm = hooked("swarm", "--nodes", "2", ASYNC=asynchronous)
    nodes = {node.pid for node in swarm.running(2)}
    swarm.committed()
    assert swarm.stop() == 0, swarm.output()
    ledger, supervisor = swarm.ledger, swarm.popen.pid
    # Once, in the supervisor, before any fork.
    assert ledger.lines("warmup", "BeforeWarmup", "BeforeFork")[:3] == [
        ("warmup", supervisor, "-", "-"),
        ("BeforeWarmup", supervisor, "-", "-"),
        ("BeforeFork", supervisor, "0", "-"),
    ]
    assert len(ledger.lines("warmup")) == 1
    # Once in each node, around all its work, in the node's own process.
    for name in ("enter", "leave", "NodeStarted"):
        assert {pid for _, pid, _, _ in ledger.lines(name)} == nodes, name
        assert sorted(node for _, _, node, _ in ledger.lines(name)) == ["0", "1"], name
    for _, pid, _, made_in in ledger.lines("handled"):
        assert pid == int(made_in)
    for pid in nodes:
        own = [name for name, where, _, _ in ledger.lines() if where == pid]
        assert own[:2] == ["NodeStarted", "enter"]
        assert own[-1] == "leave"
        assert own.count("enter") == own.count("leave") == 1
    for name in ("AfterFork", "NodeStopping", "NodeExited", "Stopped"):
        assert {pid for _, pid, _, _ in ledger.lines(name)} == {supervisor}, name


@pytest.mark.parametrize("asynchronous", ["0", "1"])
def test_in_one_process_they_are_called_too_and_no_swarm_tells(hooked: Any, asynchronous: str, eventually: Any) -> None:
    server = hooked("server", ASYNC=asynchronous)
    server.committed()
    eventually(lambda: server.ledger.lines("handled"), 30, "a handled batch")
    server.popen.send_signal(signal.SIGTERM)
    assert server.popen.wait(60) == 0, server.output()
    names = [name for name, pid, node, _ in server.ledger.lines() if pid == server.popen.pid]
    assert names[:2] == ["warmup", "enter"]
    assert names[-1] == "leave"
    assert set(names) == {"warmup", "enter", "handled", "leave"}
    assert server.ledger.lines("enter") == [("enter", server.popen.pid, "None", "1")]


def test_without_preload_each_node_warms_up_itself(hooked: Any) -> None:
    swarm = hooked("swarm", "--nodes", "1", "--no-preload")
    (node,) = swarm.running(1)
    swarm.committed()
    assert swarm.stop() == 0, swarm.output()
    assert swarm.ledger.lines("warmup") == [("warmup", node.pid, "-", "-")]
    assert "@app.on_swarm" in swarm.output()
    assert "are not called under --no-preload" in swarm.output()


@pytest.mark.parametrize("command", ["swarm", "server"])
@pytest.mark.parametrize(
    ("fault", "code", "sentence"),
    [
        ("warmup", 1, rf"the warm-up load \({FILE}:\d+\) failed: FileNotFoundError: no model\.bin, at {FILE}:\d+ \(--"),
        ("event", 2, rf"{FILE}:\d+: @app\.on_swarm names an unknown supervisor event: 'NodeExitd'; did you mean 'Node"),
    ],
)  # fmt: skip
def test_a_hook_that_cannot_work_is_told_before_anything_runs(
    hooked: Any, command: str, fault: str, code: int, sentence: str
) -> None:
    process = hooked(command, FAULT=fault)
    assert process.popen.wait(60) == code, process.output()
    assert re.search(rf"^swarm-cli: {sentence}", process.output(), re.MULTILINE), process.output()
    assert "Traceback" not in process.output()
    assert process.ledger.lines("enter", "BeforeFork") == []


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            "import",
            rf"{FILE}:\d+ makes a Kafka client \(Producer\) on import, and librdkafka does not survive the fork",
        ),
        (
            "warmup-client",
            rf"{FILE}:\d+ makes a Kafka client \(AdminClient\) in the supervisor, and librdkafka does not",
        ),
    ],
)
def test_a_client_in_the_supervisor_is_refused_at_the_call(hooked: Any, fault: str, sentence: str) -> None:
    swarm = hooked("swarm", FAULT=fault)
    assert swarm.popen.wait(60) == 2, swarm.output()
    assert re.search(rf"^swarm-cli: {sentence}", swarm.output(), re.MULTILINE), swarm.output()
    assert "unexpected" not in swarm.output()
    assert "Traceback" not in swarm.output()


def test_a_client_on_import_hurts_nobody_in_one_process(hooked: Any, eventually: Any) -> None:
    server = hooked("server", FAULT="import")
    server.committed()
    server.popen.send_signal(signal.SIGTERM)
    assert server.popen.wait(60) == 0, server.output()


@pytest.mark.parametrize("fault", ["enter", "leave"])
def test_a_lifespan_that_fails_ends_its_node_with_the_reason(hooked: Any, fault: str, eventually: Any) -> None:
    swarm = hooked("swarm", "--nodes", "1", "--node-restart-delay", "0.1", FAULT=fault)
    if fault == "leave":
        swarm.running(1)
        swarm.popen.send_signal(signal.SIGTERM)
        swarm.popen.wait(60)
    wanted = {
        "enter": rf"the lifespan resources \({FILE}:\d+\) failed at its start: ConnectionError: no database at db:5432",
        "leave": rf"the lifespan resources \({FILE}:\d+\) failed at its end: ConnectionError: the pool is still in use",
    }[fault]
    told = rf"node 0 \(pid \d+, generation \d+\) ended after .*code 1: .*{wanted}"
    eventually(lambda: re.search(told, swarm.output()), 60, f"{told} in the log:\n{swarm.output()}")
    assert "Traceback" in swarm.output()
    assert "lifespan.py" not in swarm.output(), "the traceback has frames of our own"
    if fault == "enter":
        # Counted as a crash: it is started again, later and later, and says why.
        eventually(lambda: swarm.nodes()[0].restarts >= 2, 60, "two restarts")
        assert any(re.search(wanted, node.reason or "") for node in swarm.nodes())


def test_a_lifespan_that_fails_in_one_process_is_one_sentence_and_exit_1(hooked: Any) -> None:
    server = hooked("server", FAULT="enter")
    assert server.popen.wait(60) == 1, server.output()
    assert re.search(rf"^swarm-cli: the lifespan resources \({FILE}:\d+\) failed at its start", server.output(), re.M)


def test_a_lifespan_that_hangs_is_judged_by_boot_timeout(hooked: Any, eventually: Any) -> None:
    swarm = hooked("swarm", "--nodes", "1", "--boot-timeout", "2", "--stack-dump-timeout", "1", FAULT="hang")
    eventually(lambda: "boot timeout" in swarm.output() and "hooked.py" in swarm.output(), 60, "the stacks of the boot")
    swarm.popen.send_signal(signal.SIGTERM)
    swarm.popen.wait(75)


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGTERM, 0, ""), (signal.SIGINT, 130, "interrupted while the application warmed")],
)
@pytest.mark.parametrize("command", ["swarm", "server"])
def test_a_signal_ends_a_warmup(
    hooked: Any, command: str, number: signal.Signals, code: int, says: str, eventually: Any
) -> None:
    process = hooked(command, FAULT="slow-warmup")
    eventually(lambda: process.ledger.lines("warmup"), 60, "the warm-up")
    process.popen.send_signal(number)
    assert process.popen.wait(60) == code, process.output()
    assert says in process.output()
    assert "Traceback" not in process.output()


def test_probes_of_one_process_answer_while_it_warms_up(hooked: Any, eventually: Any, free_port: int) -> None:
    process = hooked("server", "--probe", str(free_port), FAULT="slow-warmup")
    eventually(lambda: process.ledger.lines("warmup"), 60, "the warm-up")

    def answer(path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{free_port}{path}", timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert answer("/livez") == 200
    assert answer("/readyz") == 503
