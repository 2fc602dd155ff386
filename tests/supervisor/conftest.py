"""Black-box helpers: a supervisor in a process of its own, whose events come back as lines of JSON."""

import contextlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PREAMBLE = '''
import os, sys, time, signal, threading
from pathlib import Path
from swarm_supervisor import Supervisor, events
from swarm_supervisor.events import encode_event

def beat(node, every=0.05):
    """A target that works until it is told to stop."""
    while True:
        node.healthy()
        if node.stopping.wait(every):
            return 0

def supervise(target, **settings):
    quick = dict(nodes=1, liveness_interval=0.5, node_report_timeout=2.0, boot_timeout=5.0, shutdown_timeout=5.0,
                 shutdown_grace=5.0, node_restart_delay=0.0, restart_delay_max=1.0, stack_dump_timeout=0.3)
    supervisor = Supervisor(target, **{**quick, **settings})
    out = os.dup(1)
    os.set_inheritable(out, False)
    supervisor.subscribe(lambda event: os.write(out, encode_event(event) + b"\\n"))
    return supervisor

def gil_holder():
    """A C call that never returns, does not let go of the GIL (PyDLL) and goes on after every signal."""
    import ctypes
    libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)
'''

NOISE = ("Controlled", "NodeReported")


class Swarm:
    """A supervisor that runs a script, seen from outside."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: Path) -> None:
        self.process = process
        self.pid = process.pid
        self.events: list[dict[str, Any]] = []
        self._stderr = stderr
        self._rest = b""

    @property
    def stderr(self) -> str:
        return self._stderr.read_text()

    def read(self, timeout: float) -> list[dict[str, Any]] | None:
        """Events that come within the time; None at the end."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        if not ready:
            return []
        chunk = os.read(self.process.stdout.fileno(), 65536)
        if not chunk:
            return None
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        new = [json.loads(line) for line in lines if line.startswith(b"{")]
        self.events += new
        return new

    def wait_for(
        self,
        name: str,
        where: Callable[[dict[str, Any]], bool] = lambda event: True,
        timeout: float = 20.0,
        start: int = 0,
    ) -> dict[str, Any]:
        """The first event of a name, from `start` on, for which `where` holds."""
        deadline = time.monotonic() + timeout
        seen = start
        while True:
            for event in self.events[seen:]:
                seen += 1
                if event["event"] == name and where(event):
                    return event
            left = deadline - time.monotonic()
            if left <= 0 or self.read(left) is None:
                happened = [each["event"] for each in self.events if each["event"] not in NOISE]
                raise AssertionError(f"no {name} came; there were {happened}\n{self.stderr}")

    def all(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    def running(self, count: int = 1, timeout: float = 20.0) -> list[dict[str, Any]]:
        """Wait until so many processes have become healthy in all."""
        self.wait_for("NodeRunning", lambda event: len(self.all("NodeRunning")) >= count, timeout)
        return self.all("NodeRunning")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, timeout: float = 20.0) -> int:
        """Wait for the end and return the exit code."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if self.read(left) is None:
                return self.process.wait(max(0.1, deadline - time.monotonic()))
        happened = [each["event"] for each in self.events if each["event"] not in NOISE]
        raise AssertionError(f"it did not end; there were {happened}\n{self.stderr}")


@pytest.fixture
def preamble() -> str:
    """What every script begins with."""
    return PREAMBLE


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Swarm]]:
    """Start a script, with `PREAMBLE` before it, in a process of its own; kill what is left of it at the end."""
    swarms: list[Swarm] = []

    def start_script(script: str, *arguments: str, **popen: Any) -> Swarm:
        path = tmp_path / f"script{len(swarms)}.py"
        path.write_text(PREAMBLE + script)
        stderr = tmp_path / f"stderr{len(swarms)}"
        with stderr.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, str(path), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=tmp_path,
                **popen,
            )
        swarm = Swarm(process, stderr)
        swarms.append(swarm)
        return swarm

    yield start_script
    for swarm in swarms:
        with contextlib.suppress(ProcessLookupError):
            swarm.process.send_signal(signal.SIGKILL)
        swarm.process.wait(10)
        assert swarm.process.stdout is not None
        swarm.process.stdout.close()


def wait_gone(pid: int, timeout: float) -> float:
    """Wait until a process that is not our child has ended; how long that took."""
    began = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            ready, _, _ = select.select([fd], [], [], timeout)
            if not ready:
                raise AssertionError(f"process {pid} is still there after {timeout} s")
        finally:
            os.close(fd)
    return time.monotonic() - began


@pytest.fixture(scope="session")
def simulation() -> ModuleType:
    """The simulated machine of `simulation.py`, as a module."""
    spec = importlib.util.spec_from_file_location("supervisor_simulation", Path(__file__).with_name("simulation.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look it up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def gone() -> Callable[[int, float], float]:
    return wait_gone
