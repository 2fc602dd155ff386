"""The owner's view of a process that hosts a broker; `host_channel.py` is the process's own side."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarm_consumer.testing.errors import BrokerError, UnsupportedByBroker

STOP_TIMEOUT_S = 20.0
ERROR_OUTPUT_TAIL_BYTES = 2000


class HostProcess:
    """A child process that hosts a broker and answers requests, each within a deadline. Safe to use from any thread.

    The process belongs to the process that created this object; one forked later may only read its attributes.
    """

    def __init__(self, module: str, description: str) -> None:
        self._description = description
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._number = 0
        self._received = bytearray()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        source = str(Path(__file__).parents[3])  # so that the child imports this very package, installed or not
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        # -P: a json.py in the user's working directory must not shadow the standard library's.
        # A process group of its own: a terminal's Ctrl-C reaches the owner, which then stops this process gracefully.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(self._owner)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            process_group=0,
            env={**os.environ, "PYTHONPATH": path},
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        self._check_owner()
        return self._process.poll() is None

    def request(self, command: str, arguments: Mapping[str, object], timeout_s: float) -> Any:
        """Send one request and return its result.

        Raises BrokerError when the process has ended, refuses, or does not answer within timeout_s seconds, and
        UnsupportedByBroker when it can never do it.
        """
        self._check_owner()
        with self._lock:
            self._number += 1
            line = json.dumps({"id": self._number, "command": command, **arguments}).encode() + b"\n"
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(line)
            except (BrokenPipeError, ValueError):
                raise BrokerError(self._ended()) from None
            reply = self._reply(self._number, command, time.monotonic() + timeout_s, timeout_s)
        if "error" in reply:
            raise (UnsupportedByBroker if reply.get("unsupported") else BrokerError)(reply["error"])
        return reply["result"]

    def _reply(self, number: int, command: str, deadline: float, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while True:
            while (end := self._received.find(b"\n")) >= 0:
                reply = json.loads(self._received[:end])
                del self._received[: end + 1]
                if reply["id"] == number:  # an older number answers a request that was given up at its deadline
                    return dict(reply)
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not select.select([descriptor], [], [], remaining)[0]:
                raise BrokerError(
                    f"The {self._description} (pid {self.pid}) did not answer {command!r} within {timeout_s:g} s. "
                    "Kill it and restart it, or give it more time."
                )
            data = os.read(descriptor, 65536)
            if not data:
                raise BrokerError(self._ended())
            self._received += data

    def _ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        status = self._process.returncode
        how = "is closing its pipe" if status is None else f"ended with exit code {status}"
        if status is not None and status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        output = ""
        if not self._errors.closed:  # closed: we killed it ourselves, and it has nothing more to say
            size = self._errors.seek(0, os.SEEK_END)
            self._errors.seek(max(0, size - ERROR_OUTPUT_TAIL_BYTES))
            output = self._errors.read().decode(errors="replace").strip()
        return f"The {self._description} (pid {self.pid}) {how}; restart it to continue." + (
            f"\n{output}" if output else ""
        )

    def kill(self) -> None:
        """End the process with SIGKILL and reap it."""
        self._check_owner()
        self._process.kill()
        self._process.wait()
        self._close()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the process with SIGTERM, after timeout_s seconds with SIGKILL, and reap it; no-op in a forked child."""
        if os.getpid() != self._owner:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise BrokerError(
                f"The {self._description} belongs to process {self._owner}, which started it. "
                f"Process {os.getpid()} was forked from it and may only use the address."
            )
