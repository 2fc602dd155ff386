"""`hatch run demo`: every record counted, a node killed and replaced; and how it ends when it is interrupted."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarm_pidfd import Pidfd
from tests.end_to_end.pseudo_terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent.parent
LINES = 100
"""So that the whole report is on the screen at once."""


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    log = tmp_path / "demo.log"
    with log.open("wb") as stream:
        popen = subprocess.Popen(
            [sys.executable, "-m", "swarm_cli", "demo", "--nodes", "2"],
            cwd=ROOT, stdout=stream, stderr=stream, env=os.environ | {"TMPDIR": str(tmp_path)},
        )  # fmt: skip
    yield popen, log
    if popen.poll() is None:
        popen.kill()
        popen.wait()


def descendants(pid: int) -> set[int]:
    """All processes below `pid`, as /proc has them now."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {pid}
    while below := {child for child, parent in parents.items() if parent in found} - found:
        found |= below
    return found - {pid}


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(80, LINES, "demo", "--nodes", "2", TMPDIR=str(tmp_path))
    yield terminal
    terminal.close()


@pytest.mark.timeout(240)
def test_the_demo_loses_nothing_and_says_so_on_a_screen_of_any_width(shown: Terminal, tmp_path: Path) -> None:
    def one_picture() -> None:
        # Whatever the width was before, there is one bar, one line a node, and nothing left of another picture.
        shown.shows(r"^ *[1-9][\d,]* / 27,004$|━ [1-9][\d,]* / 27,004")
        for pattern in (r"^A swarm of 2 nodes consumes$", r"/ 27,004", r"^node 0 ", r"^node 1 "):
            assert len(re.findall(pattern, shown.text(), re.MULTILINE)) == 1, shown.text()

    shown.shows("27,004 records produced and acknowledged", 90)
    shown.shows(r"^node 1  running +pid \d+ +[1-9]", 90)
    for columns in (200, 80, 120, 80):
        shown.resize(columns, LINES)
        before = shown.shows(r"([\d,]+) / 27,004")[1]
        shown.shows(rf"(?!{before})\b[\d,]+ / 27,004", 60)
        one_picture()
    killed = shown.shows(r"SIGKILL to node (\d) \(pid (\d+)\)", 90)
    back = shown.shows(rf"node {killed[1]} is back as pid (\d+)", 90)
    assert back[1] != killed[2]
    assert shown.ended(150) == 0
    assert shown.cursor_is_shown()
    text = shown.text()
    for row in (r"records in\W+27,004", r"records out\W+27,004", r"lost\W+0\b", r"wrong\W+0\b", r"saved[^\d-]+\d+ %"):
        assert re.search(row, text), text
    assert "Every record came out, and each equals the output of a single process." in text
    assert re.search(r"^┃ carrier +┃ flights ┃ cancelled ┃.*┃ p90 min ┃$", text, re.MULTILINE), "a column is cut"
    assert not list(tmp_path.glob("swarm-demo-*")), "the demo left its folder behind"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_demo_leaves_no_process(
    demo: tuple["subprocess.Popen[bytes]", Path], eventually: Callable[..., Any], number: signal.Signals
) -> None:
    popen, log = demo
    eventually(
        lambda: re.search(r"[1-9],\d\d\d of 27,004 records\n.*node 0  running", log.read_text()),
        60,
        "the first records out",
    )
    below = descendants(popen.pid)
    assert len(below) >= 4, "broker, supervisor and two nodes"
    handles = []
    for pid in below:
        try:
            handles.append(Pidfd(pid))
        except ProcessLookupError:
            continue
    popen.send_signal(number)
    popen.wait(30)
    if number == signal.SIGINT:
        assert popen.returncode == 130, log.read_text()
        assert "Traceback" not in log.read_text()
    for handle in handles:
        with handle:
            assert handle.wait(30) is not None, f"process {handle.pid} outlived the demo"
