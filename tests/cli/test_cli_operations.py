"""The commands on a running swarm, each with its options: a supervisor of plain work, no Kafka."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarm_supervisor import ControlClient, ControlError, Snapshot

WORK = """
import os, sys, time
from swarm_health import NodeStatistics
from swarm_supervisor import Supervisor

drain_s = float(os.environ.get("DRAIN_S", "0"))

def work(node):
    turns = 0
    while not node.stopping.wait(timeout=0.05):
        turns += 1
        node.healthy()
        state = "running" if not node.quieting.is_set() else "quieting" if drain_s else "quiet"
        node.report(NodeStatistics(state=state, messages=turns, cpu_s=time.process_time()))
    time.sleep(drain_s)
    return 0

sys.exit(Supervisor(work, nodes=2, name=sys.argv[2], control_socket=sys.argv[1], node_restart_delay=0.2).run())
"""


class PlainSwarm:
    """A supervisor in a process of its own, with its socket where `swarm-cli swarm` would put it."""

    def __init__(self, runtime: Path, name: str = "plain", drain_s: float = 0.0) -> None:
        self.runtime = runtime
        self.name = name
        (runtime / "swarm").mkdir(mode=0o700, exist_ok=True)
        starter = f"import os, sys; sys.argv[1] = sys.argv[1] % os.getpid()\n{WORK}"
        self.log = runtime / f"{name}.log"
        with self.log.open("ab") as stream:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", starter, str(runtime / "swarm" / "%d.sock"), name],
                env=os.environ | {"DRAIN_S": str(drain_s)}, stdout=stream, stderr=stream,
            )  # fmt: skip
        self.pid = self.popen.pid
        self.control = runtime / "swarm" / f"{self.pid}.sock"

    def status(self) -> Snapshot | None:
        assert self.popen.poll() is None, self.log.read_text()
        try:
            with ControlClient(self.control) as client:
                return client.status()
        except ControlError:
            return None

    def until(self, condition: Callable[[Snapshot], bool], timeout_s: float = 30.0) -> Snapshot:
        deadline = time.monotonic() + timeout_s
        while (status := self.status()) is None or not condition(status):
            assert time.monotonic() < deadline, f"{status}\n{self.log.read_text()}"
            time.sleep(0.01)  # between two looks at another process; the deadline decides
        return status

    def running(self, nodes: int = 2) -> Snapshot:
        return self.until(lambda status: status.state == "running" and status.running == nodes == len(status.nodes))

    def cli(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return swarm_cli(*arguments, XDG_RUNTIME_DIR=str(self.runtime), **environment)

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(10)


def swarm_cli(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SWARM_")}
    return subprocess.run(
        [sys.executable, "-m", "swarm_cli", *arguments],
        env=kept | environment, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainSwarm]:
    """A swarm for all tests that only look."""
    swarm = PlainSwarm(tmp_path_factory.mktemp("run"))
    try:
        swarm.running()
        yield swarm
    finally:
        swarm.end()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., PlainSwarm]]:
    """Swarms for tests that change them."""
    started: list[PlainSwarm] = []

    def make(name: str = "plain", drain_s: float = 0.0) -> PlainSwarm:
        started.append(PlainSwarm(tmp_path, name, drain_s))
        return started[-1]

    yield make
    for swarm in started:
        swarm.end()


LOOKS: list[tuple[list[str], str]] = [
    (
        ["status"],
        r"plain \(pid {pid}\): running, 2 of 2 nodes healthy, up .*, 0 restarts, [\d,]+ messages .*"
        r"\nNODE +STATE .*\n +0  running",
    ),
    (["status", "--timeout", "20"], "plain"),
    (["status", "--control", "{control}"], "plain"),
    (["status", "--control", "{pid}"], "plain"),
    (["status", "--check", "live"], "^live\n$"),
    (["status", "--check", "ready"], "^ready\n$"),
    (
        ["memory"],
        r"^PROCESS +PID +RSS MB[^\n]*\nsupervisor +{pid} .*\nnode 0 [\s\S]*\nsum .*\nTotal [\d.]+ MB[\s\S]*Estimate\.",
    ),
    (["trace"], r"^node 0 \(pid \d+\): in .* in work\n[\s\S]*\nnode 1 \(pid \d+\): in .* in work\n"),
    (["trace", "1"], r"^node 1 \(pid \d+\): in .* in work\n  .*innermost call first:\n"),
    (["trace", "1", "--all"], r"^node 1 \(pid \d+\)\n[\s\S]*most recent call first[\s\S]*in work\n"),
    (["trace", "1", "--timeout", "20", "--control", "{pid}"], r"^node 1 \(pid \d+\):"),
    (["events", "--all", "--limit", "1"], r"^\d\d:\d\d:\d\d\.\d{{3}} .+\n$"),
    (["events", "--kind", "NodeReported", "--limit", "2"], r"^.* node \d reported .*\n.* node \d reported .*\n$"),
    (["events", "--for", "0.2"], "^$"),
]


@pytest.mark.parametrize(
    ("arguments", "shows"), LOOKS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_look_at_the_swarm_as_text(standing: PlainSwarm, arguments: list[str], shows: str) -> None:
    names = {"pid": standing.pid, "control": standing.control}
    done = standing.cli(*(argument.format(**names) for argument in arguments))
    assert done.returncode == 0, done.stderr
    assert re.search(shows.format(**names), done.stdout), done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_status_as_json_is_the_snapshot(standing: PlainSwarm) -> None:
    shown = json.loads(standing.cli("status", "--json").stdout)
    assert (shown["name"], shown["pid"], shown["state"]) == ("plain", standing.pid, "running")
    assert [node["id"] for node in shown["nodes"]] == [0, 1]
    assert all(node["statistics"]["messages"] > 0 for node in shown["nodes"])


@pytest.mark.parametrize("question", ["live", "ready"])
def test_a_check_as_json(standing: PlainSwarm, question: str) -> None:
    shown = json.loads(standing.cli("status", "--check", question, "--json").stdout)
    assert (shown["check"], shown["ok"], shown["reasons"], shown["pid"]) == (question, True, [], standing.pid)


def test_memory_as_json_adds_up(standing: PlainSwarm) -> None:
    shown = json.loads(standing.cli("memory", "--json").stdout)
    processes = shown["processes"]
    assert [(one["role"], one["node"]) for one in processes] == [("supervisor", None), ("node", 0), ("node", 1)]
    for one in processes:
        assert 0 < one["uss_mb"] <= one["pss_mb"] <= one["rss_mb"]
        assert one["shared"] == pytest.approx(1 - one["uss_mb"] / one["rss_mb"])
    assert shown["total_mb"] == pytest.approx(sum(one["pss_mb"] for one in processes))
    assert shown["shared_mb"] == pytest.approx(shown["total_mb"] - shown["uss_mb"])
    assert shown["saved_mb"] == pytest.approx(shown["separate_mb"] - shown["total_mb"])
    assert (shown["basis"], shown["fresh_process_mb"]) == ("estimate", None)


def test_memory_measures_a_fresh_process(standing: PlainSwarm, tmp_path: Path) -> None:
    (tmp_path / "heavy_app.py").write_text(
        "from swarm_consumer import App\napp = App('heavy')\nbulk = bytes(40) * 2**20\n"
    )
    at = {"PYTHONPATH": str(tmp_path)}
    shown = json.loads(standing.cli("memory", "--measure", "heavy_app:app", "--json", **at).stdout)
    assert shown["basis"] == "measured"
    assert 40 < shown["fresh_process_mb"] < 120
    assert shown["separate_mb"] > 2 * shown["fresh_process_mb"]
    text = standing.cli("memory", "--measure", "heavy_app:app", **at).stdout
    assert "Measured: a fresh process with the application uses" in text
    done = standing.cli("memory", "--measure", "heavy_ap:app", **at)
    assert done.returncode == 1
    assert "there is no module 'heavy_ap'" in done.stderr
    assert "could not load heavy_ap:app" in done.stderr


def test_traces_as_json(standing: PlainSwarm) -> None:
    shown = json.loads(standing.cli("trace", "--json").stdout)
    assert [node["node"] for node in shown["nodes"]] == [0, 1]
    assert all("in work" in node["stacks"] and node["pid"] for node in shown["nodes"])
    assert shown["missing"] == []


def test_events_as_json_keep_their_fields_and_tell_the_time(standing: PlainSwarm) -> None:
    lines = standing.cli("events", "--json", "--kind", "NodeReported", "--limit", "3").stdout.splitlines()
    assert len(lines) == 3
    for event in map(json.loads, lines):
        assert event["event"] == "NodeReported"
        assert event["level"] == "debug"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"])
        assert {"node_id", "pid", "generation", "at", "statistics"} <= event.keys()
        assert event["line"].startswith(f"node {event['node_id']} reported")


@pytest.mark.parametrize(
    ("command", "name", "value", "shows"),
    [
        (["status"], "SWARM_CONTROL", "{control}", "NODE"),
        (["status"], "SWARM_JSON", "1", '"name":"plain"'),
        (["status"], "SWARM_CHECK", "ready", "ready\n"),
        (["events", "--all"], "SWARM_LIMIT", "1", "node|idle"),
        (["events"], "SWARM_FOR", "0.1", "^$"),
        (["events", "--limit", "1"], "SWARM_KIND", "NodeReported", "reported"),
        (["events", "--limit", "1"], "SWARM_ALL", "1", "node|idle"),
        (["trace", "0"], "SWARM_TIMEOUT", "20", "node 0"),
    ],
)
def test_each_option_reads_its_variable(
    standing: PlainSwarm, command: list[str], name: str, value: str, shows: str
) -> None:
    done = standing.cli(*command, **{name: value.format(control=standing.control)})
    assert done.returncode == 0, done.stderr
    assert re.search(shows, done.stdout), done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["status", "--check", "happy"], 2, "is not one of"),
        (["status", "--control", "/nowhere/at/all.sock"], 1, "no supervisor answers at /nowhere/at/all.sock"),
        (["status", "--control", "1"], 1, "no supervisor answers"),
        (["status", "--control", "off"], 2, "name a running swarm's socket with --control PATH"),
        (["restart", "7"], 2, "there is no node 7: there are 0, 1."),
        (["restart", "one"], 2, "invalid value for 'NODE'"),  # the rest is typer's, and differs between its versions
        (["trace", "7"], 2, "there is no node 7: there are 0, 1."),
        (["scale", "0"], 2, "invalid value for 'N'"),
        (["scale"], 2, "missing argument"),
        (["events", "--kind", "NodeExit"], 2, "did you mean NodeExited?"),
        (["events", "--kind", "xyz"], 2, "there are AfterFork,"),
        (["events", "--limit", "0"], 2, "invalid value for '--limit'"),
        (["top"], 2, "top needs a terminal"),
        (["top", "--interval", "0"], 2, "invalid value for '--interval'"),
        (["memory", "--control", "/nowhere/at/all.sock"], 1, "no supervisor answers"),
        (["stop", "--timeout", "soon"], 2, "invalid value for '--timeout'"),
    ],
)
def test_a_wrong_request_is_one_sentence(standing: PlainSwarm, arguments: list[str], code: int, says: str) -> None:
    done = standing.cli(*arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert standing.status() is not None


def test_output_into_a_pipe_that_is_closed_early_is_no_error(standing: PlainSwarm) -> None:
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "swarm_cli", "events", "--all", "--control", str(standing.control)],
        stdout=writer, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        os.close(writer)
        assert os.read(reader, 10)
        os.close(reader)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, b"")


def test_ctrl_c_ends_the_events_cleanly(standing: PlainSwarm) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "swarm_cli", "events", "--all", "--control", str(standing.control)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 60)[0]
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, b"")


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_restart_renews_one_node_then_all(start: Callable[..., PlainSwarm], as_json: bool) -> None:
    swarm = start()
    before = swarm.running()
    form = ["--json"] if as_json else []
    done = swarm.cli("restart", "0", *form)
    assert done.returncode == 0, done.stderr
    once = swarm.running()
    assert once.nodes[0].pid != before.nodes[0].pid
    assert once.nodes[1].pid == before.nodes[1].pid
    if as_json:
        assert json.loads(done.stdout) == {"name": "plain", "pid": swarm.pid, "nodes": [0], "done": True}
    else:
        assert "swarm-cli restart, by" in done.stdout
        assert done.stdout.endswith("node 0 restarted\n")
    assert swarm.cli("restart", *form).returncode == 0
    twice = swarm.running()
    assert all(new.pid != old.pid for new, old in zip(twice.nodes, once.nodes, strict=True))


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_scale_up_and_down(start: Callable[..., PlainSwarm], as_json: bool) -> None:
    swarm = start()
    swarm.running()
    for nodes, before in ((4, 2), (1, 4)):
        done = swarm.cli("scale", str(nodes), *(["--json"] if as_json else []))
        assert done.returncode == 0, done.stderr
        now = swarm.status()
        assert now is not None
        assert [node.id for node in now.nodes if node.state == "running"] == list(range(nodes))
        if as_json:
            shown = json.loads(done.stdout)
            assert (shown["before"], shown["nodes"], shown["done"]) == (before, nodes, True)
        else:
            assert done.stdout.endswith(f"plain: {before} → {nodes} nodes\n")


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_quiet_then_stop(start: Callable[..., PlainSwarm], as_json: bool) -> None:
    swarm = start()
    swarm.running()
    form = ["--json"] if as_json else []
    done = swarm.cli("quiet", *form)
    assert done.returncode == 0, done.stderr
    if as_json:
        assert json.loads(done.stdout)["state"] == "quiet"
    else:
        assert done.stdout.endswith("is quiet\n")
    status = swarm.status()
    assert status is not None
    assert status.state == "quiet"
    assert swarm.cli("status", "--check", "live").returncode == 0
    check = swarm.cli("status", "--check", "ready")
    assert check.returncode == 1
    assert "not ready: the swarm is quiet" in check.stdout
    done = swarm.cli("stop", *form)
    assert done.returncode == 0, done.stderr
    if as_json:
        assert json.loads(done.stdout) == {"name": "plain", "pid": swarm.pid, "stopped": True, "exit_code": 0}
    else:
        assert done.stdout.endswith("has stopped with exit code 0\n")
    assert swarm.popen.wait(5) == 0


def test_a_stop_that_ended_with_a_kill_is_no_success(start: Callable[..., PlainSwarm]) -> None:
    """Where the swarm did not say how it ended, `stop` said that it has stopped, and returned 0."""
    swarm = start(drain_s=30.0)
    swarm.running()
    environment = os.environ | {"XDG_RUNTIME_DIR": str(swarm.runtime)}
    command = [sys.executable, "-m", "swarm_cli", "stop", "--control", str(swarm.control)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as stopping:
        assert stopping.stdout is not None
        assert "stopping" in stopping.stdout.readline()
        swarm.popen.kill()
        swarm.popen.wait(30)
        _, complaint = stopping.communicate(timeout=60)
    assert stopping.returncode == 1
    assert f"plain (pid {swarm.pid}) did not stop cleanly" in complaint


SLOW = pytest.mark.parametrize("command", [["quiet"], ["restart", "1"], ["scale", "1"], ["stop"]], ids=" ".join)


@SLOW
def test_no_wait_returns_when_it_has_begun(start: Callable[..., PlainSwarm], command: list[str]) -> None:
    swarm = start(drain_s=15.0)
    swarm.running()
    done = swarm.cli(*command, "--no-wait", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).get("done", False) is False
    assert swarm.popen.poll() is None


@SLOW
def test_what_takes_too_long_is_exit_1_and_goes_on(start: Callable[..., PlainSwarm], command: list[str]) -> None:
    swarm = start(drain_s=15.0)
    swarm.running()
    done = swarm.cli(*command, "--timeout", "0.7")
    assert done.returncode == 1, done.stdout
    assert "not done after 0.7 s" in done.stderr
    assert "--timeout" in done.stderr
    assert swarm.popen.poll() is None


def test_a_stopped_node_is_named_when_it_gives_no_stacks(start: Callable[..., PlainSwarm]) -> None:
    swarm = start()
    node = swarm.running().nodes[0]
    os.kill(node.pid or 0, signal.SIGSTOP)
    try:
        done = swarm.cli("trace", "--timeout", "1")
        assert done.returncode == 1
        assert "from node 0:" in done.stderr
        assert re.search(r"^node 1 \(pid", done.stdout, re.MULTILINE)
    finally:
        os.kill(node.pid or 0, signal.SIGCONT)


def test_events_tell_of_a_killed_node_and_end_with_the_swarm(start: Callable[..., PlainSwarm]) -> None:
    swarm = start()
    node = swarm.running().nodes[0]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "swarm_cli", "events", "--json", "--kind", "NodeExited", "--kind", "Stopped",
         "--kind", "NodeReported", "--control", str(swarm.control)],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "NodeReported"  # it is subscribed
        os.kill(node.pid or 0, signal.SIGKILL)
        exited = next(event for event in map(json.loads, process.stdout) if event["event"] == "NodeExited")
        assert (exited["node_id"], exited["pid"], exited["signal"]) == (0, node.pid, signal.SIGKILL)
        swarm.popen.terminate()
        assert list(map(json.loads, process.stdout))[-1]["event"] == "Stopped"
        assert process.wait(30) == 0
    assert swarm.popen.wait(30) == 0


class TestFinding:
    """Which swarm is meant when none is named."""

    def test_none(self, tmp_path: Path) -> None:
        done = swarm_cli("status", XDG_RUNTIME_DIR=str(tmp_path))
        assert done.returncode == 1
        assert f"looked in {tmp_path / 'swarm'}" in done.stderr
        assert "--control PATH" in done.stderr

    def test_sockets_that_dead_supervisors_left_are_passed_over(self, start: Callable[..., PlainSwarm]) -> None:
        dead, alive = start("dead"), start("alive")
        dead.running()
        alive.running()
        dead.end()
        assert dead.control.exists()
        # A pid that is used again: a living process, whose name is on a socket where nobody listens.
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.bind(str(alive.control.with_name(f"{os.getpid()}.sock")))
        (alive.control.parent / "notes.txt").touch()
        (alive.control.parent / f"{2**70}.sock").touch()
        done = alive.cli("status")
        assert done.returncode == 0, done.stderr
        assert "alive (pid" in done.stdout

    def test_several_are_listed_with_the_way_to_choose(self, start: Callable[..., PlainSwarm]) -> None:
        swarms = [start("orders"), start("refunds")]
        for swarm in swarms:
            swarm.running()
        done = swarms[0].cli("stop")
        assert done.returncode == 2
        for swarm in swarms:
            assert f"{swarm.pid} ({swarm.name})" in done.stderr
            assert swarm.status() is not None
        path = re.search(r"--control (/\S+\.sock)", done.stderr)
        assert path is not None
        assert swarms[0].cli("status", "--control", path[1]).returncode == 0

    def test_a_name_chooses_and_an_unknown_one_is_refused_with_the_nearest(
        self, start: Callable[..., PlainSwarm]
    ) -> None:
        swarms = [start("orders"), start("refunds")]
        for swarm in swarms:
            swarm.running()
        done = swarms[0].cli("status", "--control", "refunds")
        assert (done.returncode, done.stdout.startswith("refunds (pid")) == (0, True), done.stderr
        done = swarms[0].cli("stop", "--control", "refund")
        assert done.returncode == 1
        assert done.stderr.endswith("did you mean refunds?\n")
        assert done.stderr.count("\n") == 1

    def test_one_that_does_not_answer_is_listed_too(self, start: Callable[..., PlainSwarm]) -> None:
        swarm = start()
        swarm.running()
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(swarm.control.with_name(f"{os.getpid()}.sock")))
            silent.listen()
            done = swarm.cli("status")
        assert done.returncode == 2
        assert f"{os.getpid()} (does not answer)" in done.stderr

    @pytest.mark.parametrize("spoil", ["open", "link"])
    def test_a_folder_that_others_can_write_to_is_not_trusted(self, tmp_path: Path, spoil: str) -> None:
        folder = tmp_path / "swarm"
        if spoil == "open":
            folder.mkdir()
            folder.chmod(0o777)
        else:
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            folder.symlink_to(tmp_path / "elsewhere")
        for control in ((), ("--control", "4711"), ("--control", "shop")):
            done = swarm_cli("status", *control, XDG_RUNTIME_DIR=str(tmp_path))
            assert done.returncode == 2
            assert "accessible to other users or not yours" in done.stderr


@pytest.mark.parametrize("command", ["status", "top", "memory", "quiet", "stop", "restart", "scale", "trace", "events"])
def test_help_has_an_example_and_fits_a_screen(command: str) -> None:
    done = swarm_cli(command, "--help", COLUMNS="80")
    assert done.returncode == 0
    assert f"Example: swarm-cli {command}" in done.stdout
    assert len(done.stdout.splitlines()) <= 40


def test_no_help_imports_anything_heavy() -> None:
    probe = (
        "import sys\nfrom swarm_cli.main import program\n"
        "try:\n    program(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'confluent_kafka', 'psutil', 'rich.live', 'swarm_supervisor', 'swarm_liveness', 'msgspec'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
