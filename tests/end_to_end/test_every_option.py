"""Every command with every option, on swarms that run: a table, and a test that nothing is missing in it.

Real processes and the embedded broker. The commands on topics and groups have a table of their own, on real Kafka
(`test_administration_options`); `info` shows every setting of every layer in tests/cli.
"""

import json
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from swarm_cli.exit_codes import ExitCode
from swarm_cli.main import program
from swarm_consumer.testing import Record, produce

ROOT = Path(__file__).resolve().parent.parent.parent
APP = "tests.end_to_end.apps.shop:app"
PARTITIONS = 4
GENERAL = {"--help", "--help-all"}
ELSEWHERE: dict[str, set[str]] = {
    "top": {"--control", "--interval"},  # test_operations_top, in a pseudo-terminal
    "demo": {"--nodes"},  # test_demo
    "init": {"--name", "--force"},  # test_init
    "broker": {"--port", "--brokers", "--topic", "--round-trip-time", "--fault"},  # test_broker_command
    "": {"--version", "--debug", "--install-completion", "--show-completion"},  # tests/cli
}
"""Commands that other tests run, with the options that those give them."""
ADMINISTRATION = {"routes", "lag", "topics", "groups"}
"""Commands with a table, and a test like this one, in test_administration_options."""


def whole_lines(text: str) -> list[str]:
    """The lines of a file that is being written to: the last one may be there in part."""
    return text.split("\n")[:-1]


class Running:
    """A swarm, or a server, that runs with options of the table, and what can be seen of it."""

    def __init__(self, process: Any, ledger: Path, port: int) -> None:
        self.process, self.ledger, self.port = process, ledger, port

    def lines(self) -> list[list[str]]:
        """group, topic, pid, importing pid, thread of each batch handled."""
        return [line.split() for line in whole_lines(self.ledger.read_text())] if self.ledger.exists() else []

    def handled(self) -> set[tuple[str, str]]:
        return {(line[0], line[1]) for line in self.lines()}

    def setting(self, name: str) -> str:
        """A setting in force, as the process says it in its log."""
        (line,) = re.findall(r'effective settings: ([^"\n]*)', self.process.output())
        return dict(word.partition("=")[::2] for word in line.split())[name]

    def records(self) -> list[dict[str, Any]]:
        """Its log, each line of which must be JSON."""
        return [json.loads(line) for line in whole_lines(self.process.output())]

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def shared_mb(self) -> list[int]:
        """The sizes of the first node's anonymous mappings that other processes share, which are of /dev/zero."""
        pid = next((node.pid for node in self.process.nodes() if node.pid), None)
        lines = [] if pid is None else Path(f"/proc/{pid}/maps").read_text().splitlines()
        ranges = [line.split()[0].split("-") for line in lines if "rw-s" in line and "/dev/zero" in line]
        return [(int(end, 16) - int(start, 16)) >> 20 for start, end in ranges]

    def commands(self) -> str:
        """The command lines of the processes of its session."""
        paths = [Path(f"/proc/{pid}/cmdline") for pid, *_ in self.process.left_behind()]
        return "\n".join(path.read_bytes().replace(b"\0", b" ").decode() for path in paths if path.exists())


class Given(NamedTuple):
    """Some options, the commands that run with them (of swarm and server), and what must be seen of them then."""

    options: str
    seen: Callable[[Running], Any]
    commands: tuple[str, ...] = ("swarm", "server")


def in_force(options: str, *, server: bool = False) -> Given:
    """An option with a value that the process must name among its settings."""
    option, _, value = options.partition(" ")
    name = option.removeprefix("--").removeprefix("no-").replace("-", "_")
    wanted = {"": str(not option.startswith("--no-"))}.get(value, value)
    return Given(options, lambda at: at.setting(name) == wanted, ("swarm", "server") if server else ("swarm",))


SWARM = ("swarm",)
FIRST = [
    Given("--nodes 2", lambda at: {node.id for node in at.process.nodes()} == {0, 1}, SWARM),
    Given("--concurrency 2", lambda at: len({line[4] for line in at.lines()}) == 2),
    Given("--preload", lambda at: {line[3] for line in at.lines()} == {str(at.process.popen.pid)}, SWARM),
    Given("--progress-memory off", lambda at: max(at.shared_mb(), default=0) < 10, SWARM),
    Given("--no-reload", lambda at: "source_watch" not in at.commands()),
    in_force("--restart on-failure"), in_force("--on-crash-loop exit"), in_force("--max-unavailable 2"),
    in_force("--max-restarts 7"), in_force("--threads refuse"), in_force("--subreaper"),
    Given("--bootstrap-servers {servers}", lambda at: at.handled()),
    Given("--kafka debug=conf", lambda at: [r for r in at.records() if r["logger"] == "swarm_consumer.librdkafka"]),
    Given("--group-instance-id pod", lambda at: re.search(r"group\.instance\.id = pod_0_", at.process.output()), SWARM),
    Given("--connect-timeout 60", lambda at: at.handled()),
    Given("--include-topics *-eu --exclude-topics *", lambda at: {topic for _, topic in at.handled()} == {"orders-eu"}),
    Given("--include-consumer-groups bill* --exclude-consumer-groups *",
          lambda at: {group.partition("-")[0] for group, _ in at.handled()} == {"billing"}),
    Given("--include-subscription-groups bill* --exclude-subscription-groups *", lambda at: len(at.handled()) == 1),
    in_force("--drain-timeout 20.0", server=True), in_force("--shutdown-timeout 30.0"),
    in_force("--shutdown-grace 5.0"), in_force("--node-restart-delay 1.0"), in_force("--first-restart-delay 0.5"),
    in_force("--restart-delay-max 20.0"),
    in_force("--restart-window 300.0"), in_force("--stable-after 5.0"), in_force("--stack-dump-timeout 1.0"),
    in_force("--boot-timeout 40.0"), in_force("--node-report-timeout 50.0"),
    in_force("--liveness-interval 2.0", server=True), in_force("--statistics-interval 0.5", server=True),
    in_force("--polling-ttl 100.0", server=True), in_force("--consuming-ttl 90.0", server=True),
    in_force("--stability-ttl 200.0", server=True), in_force("--memory-limit 900.0", server=True),
    in_force("--memory-metric pss", server=True),
    Given("--log-level debug", lambda at: [r for r in at.records() if r["level"] == "debug"]),
    Given("--log-format json", lambda at: [r["node"] for r in at.records() if r["logger"] == "shop"
                                           if r["topic"] == "orders-eu"]),
    Given("--probe 127.0.0.1:{port}", lambda at: at.get("/livez")),
    Given("--metrics-detail node", lambda at: 'partition="' not in at.get("/metrics")),
    Given("--control {control}", lambda at: at.process.running(2), SWARM),
]  # fmt: skip
SECOND = [
    Given("--progress-memory auto", lambda at: max(at.shared_mb(), default=0) >= 10, SWARM),
    Given("--nodes 1", lambda at: {node.id for node in at.process.nodes()} == {0}, SWARM),
    Given("--no-preload", lambda at: str(at.process.popen.pid) not in {line[3] for line in at.lines()}, SWARM),
    Given("--reload", lambda at: "source_watch" in at.commands()),
    in_force("--no-subreaper"),
    Given("--bootstrap-servers {servers}", lambda at: at.handled()),
    Given("--membership static", lambda at: re.search(r"static member shop\..*\.0_0_", at.process.output()), SWARM),
    Given("--allow-missing-topics", lambda at: "missing" in at.process.output()),
    Given("--exclude-topics *-us", lambda at: {topic for _, topic in at.handled()} == {"orders-eu", "refunds"}),
    Given("--exclude-consumer-groups audit*", lambda at: len({group for group, _ in at.handled()}) == 1),
    in_force("--memory-share 0.9", server=True),
    Given("--log-level debug", lambda at: " DEBUG " in at.process.output()),
    Given("--log-format text", lambda at: re.search(r"^\d{4}-.* INFO .*(node 0|server) \[\d+\] shop: handled \d",
                                                    at.process.output(), re.MULTILINE)),
    Given("--control {control}", lambda at: at.process.running(1), SWARM),
]  # fmt: skip
REFUSED = [
    ("--bootstrap-servers 127.0.0.1:1 --connect-timeout 0.2", 1, "no broker answers at 127.0.0.1:1"),
    ("--bootstrap-servers {servers} --no-allow-missing-topics", 2, "topic does not exist at {servers}: 'missing'"),
    ("--bootstrap-servers {servers} --exclude-topics missing --kafka no.such=1", 2, "no.such"),
]
"""With the same application: options, exit code, what the one sentence has."""

# What is done on the first swarm, in this order; and what its output must have: a text, or what its JSON must be.
ON_IT: list[tuple[str, Any]] = [
    ("status --control {control}", r"^shop \(pid {pid}\): running, 2 of 2 nodes healthy"),
    ("status --json --timeout 20 --control {control}", lambda told: told["state"] == "running"),
    ("status --check ready --control {control}", r"^ready$"),
    ("status --check live --json --control {control}", lambda told: told["ok"] is True),
    ("memory --control {control}", r"^supervisor +{pid} [\s\S]*Estimate"),
    ("memory --measure {app} --json --control {control}", lambda told: told["basis"] == "measured"),
    ("trace 0 --timeout 30 --control {control}", r"^node 0 \(pid \d+\): (in|no thread)"),
    ("trace 0 --all --control {control}", r"^node 0 \(pid \d+\)\n[\s\S]*in run\n"),
    ("trace --json --control {control}", lambda told: [node["node"] for node in told["nodes"]] == [0, 1]),
    ("events --all --limit 2 --control {control}", r"^(\d\d:\d\d:\d\d.*\n){{2}}$"),
    ("events --json --kind NodeReported --limit 1 --for 60 --control {control}",
     lambda told: told["event"] == "NodeReported"),
    ("restart 1 --timeout 100 --control {control}", r"node 1 restarted$"),
    ("restart --wait --json --control {control}", lambda told: told["nodes"] == [0, 1] and told["done"]),
    ("restart 0 --no-wait --json --control {control}", lambda told: told["nodes"] == [0] and not told["done"]),
    ("scale 3 --wait --timeout 100 --control {control}", r"^shop: 2 → 3 nodes$"),
    ("scale 2 --no-wait --json --control {control}", lambda told: (told["before"], told["nodes"]) == (3, 2)),
    ("quiet --no-wait --json --control {control}", lambda told: told["pid"]),
    ("quiet --wait --timeout 100 --control {control}", r"is quiet$"),
    ("stop --no-wait --json --control {control}", lambda told: told["stopped"] is False),
]  # fmt: skip
ON_THE_OTHER = [("stop --wait --timeout 100 --control {control}", r"has stopped with exit code 0$")]


def words(rows: list[Given], command: str) -> list[str]:
    return [word for row in rows if command in row.commands for word in row.options.split()]


def commands(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of the program with its name, "" for the program itself."""
    command = typer.main.get_command(program) if command is None else command
    yield name, command
    for below, each in getattr(command, "commands", {}).items():
        if not name:
            yield from commands(each, below)


def options(command: Any) -> set[str]:
    """The long names of all options; that which switches off too."""
    names = [name for one in command.params for name in (*one.opts, *one.secondary_opts)]
    return {name for name in names if name.startswith("--")} - GENERAL


def test_the_table_has_every_command_and_every_option() -> None:
    done = [row for row, _ in [*ON_IT, *ON_THE_OTHER]]
    refused = [word for row, *_ in REFUSED for word in row.split()]
    for name, command in commands():
        if name in ADMINISTRATION:
            continue
        if name in ELSEWHERE:
            assert options(command) == ELSEWHERE[name], name
            continue
        if name in ("swarm", "server"):
            used = {*words(FIRST, "swarm"), *words(SECOND, "swarm"), *refused}
        elif name == "info":
            own = {"--json", "--settings", "--figures"}
            used = {*words(FIRST, "swarm"), *words(SECOND, "swarm"), "--no-allow-missing-topics", *own}
        else:
            rows = [row for row in done if row.split()[0] == name]
            assert rows, f"no row has the command {name}"
            used = {word for row in rows for word in row.split()}
            assert "--json" not in options(command) or any("--json" not in row for row in rows), f"{name} as text"
        assert options(command) == {word for word in used if word.startswith("--")}, name


def test_every_exit_code_is_documented_and_in_the_help(swarm_cli: Any) -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text()
    told = " ".join(swarm_cli("--help").stdout.split())
    for code in ExitCode:
        assert re.search(rf"^\| {code} ", page, re.MULTILINE), code
        assert code is ExitCode.ORPHANED or re.search(rf"[:;] {code} ", told), code  # that one is a node's


@pytest.mark.timeout(240)
def test_every_command_does_what_it_says_with_every_option(
    embedded_broker: Any, start_swarm: Any, point_at: Any, eventually: Any, swarm_cli: Any, tmp_path: Path
) -> None:
    topics = ("orders-eu", "orders-us", "refunds")
    for topic in topics:
        embedded_broker.create_topic(topic, PARTITIONS)
        produce(embedded_broker.bootstrap, topic, [Record(b"%d" % n, partition=n % PARTITIONS) for n in range(400)])

    def start(command: str, rows: list[Given], number: int) -> tuple[Running, dict[str, str]]:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        kind = f"{command}-{number}"
        folder = tmp_path / kind
        environment = {
            "LEDGER": str(folder), "TOPICS": " ".join(topics if number == 1 else (*topics, "missing")),
            "GROUPS": f"billing-{kind} audit-{kind}",
        }  # fmt: skip
        control = tmp_path / f"{number}.sock"
        names = {"servers": embedded_broker.bootstrap, "port": str(port), "control": str(control)}
        arguments = [word.format(**names) for word in words(rows, command)]
        process = start_swarm(command, APP, *arguments, **environment)
        process.control = control
        return Running(process, folder, port), environment

    started = [
        (command, rows, *start(command, rows, number))
        for number, rows in ((1, FIRST), (2, SECOND))
        for command in ("swarm", "server")
    ]
    for command, rows, running, _ in started:
        for row in rows:
            if command in row.commands:
                what = f"{row.options!r} to be seen of {command}"
                try:
                    eventually(lambda row=row, running=running: row.seen(running), 60, what)
                except AssertionError as error:
                    raise AssertionError(f"{error}\n{running.process.output()[-6000:]}") from None

    (_, _, first, environment), (_, _, server, _), (_, _, second, other_environment), (_, _, other, _) = started
    for row, code, says in REFUSED:
        for command in ("swarm", "server"):
            arguments = [word.format(servers=embedded_broker.bootstrap) for word in row.split()]
            done = swarm_cli(command, APP, "--control", "off", *arguments, **other_environment)
            assert done.returncode == code, (command, row, done.stderr)
            assert says.format(servers=embedded_broker.bootstrap) in done.stderr, (command, row, done.stderr)

    for rows, at in ((ON_IT, first), (ON_THE_OTHER, second)):
        names = {"pid": at.process.popen.pid, "control": at.process.control, "app": APP}
        for line, says in rows:
            done = swarm_cli(*(word.format(**names) for word in line.split()), **environment)
            assert done.returncode == 0, (line, done.stdout, done.stderr, at.process.output()[-3000:])
            if callable(says):
                assert says(json.loads(done.stdout)), (line, done.stdout)
            else:
                assert re.search(says.format(**names), done.stdout, re.MULTILINE), (line, done.stdout)
    for each in (server, other):
        each.process.popen.terminate()
    for each in (first, second, server, other):
        assert each.process.popen.wait(60) == 0, each.process.output()[-3000:]
        assert each.process.left_behind() == []
