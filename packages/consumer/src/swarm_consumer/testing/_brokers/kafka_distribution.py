"""Where the libraries of a real Kafka broker come from: Maven, once, into a cache outside the source tree."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from swarm_consumer.testing.errors import KafkaUnavailable

KAFKA_VERSION = "4.1.1"
JAVA_VERSION = 17  # the lowest that a Kafka 4 broker runs on (KIP-1013)
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
RESOLVE_TIMEOUT_S = 300.0
ERROR_TAIL_CHARACTERS = 1500


def find_program(name: str) -> str:
    """Return the path of a program on PATH (java also in JAVA_HOME); raises KafkaUnavailable when there is none."""
    home = os.environ.get("JAVA_HOME")
    if name == "java" and home and (found := shutil.which(name, path=os.path.join(home, "bin"))):
        return found
    if found := shutil.which(name):
        return found
    need = f"Java {JAVA_VERSION} or newer" if name == "java" else "Maven"
    raise KafkaUnavailable(
        f"A real Kafka broker needs {need}, and there is no {name!r} on PATH; install it, or set "
        "KAFKA_BOOTSTRAP_SERVERS to a running cluster."
    )


def cache_folder(version: str = KAFKA_VERSION) -> Path:
    """Return the folder that holds, or will hold, this version's libraries."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "swarm" / "kafka" / version


def resolve(version: str = KAFKA_VERSION, timeout_s: float = RESOLVE_TIMEOUT_S) -> Path:
    """Return the folder with the broker's jars, fetched with Maven when it is not there yet.

    Two processes may ask at once: one fetches and the other waits. The folder appears whole or not at all. Raises
    KafkaUnavailable when Maven is missing or fails within timeout_s seconds.
    """
    folder = cache_folder(version)
    if folder.is_dir():
        return folder
    maven = find_program("mvn")
    folder.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with _locked(folder.parent / f".{version}.lock", deadline):
        if folder.is_dir():  # the other process has fetched it
            return folder
        with tempfile.TemporaryDirectory(prefix=f".{version}-", dir=folder.parent) as temporary:
            _copy_dependencies(maven, version, Path(temporary), deadline)
            (Path(temporary) / "lib").rename(folder)
    return folder


def _copy_dependencies(maven: str, version: str, folder: Path, deadline: float) -> None:
    # A copy of the pom, because Maven may write next to it.
    shutil.copy(Path(__file__).with_name("kafka-pom.xml"), folder / "pom.xml")
    command = [maven, "--batch-mode", "--quiet", "--file", str(folder / "pom.xml"), COPY_DEPENDENCIES]
    command += [f"-Dkafka.version={version}", "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}"]
    timeout_s = max(1.0, deadline - time.monotonic())
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise KafkaUnavailable(f"Maven did not fetch Kafka {version} within {timeout_s:.0f} s.") from None
    if done.returncode != 0 or not any((folder / "lib").glob("kafka_2.13-*.jar")):
        output = (done.stdout + done.stderr).strip()[-ERROR_TAIL_CHARACTERS:]
        raise KafkaUnavailable(f"Maven could not fetch Kafka {version} (exit code {done.returncode}): {output}")


@contextlib.contextmanager
def _locked(path: Path, deadline: float) -> Iterator[None]:
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise KafkaUnavailable(f"Another process holds {path} and does not finish: end it.") from None
                time.sleep(0.1)  # flock(2) has no timeout of its own
        yield
