"""--reload runs new code under the old pid; --no-preload keeps the application's code out of the supervisor."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer.testing import await_committed, produce
from swarm_supervisor import ControlClient

SOURCE = """
import os
from swarm_consumer import App
app = App("versions")
imported_by = os.getpid()
@app.consume(os.environ["TOPIC"], group=os.environ["GROUP"])
def handle(messages):
    with open(os.environ["OUTPUT"], "a") as output:
        for message in messages:
            output.write(f"VERSION {os.getpid()} {imported_by}\\n")
"""

HELD = """
with open(os.environ["OUTPUT"], "a") as output:
    output.write("loaded\\n")
@app.consume(os.environ["TOPIC"] + "-held", group=os.environ["GROUP"] + "-held")
def hold(messages):
    with open(os.environ["OUTPUT"], "a") as output:
        output.write("begun\\n")
    open("release").read()
"""
"""A handler that is at work until the pipe `release` has been written to."""
WATCHFILES = """
import signal
PythonFilter = dict
def watch(folder, **options):
    yield set()
    open("change").read()
    yield {(1, f"{folder}/versions.py")}
    open("told", "w").close()
    signal.pause()
"""
"""In place of watchfiles: something changes when the pipe `change` is written to, and `told` says that it was told."""


class Project:
    """A folder with an application, and a swarm or server that runs it."""

    def __init__(self, folder: Path, broker: Any, names: dict[str, str], arguments: list[str]) -> None:
        self.folder, self.broker, self.names, self.arguments = folder, broker, names, arguments
        self.output = folder / "output.txt"
        self.log = folder / "log.txt"
        self.popen: subprocess.Popen[bytes] | None = None
        broker.create_topic(names["TOPIC"], 1)

    def write(self, version: str) -> None:
        # Not in place: a watcher would see a half-written file too.
        (self.folder / "new").write_text(SOURCE.replace("VERSION", version))
        (self.folder / "new").rename(self.folder / "versions.py")

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "swarm_cli", *arguments, *self.arguments,
                 "--kafka", "auto.commit.interval.ms=100", *([] if "--control" in arguments else ["--control", "off"])],
                cwd=self.folder, stdout=log, stderr=log,
                env=os.environ | self.names | {"OUTPUT": str(self.output), "PYTHONDONTWRITEBYTECODE": "1"},
            )  # fmt: skip
        return self.popen

    def handled(self) -> list[list[str]]:
        """(version, pid of the handler, pid of the importer) of the next record."""
        before = len(self.lines())
        produce(self.broker.bootstrap, self.names["TOPIC"], [b"x"])
        try:
            await_committed(self.broker.bootstrap, self.names["GROUP"], self.names["TOPIC"], timeout_s=40)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()}") from error
        return self.lines()[before:]

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.output.read_text().splitlines()] if self.output.exists() else []


@pytest.fixture
def project(tmp_path: Path, embedded_broker: Any, point_at: Any, topic_name: Callable[..., str]) -> Iterator[Project]:
    names = {"TOPIC": topic_name("versions"), "GROUP": topic_name("readers")}
    made = Project(tmp_path, embedded_broker, names, point_at(embedded_broker))
    made.write("one")
    yield made
    if made.popen is not None and made.popen.poll() is None:
        made.popen.send_signal(signal.SIGKILL)
        made.popen.wait(10)


@pytest.mark.parametrize("command", [["swarm", "--nodes", "1"], ["server"]], ids=["swarm", "server"])
def test_a_change_drains_and_runs_the_new_code_under_the_same_pid(
    project: Project, eventually: Any, command: list[str]
) -> None:
    popen = project.start(command[0], "versions:app", "--reload", *command[1:])
    ((version, handler, _),) = project.handled()
    assert version == "one"
    project.write("two")
    eventually(lambda: "versions.py changed" in project.log.read_text(), 30, "the notice of the change")
    # Not before: until its clients are closed the old code may still get the record.
    eventually(lambda: "-> stopped" in project.log.read_text(), 60, "the end of the drain")
    ((version, second, _),) = project.handled()
    assert version == "two"
    assert (second == handler) is (command[0] == "server")
    (project.folder / "versions.py").write_text("def broken(:\n")
    eventually(
        lambda: "waiting for a source file to change" in project.log.read_text(), 60, "the notice of the broken code"
    )
    assert "SyntaxError" in project.log.read_text()
    project.write("three")
    assert [version for version, _, _ in project.handled()] == ["three"]
    assert popen.poll() is None
    popen.send_signal(signal.SIGTERM)
    assert popen.wait(60) == 0


@pytest.mark.parametrize("first", ["signal", "change"])
@pytest.mark.parametrize("command", [["swarm", "--nodes", "1"], ["server"]], ids=["swarm", "server"])
def test_a_signal_ends_it_whatever_changes_during_the_drain(
    project: Project, eventually: Any, command: list[str], first: str
) -> None:
    """It drained, executed itself anew and went on, as if nobody had sent a TERM."""
    project.broker.create_topic(project.names["TOPIC"] + "-held", 1)
    (project.folder / "versions.py").write_text(SOURCE + HELD)
    (project.folder / "watchfiles.py").write_text(WATCHFILES)
    for pipe in ("change", "release"):
        os.mkfifo(project.folder / pipe)
    produce(project.broker.bootstrap, project.names["TOPIC"] + "-held", [b"x"])
    popen = project.start(command[0], "versions:app", "--reload", *command[1:])

    def logged(what: str) -> None:
        eventually(lambda: what in project.log.read_text(), 60, what)

    def change() -> None:
        (project.folder / "change").write_text("x")
        eventually((project.folder / "told").exists, 60, "the notice of the change")

    eventually(lambda: ["begun"] in project.lines(), 60, "a handler at work")
    if first == "signal":
        popen.send_signal(signal.SIGTERM)
        logged("stopping: SIGTERM" if command[0] == "swarm" else "stopping: signal SIGTERM")
        change()
    else:
        change()
        logged("stopping: versions.py changed" if command[0] == "swarm" else "running -> stopping")
        popen.send_signal(signal.SIGTERM)
        if command[0] == "swarm":
            logged("received SIGTERM: stopping already")
    (project.folder / "release").write_text("x")
    assert popen.wait(60) == 0, project.log.read_text()
    assert project.lines().count(["loaded"]) == 1


def test_a_stop_through_the_control_socket_ends_it_during_the_drain(project: Project, eventually: Any) -> None:
    """It drained, executed itself anew and went on, although `swarm-cli stop` had been answered."""
    project.broker.create_topic(project.names["TOPIC"] + "-held", 1)
    (project.folder / "versions.py").write_text(SOURCE + HELD)
    (project.folder / "watchfiles.py").write_text(WATCHFILES)
    for pipe in ("change", "release"):
        os.mkfifo(project.folder / pipe)
    produce(project.broker.bootstrap, project.names["TOPIC"] + "-held", [b"x"])
    path = project.folder / "c.sock"
    popen = project.start("swarm", "versions:app", "--reload", "--nodes", "1", "--control", str(path))
    eventually(lambda: ["begun"] in project.lines(), 60, "a handler at work")
    (project.folder / "change").write_text("x")
    eventually(lambda: "stopping: versions.py changed" in project.log.read_text(), 60, "the drain")
    with ControlClient(path) as client:
        client.stop()
    (project.folder / "release").write_text("x")
    assert popen.wait(60) == 0, project.log.read_text()
    assert project.lines().count(["loaded"]) == 1


def test_a_signal_ends_it_although_the_application_fails_at_its_end(project: Project, eventually: Any) -> None:
    """It waited for a change of the sources then."""
    (project.folder / "versions.py").write_text(
        SOURCE + "@app.lifespan\ndef life(node):\n    yield\n    raise ValueError('at the end')\n"
    )
    popen = project.start("server", "versions:app", "--reload")
    assert project.handled()
    popen.send_signal(signal.SIGTERM)
    assert popen.wait(60) == 1, project.log.read_text()


@pytest.mark.parametrize("preload", [True, False])
def test_no_preload_imports_the_application_in_the_node(project: Project, preload: bool) -> None:
    popen = project.start("swarm", "versions:app", "--nodes", "1", "--preload" if preload else "--no-preload")
    ((_, handler, importer),) = project.handled()
    assert handler != str(popen.pid)
    assert importer == (str(popen.pid) if preload else handler)
    popen.send_signal(signal.SIGTERM)
    assert popen.wait(60) == 0


def test_an_application_that_does_not_load_is_exit_2_also_without_preload(project: Project) -> None:
    (project.folder / "versions.py").write_text("import nothing_like_it\n")
    assert project.start("swarm", "versions:app", "--no-preload").wait(60) == 2
    assert (
        project.log.read_text()
        == "swarm-cli: cannot import 'versions': it needs 'nothing_like_it', which is not installed.\n"
    )
