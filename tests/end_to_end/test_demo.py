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

ROOT = Path(__file__).resolve().parent.parent.parent


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


@pytest.mark.timeout(180)
def test_the_demo_loses_nothing_and_says_so(demo: tuple["subprocess.Popen[bytes]", Path], tmp_path: Path) -> None:
    popen, log = demo
    code = popen.wait(150)
    text = log.read_text()
    assert code == 0, text
    assert re.search(r"records in\W+27,004", text), text
    assert re.search(r"records out\W+27,004", text), text
    assert re.search(r"lost\W+0\b", text), text
    assert re.search(r"wrong\W+0\b", text), text
    assert re.search(r"SIGKILL to node \d+ \(pid \d+\)", text), text
    assert re.search(r"node \d+ is back as pid \d+", text), text
    assert re.search(r"saved\W+\d+ %", text), text
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
