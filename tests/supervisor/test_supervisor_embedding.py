"""The library in somebody's own program: listeners, readers, timers, snapshots, PID 1, strangers."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

TELL = """
import json
def tell(**what):
    os.write(1, json.dumps({"event": "Told", **what}).encode() + b"\\n")
"""


def test_a_listener_that_raises_is_reported_and_hurts_nobody(start):
    swarm = start(
        TELL
        + """
supervisor = supervise(beat)
@supervisor.on(events.AfterFork)
def bad(event):
    raise KeyError("oops")
@supervisor.on(events.ErrorOccurred)
def worse(event):
    raise RuntimeError("and again")
@supervisor.on(events.AfterFork)
def good(event):
    tell(fork=event.node_id)
@supervisor.on(events.NodeRunning)
def count(event):
    tell(errors=supervisor.snapshot().listener_errors)
sys.exit(supervisor.run())
"""
    )
    swarm.running(1)
    swarm.wait_for("Told", lambda event: event.get("errors") == 2)
    assert swarm.wait_for("Told", lambda event: "fork" in event)["fork"] == 0
    error = swarm.all("ErrorOccurred")[0]
    assert error["where"] == "listener bad of AfterFork"
    assert error["error"] == "KeyError: 'oops'"
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0


def test_node_started_happens_in_the_node_before_the_target(start):
    swarm = start(
        TELL
        + """
def target(node):
    tell(where="target", pid=os.getpid())
    return beat(node)
supervisor = supervise(target)
@supervisor.on(events.NodeStarted)
def connect(event):
    tell(where="listener", pid=os.getpid(), event_pid=event.pid)
sys.exit(supervisor.run())
"""
    )
    node = swarm.running(1)[0]
    listener, target = swarm.all("Told")
    assert (listener["where"], target["where"]) == ("listener", "target")
    assert listener["pid"] == target["pid"] == listener["event_pid"] == node["pid"]


def test_a_listener_in_the_node_that_raises_ends_it_with_its_reason(start):
    swarm = start(
        TELL
        + """
def target(node):
    tell(target=True)
    return beat(node)
supervisor = supervise(target)
@supervisor.on(events.NodeStarted)
def connect(event):
    if event.generation == 1:
        raise OSError("no database")
sys.exit(supervisor.run())
"""
    )
    exited = swarm.wait_for("NodeExited")
    assert exited["code"] == 1
    assert "listener connect raised OSError: no database" in exited["reason"]
    swarm.running(1)  # the next one connects
    assert len(swarm.all("Told")) == 1
    assert "a listener of its start raised OSError" in swarm.stderr


def test_readers_and_timers_join_the_loop(start):
    swarm = start(
        TELL
        + """
import select
supervisor = supervise(beat)
read_fd, write_fd = os.pipe()
def ready(mask):
    tell(what="read", data=os.read(read_fd, 10).decode(), mask=mask == select.EPOLLIN)
    supervisor.call_at(time.monotonic() + 0.01, lambda: tell(what="timer"))
    supervisor.call_at(0.0, lambda: 1 / 0)
    supervisor.call_at(time.monotonic() + 0.02, lambda: tell(what="never")).cancel()
    supervisor.call_at(time.monotonic() + 0.03, stop)
def stop():
    assert supervisor.remove_reader(read_fd) and not supervisor.remove_reader(read_fd)
    supervisor.stop("done")
supervisor.add_reader(read_fd, select.EPOLLIN, ready)      # before run()
try:
    supervisor.call_at(0.0, stop)
except RuntimeError as error:
    tell(what="refused", error=str(error))
@supervisor.on(events.NodeRunning)
def begin(event):
    os.write(write_fd, b"hello")
sys.exit(supervisor.run())
"""
    )
    assert swarm.end() == 0
    told = [event["what"] for event in swarm.all("Told")]
    assert told == ["refused", "read", "timer"]
    assert "ZeroDivisionError" in swarm.all("ErrorOccurred")[0]["error"]
    assert swarm.all("Stopping")[0]["reason"] == "done"


def test_the_snapshot_is_one_typed_value_that_goes_into_json(start):
    swarm = start("""
import msgspec
from swarm_health import NodeStatistics
from swarm_supervisor import Snapshot
def target(node):
    node.report(NodeStatistics(messages=7, rss_mb=12.5))
    return beat(node)
supervisor = supervise(target, nodes=2, name="flights")
def look():
    line = msgspec.json.encode(supervisor.snapshot())
    plain = msgspec.json.decode(line)
    assert msgspec.json.decode(line, type=Snapshot) == msgspec.convert(plain, Snapshot)
    os.write(1, b'{"event": "Told", "snapshot": ' + line + b"}\\n")
@supervisor.on(events.BeforeFork)
def early(event):
    if event.node_id == 0:
        look()
@supervisor.on(events.NodeRunning)
def later(event):
    if supervisor.snapshot().running == 2:
        supervisor.call_at(time.monotonic() + 0.1, look)
        supervisor.call_at(time.monotonic() + 0.2, lambda: supervisor.stop("x"))
sys.exit(supervisor.run())
""")
    assert swarm.end() == 0, swarm.stderr
    first, last = (event["snapshot"] for event in swarm.all("Told"))
    assert (first["state"], first["running"], first["nodes"][0]["state"]) == ("starting", 0, "backing off")
    assert (last["state"], last["name"], last["pid"], last["wanted"]) == ("running", "flights", swarm.pid, 2)
    node = last["nodes"][1]
    assert (node["state"], node["generation"], node["status"], node["statistics"]["messages"]) == ("running", 1, 0, 7)
    assert node["last_report_age_s"] < 1.0


def test_commands_outside_a_run_are_refused(start):
    swarm = start("""
supervisor = supervise(beat)
for call in (supervisor.stop, supervisor.quiet, supervisor.restart, lambda: supervisor.scale(2), supervisor.trace,
             supervisor.snapshot):
    try:
        call()
    except RuntimeError as error:
        assert "not running" in str(error)
    else:
        raise AssertionError(call)
sys.exit(42)
""")
    assert swarm.end() == 42, swarm.stderr


def test_an_error_of_the_supervisor_itself_kills_all_nodes_and_is_raised(start, gone):
    swarm = start("""
supervisor = supervise(beat, nodes=2)
@supervisor.on(events.NodeRunning)
def sabotage(event):
    if event.node_id == 1:
        supervisor._runner._actions.clear()
        os.kill(event.pid, signal.SIGKILL)
sys.exit(supervisor.run())
""")
    assert swarm.end() == 1
    assert "Traceback" in swarm.stderr
    for event in swarm.all("AfterFork"):
        gone(event["pid"], 1.0)


def test_a_target_needs_asyncio_too(start):
    swarm = start("""
import asyncio
async def main(node):
    async def beats():
        while True:
            node.healthy()
            await asyncio.sleep(0.05)
    task = asyncio.create_task(beats())
    await asyncio.gather(node.stopping, node.stopping.wait_async())
    task.cancel()
    return 0
sys.exit(supervise(lambda node: asyncio.run(main(node))).run())
""")
    swarm.running(1)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    assert swarm.all("NodeExited")[0]["code"] == 0


ADOPT = (
    TELL
    + """
import ctypes
def target(node):
    if node.id == 0 and node.generation == 1:
        middle = os.fork()
        if middle == 0:
            if os.fork() == 0:
                tell(grandchild=os.getpid())
                signal.sigtimedwait([signal.SIGALRM], 0.3)
                os._exit(4)      # of all codes one that would mean something
            os._exit(0)
        os.waitpid(middle, 0)
    return beat(node)
import logging
logging.basicConfig(level=logging.DEBUG)
"""
)


def test_a_subreaper_reaps_strangers_and_takes_none_for_a_node(start, gone):
    swarm = start(ADOPT + "sys.exit(supervise(target, nodes=2, subreaper=True).run())")
    grandchild = swarm.wait_for("Told")["grandchild"]
    swarm.running(2)
    gone(grandchild, 10.0)
    os.kill(swarm.all("NodeRunning")[0]["pid"], signal.SIGKILL)  # a node's death beside it is still a node's
    exited = swarm.wait_for("NodeExited")
    assert exited["signal"] == 9
    swarm.running(3)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    assert f"reaped process {grandchild}" in swarm.stderr
    assert grandchild not in [event["pid"] for event in swarm.all("NodeExited")]


def can_unshare():
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="no PID namespace can be made here")
def test_runs_as_pid_1(preamble, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        preamble
        + ADOPT
        + """
assert os.getpid() == 1
supervisor = supervise(target, nodes=2)
@supervisor.on(events.NodeRunning)
def running(event):
    if event.generation == 2:
        supervisor.call_at(time.monotonic() + 0.6, lambda: os.kill(1, signal.SIGTERM))
    elif event.node_id == 1:
        os.kill(event.pid, signal.SIGKILL)
sys.exit(supervisor.run())
"""
    )
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--kill-child", sys.executable, str(script)],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "which is not one of our nodes: it exited with code 4" in done.stderr
    assert '"event":"Stopped"' in done.stdout


def test_importing_is_light():
    code = (
        "import sys; import swarm_supervisor;"
        "print(*[name for name in ('asyncio', 'multiprocessing', 'unittest', 'http', 'numpy', 'concurrent.futures')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""
