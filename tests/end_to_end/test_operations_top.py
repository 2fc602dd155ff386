"""`swarm-cli top` in a pseudo-terminal, as its user sees it: sizes, resizing, keys, the terminal left as it was."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer.testing import Record, produce
from tests.end_to_end.pseudo_terminal import Terminal

APP = "tests.end_to_end.apps.strict_numbers:app"
PARTITIONS = 6


@pytest.fixture
def swarm(
    embedded_broker: Any, start_swarm: Any, point_at: Callable[[Any], list[str]], topic_name: Callable[..., str],
    tmp_path: Path,
) -> Any:  # fmt: skip
    """Two nodes that have numbers to read."""
    topic = topic_name("numbers")
    embedded_broker.create_topic(topic, PARTITIONS)
    swarm = start_swarm(
        "swarm", APP, "--nodes", "2", *point_at(embedded_broker), "--node-restart-delay", "0.5",
        TOPIC=topic, GROUP=topic_name("readers"), LEDGER=str(tmp_path / "ledger"),
    )  # fmt: skip
    swarm.running(2)
    swarm.send = lambda number: produce(
        embedded_broker.bootstrap, topic, [Record(b"%d" % one, partition=one % PARTITIONS) for one in range(number)]
    )
    return swarm


@pytest.fixture
def terminal(swarm: Any) -> Iterator[Callable[..., Terminal]]:
    """Start `swarm-cli top` on the swarm, in a terminal of a size."""
    opened: list[Terminal] = []

    def start(columns: int, lines: int, **environment: str) -> Terminal:
        opened.append(
            Terminal(columns, lines, "top", "--interval", "0.3", "--control", str(swarm.control), **environment)
        )
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50)])
def test_it_shows_the_swarm_at_work(swarm: Any, terminal: Callable[..., Terminal], columns: int, lines: int) -> None:
    shown = terminal(columns, lines)
    shown.shows(rf"^strict-numbers  pid {swarm.popen.pid}  running  2/2 nodes  up ")
    shown.shows(r"^NODE STATE +PID .*CPU +USS MB +PSS MB.*MSG/S +LAG +FLIGHT.*RESTARTS")
    swarm.send(400)
    shown.shows(r"^CPU \d+%  USS [\d.]+ MB  PSS [\d.]+ MB  [1-9][\d.,]* msg/s  lag [\d,-]+ ")
    assert shown.shows(r"q quit$").end() == len(shown.text())
    for node in (0, 1):
        shown.shows(rf"^ +{node} running +\d+ ")
    assert ("RSS MB" in shown.text()) == ("REMARK" in shown.text()) == (columns == 200)
    shown.press("q")
    assert shown.ended() == 0
    assert shown.restored()


def test_a_resize_is_followed_at_once(terminal: Callable[..., Terminal]) -> None:
    shown = terminal(80, 24)
    shown.shows(r"^ +1 running")
    for columns, lines in ((200, 50), (80, 24), (40, 10), (120, 30)):
        shown.resize(columns, lines)
        if columns >= 120:
            shown.shows(r"^NODE STATE .*REMARK$")
        else:
            shown.shows_not("REMARK")
        shown.shows(r"^ +1 running")
        # The keys are on the last line of the new size, and no line of the old picture is left anywhere.
        shown.shows(r"^↑↓ select.*\Z")
        assert len(re.findall(r"^NODE STATE", shown.text(), re.MULTILINE)) == 1
        assert len(re.findall(r"↑↓ select", shown.text())) == 1
    shown.press("q")
    assert shown.ended() == 0


def test_keys_restart_trace_quiet_and_scale(swarm: Any, terminal: Callable[..., Terminal]) -> None:
    shown = terminal(80, 40)
    old = shown.shows(r"^ +1 running +(\d+) ")[1]
    shown.press("\x1b[B", "r")
    shown.shows(r"^restart node 1\? y/n$")
    shown.press("n")
    shown.shows("cancelled")
    shown.press("r", "y")
    shown.shows(r"rolling restart of node 1")
    new = shown.shows(rf"^ +1 running +(?!{old}\b)(\d+) .* 1$")[1]
    assert {node.id: str(node.pid) for node in swarm.nodes()}[1] == new
    shown.shows(r"before: .*swarm-cli top, by")

    shown.press("t")
    shown.shows(r"^stacks of node 1, lines 1 to ")
    shown.shows(r"swarm_consumer")
    shown.press("q")
    shown.shows(r"^NODE STATE")

    shown.press("z")
    shown.shows(r"^quiet node 1\? y/n$")
    shown.press("y")
    shown.shows(r"^ +1 quiet ")
    assert [node.statistics.state for node in swarm.nodes()] == ["running", "quiet"]

    shown.press("+", "y")
    shown.shows(r"^ +2 running ")
    shown.press("-")
    shown.shows(r"^scale to 2 nodes\? y/n$")
    shown.press("y")
    shown.shows_not(r"^ +2 ")
    shown.press("q")
    assert shown.ended() == 0
    assert shown.restored()


def test_a_killed_node_is_seen_with_its_reason_and_its_successor(swarm: Any, terminal: Callable[..., Terminal]) -> None:
    shown = terminal(200, 30)
    pid = int(shown.shows(r"^ +0 running +(\d+) ")[1])
    os.kill(pid, signal.SIGKILL)
    shown.shows(rf"node 0 \(pid {pid}, generation 1\) ended after .*SIGKILL")
    shown.shows(rf"^ +0 running +(?!{pid}\b)\d+ .* 1  before: .*SIGKILL")


def test_it_ends_with_the_swarm_and_says_how(swarm: Any, terminal: Callable[..., Terminal]) -> None:
    shown = terminal(80, 24)
    shown.shows(r"^ +1 running")
    swarm.popen.terminate()
    assert shown.ended(60) == 0
    assert shown.restored()
    assert "stopped with exit code 0" in shown.raw[shown.raw.rindex(b"\x1b[?1049l") :].decode()
    assert swarm.popen.wait(30) == 0


def test_a_supervisor_that_was_killed_is_an_error(swarm: Any, terminal: Callable[..., Terminal]) -> None:
    shown = terminal(80, 24)
    shown.shows(r"^ +1 running")
    swarm.popen.kill()
    assert shown.ended(60) == 1
    assert shown.restored()
    assert "the swarm has ended without giving a reason" in shown.raw.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(terminal: Callable[..., Terminal], number: signal.Signals) -> None:
    shown = terminal(80, 24)
    shown.shows(r"^ +1 running")
    shown.popen.send_signal(number)
    assert shown.ended() == 0
    assert shown.restored()


def test_no_color_is_respected(terminal: Callable[..., Terminal]) -> None:
    colours = re.compile(rb"\x1b\[[\d;]*3\d[\d;]*m")
    plain, coloured = terminal(80, 24, NO_COLOR="1"), terminal(80, 24)
    for shown in (plain, coloured):
        shown.shows(r"^ +1 running")
    assert not colours.search(plain.raw)
    assert colours.search(coloured.raw)


def test_the_status_table_fits_a_narrow_terminal(swarm: Any) -> None:
    for columns in (80, 200):
        shown = Terminal(columns, 40, "status", "--control", str(swarm.control))
        try:
            assert shown.ended() == 0
            shown.shows(r"^strict-numbers \(pid")
            titles = shown.shows(r"^NODE +STATE +PID .*$")[0].split()
            assert {"RESTARTS", "MESSAGES", "LAG"} <= set(titles)
            assert ("BEAT" in titles) == (columns == 200)
            for node in swarm.nodes():
                shown.shows(rf"^ +{node.id}  (running|starting) +{node.pid}  ")
        finally:
            shown.close()
