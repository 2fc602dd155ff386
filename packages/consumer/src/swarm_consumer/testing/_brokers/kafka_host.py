"""The warden of a real Kafka broker: it keeps the data folder, starts Java and obeys its owner.

`kafka_broker.py` is the owner's view. Started as ``python -m swarm_consumer.testing._brokers.kafka_host OWNER_PID``.
It is a separate process because it must outlive the owner for a moment to kill Java and remove the data,
even if the owner was killed.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from swarm_consumer.testing._brokers.host_channel import PR_SET_PDEATHSIG, Channel, OwnerGone
from swarm_consumer.testing.errors import BrokerError

FOLDER_PREFIX = "swarm-kafka-"
IN_USE = "in-use"
HOST = "127.0.0.1"
FORMAT_TOOL = "kafka.tools.StorageTool"
SERVER = "kafka.Kafka"
# One small broker that starts fast: no second compiler tier, no parallel collector (measured: 3 s to ready).
JVM_OPTIONS = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Djava.net.preferIPv4Stack=true",
)
POLL_INTERVAL_S = 0.05  # between two questions "do you answer?"; nothing announces that a broker is ready
ANSWER_TIMEOUT_S = 1.0
FORMAT_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
LOG_TAIL_CHARACTERS = 3000
METADATA, METADATA_VERSION = 3, 1  # https://kafka.apache.org/protocol#The_Messages_Metadata


def _die_with_parent() -> None:
    # Runs between fork and exec, and the setting survives exec (prctl(2)). This process has one thread, so that
    # "the signal comes when the forking thread ends" means: when this process ends.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def make_folder() -> tuple[Path, IO[bytes]]:
    """Make a folder for a broker's data, with a locked file in it that marks it as in use."""
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    mark = (folder / "new").open("wb")
    fcntl.flock(mark, fcntl.LOCK_EX)
    (folder / "new").rename(folder / IN_USE)  # it appears under its name only once it is locked
    return folder, mark


def remove_abandoned_folders() -> None:
    """Remove the data of brokers whose warden was killed: their lock is free."""
    for mark in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*/{IN_USE}"):
        with contextlib.suppress(OSError), mark.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(mark.parent, ignore_errors=True)


def answers(port: int) -> bool:
    """Whether the broker on this port answers a Metadata request and names itself as a broker that serves."""
    # int16 ApiKey, int16 ApiVersion, int32 CorrelationId, string ClientId, then an array of 0 topics
    client = b"swarm-testing"
    request = struct.pack(">hhih", METADATA, METADATA_VERSION, 1, len(client)) + client + struct.pack(">i", 0)
    try:
        with socket.create_connection((HOST, port), ANSWER_TIMEOUT_S) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as stream:
                (size,) = struct.unpack(">i", stream.read(4))
                response = stream.read(size)
    except (OSError, struct.error):
        return False
    (count,) = struct.unpack_from(">i", response, 4)  # after the int32 CorrelationId: the array of brokers
    return bool(count > 0)


class KafkaHost:
    """Keeps one broker: its folder, its ports and its Java process."""

    def __init__(self, wait: Callable[[float], object]) -> None:
        self._wait = wait
        self._folder: Path | None = None
        self._mark: IO[bytes] | None = None
        self._java: subprocess.Popen[bytes] | None = None
        self._command: list[str] = []
        self._port = 0
        self._properties: dict[str, str] = {}

    def handle(self, command: str, arguments: dict[str, Any]) -> object:
        """Carry out one request of the owner."""
        if command == "start":
            return self._start(**arguments)
        if command == "kill":
            self.kill_broker()
            return None
        if command == "restart":
            self.stop_broker()
            return self._run(arguments["timeout_s"])
        if command == "status":
            return {"alive": self._java is not None and self._java.poll() is None, "pid": self._java and self._java.pid}
        raise BrokerError(f"A Kafka host has no command {command!r}.")

    def _start(
        self, java: str, libraries: str, port: int, properties: Mapping[str, str], timeout_s: float
    ) -> dict[str, Any]:
        remove_abandoned_folders()
        self._folder, self._mark = make_folder()
        self._command = [java, *JVM_OPTIONS, "-cp", f"{libraries}/*"]
        with contextlib.ExitStack() as stack:
            self._port, controller_port = (_free_port(stack, wanted) for wanted in (port, 0))
        self._properties = {
            **properties,
            "node.id": "1",
            "process.roles": "broker,controller",
            "controller.quorum.voters": f"1@{HOST}:{controller_port}",
            "listeners": f"PLAINTEXT://{HOST}:{self._port},CONTROLLER://{HOST}:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self._port}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._folder / "data"),
        }
        text = "".join(f"{key}={value}\n" for key, value in self._properties.items())
        (self._folder / "server.properties").write_text(text)
        self._format()
        return self._run(timeout_s)

    def _format(self) -> None:
        assert self._folder is not None
        # Kafka's own text form of an id is URL-safe base64; one that begins with "-" would be read as an option.
        cluster_id = "-"
        while cluster_id.startswith("-"):
            cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        arguments = ["format", "--cluster-id", cluster_id, "--config", str(self._folder / "server.properties")]
        with self._log().open("ab") as log:
            self._java = self._spawn([*self._command, FORMAT_TOOL, *arguments], log)
        self._await_exit(self._java, FORMAT_TIMEOUT_S)
        if self._java.poll() != 0:
            raise BrokerError(f"Kafka could not format its data folder:\n{self._log_tail()}")

    def _run(self, timeout_s: float) -> dict[str, Any]:
        assert self._folder is not None
        deadline = time.monotonic() + timeout_s
        with self._log().open("ab") as log:
            self._java = self._spawn([*self._command, SERVER, str(self._folder / "server.properties")], log)
        while not answers(self._port):
            if self._java.poll() is not None:
                raise BrokerError(f"Kafka ended with exit code {self._java.returncode}:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"Kafka did not answer on port {self._port} within {timeout_s:g} s:\n{self._log_tail()}"
                )
            self._wait(POLL_INTERVAL_S)
        return {"bootstrap": f"{HOST}:{self._port}", "pid": self._java.pid, "folder": str(self._folder)}

    def _spawn(self, command: list[str], log: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_parent,  # safe: this process is single-threaded
            cwd=self._folder,
        )

    def _log(self) -> Path:
        assert self._folder is not None
        return self._folder / "kafka.log"

    def _log_tail(self) -> str:
        return self._log().read_text(errors="replace")[-LOG_TAIL_CHARACTERS:].strip()

    def kill_broker(self) -> None:
        """End Java with SIGKILL; its data stays."""
        if self._java is not None:
            self._java.kill()  # nothing happens when it has been reaped
            self._java.wait()

    def stop_broker(self) -> None:
        """End Java with SIGTERM, an orderly shutdown; after a while with SIGKILL."""
        if self._java is None or self._java.poll() is not None:
            return
        self._java.terminate()
        self._await_exit(self._java, STOP_TIMEOUT_S)
        self.kill_broker()

    def _await_exit(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        # Not process.wait(): the owner may go meanwhile, and this process must notice.
        deadline = time.monotonic() + timeout_s
        while process.poll() is None and time.monotonic() < deadline:
            self._wait(POLL_INTERVAL_S)

    def clean_up(self) -> None:
        """Kill Java and remove the data: this is the end, so that an orderly shutdown would save nothing."""
        self.kill_broker()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _free_port(stack: contextlib.ExitStack, wanted: int) -> int:
    holder = stack.enter_context(socket.socket())  # held until all ports are known, so that they differ
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind((HOST, wanted))
    except OSError:
        raise BrokerError(f"Port {wanted} on {HOST} is in use by another process; choose another, or 0.") from None
    port: int = holder.getsockname()[1]
    return port


def main() -> None:
    """Serve the owner whose process id is the first argument until it ends."""
    channel = Channel(int(sys.argv[1]))
    host = KafkaHost(channel.wait)
    try:
        channel.serve(host.handle)
    except OwnerGone:
        host.clean_up()
        os._exit(0)


if __name__ == "__main__":
    main()
