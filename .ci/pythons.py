"""Run the fast tests under every CPython that this machine has, and once with the lowest allowed dependencies.

Usage: pythons.py [--only 3.12|lowest|lowest-client]. The interpreter that runs this script is left out (the whole
suite has run with it), except for the lowest versions. An interpreter is looked for on PATH and among those of pyenv.
Needs uv, which resolves to the lowest versions and makes an environment in a second.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FAST = [
    "tests/pidfd", "tests/health", "tests/supervisor", "tests/liveness", "tests/cli", "tests/consumer",
    "tests/project",
]  # fmt: skip
OLD_CLIENT = ["tests/consumer/test_consumer_runtime.py", "tests/consumer/test_contract_flow.py"]
"""What runs with the lowest client, below the one that the test kit needs to make messages without a broker."""
LEFT_OUT = [
    "tests/consumer/contract", "tests/consumer/histories", "tests/supervisor/test_supervisor_simulation.py",
    "tests/supervisor/test_supervisor_call_outs.py", "tests/consumer/test_crash_histories.py",
    "tests/consumer/test_crash_histories_even.py", "tests/consumer/test_crash_histories_odd.py",
]  # fmt: skip
"""Minutes of processes against brokers, and of millions of steps of pure code: an interpreter that makes a difference
there makes one in what is left, too."""
NOT_FOR_TESTS = ("ruff", "mypy", "types-", "atheris", "matplotlib", "build", "hatchling", "uv")
"""Dependencies of the root's environment that no fast test imports, by the beginnings of their names."""
WORKERS = "3"
"""Of pytest-xdist, as in hatch.toml: most tests wait, and two at a time leave two processors idle for most of it."""
LOWEST_MINOR = 11
TIMEOUT_S = 900.0

FACTS = "import sys, sysconfig; print(sys.implementation.name, sys.version_info[1], sysconfig.get_config_var('Py_GIL_DISABLED') or 0)"  # noqa: E501


@dataclass(frozen=True)
class Job:
    """One environment to test in."""

    name: str
    python: str
    resolution: str
    """uv's word: highest or lowest-direct."""
    tests: list[str] = field(default_factory=lambda: FAST)
    test_kit: bool = True
    """Whether swarm-consumer comes with its extra [testing], which asks for a newer client."""


def interpreters() -> dict[int, str]:
    """Minor version -> path, of every usable CPython 3.11 and later, the first found of each."""
    found: dict[int, str] = {}
    for path in _candidates():
        done = subprocess.run([path, "-c", FACTS], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            continue  # a shim of pyenv for a version that is not active
        implementation, minor, without_gil = done.stdout.split()
        if implementation == "cpython" and without_gil == "0" and int(minor) >= LOWEST_MINOR:
            found.setdefault(int(minor), path)
    return dict(sorted(found.items()))


def _candidates() -> Iterator[str]:
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for folder in [*folders, *sorted(pyenv.glob("versions/3.*/bin"))]:
        for path in sorted(folder.glob("python3.[0-9]*")):
            if path.name.removeprefix("python3.").isdigit() and os.access(path, os.X_OK):
                yield str(path)


def jobs() -> list[Job]:
    """All that is to be run here."""
    own = sys.version_info[1]
    others = [Job(f"3.{minor}", path, "highest") for minor, path in interpreters().items() if minor != own]
    lowest = Job("lowest", sys.executable, "lowest-direct")
    client = Job("lowest-client", sys.executable, "lowest-direct", OLD_CLIENT, test_kit=False)
    return [*others, lowest, client]


def test_tools() -> list[str]:
    """The root environment's dependencies that tests need."""
    with (ROOT / "hatch.toml").open("rb") as file:
        needed = tomllib.load(file)["envs"]["default"]["dependencies"]
    return [one for one in needed if not one.startswith(NOT_FOR_TESTS)]


def prepare(job: Job, folder: Path) -> str:
    """Make the environment; what it has of the packages that matter, in a line."""
    python = str(folder / "bin" / "python")
    members = {path.parent.name: str(path.parent) for path in sorted(ROOT.glob("packages/*/pyproject.toml"))}
    members["liveness"] += "[probes,metrics,otel]"
    members["cli"] += "[reload,evict]"
    members["consumer"] += "[testing,evict]" if job.test_kit else "[evict]"
    editable = [part for path in members.values() for part in ("--editable", path)]
    install = ["uv", "pip", "install", "--quiet", "--python", python]
    for command in (
        ["uv", "venv", "--quiet", "--no-project", "--python", job.python, str(folder)],
        [*install, "--resolution", job.resolution, *editable],
    ):
        subprocess.run(command, cwd=ROOT, check=True, timeout=TIMEOUT_S)
    # A second step, held to what the first one chose: the tests' own tools may be new, what is tested may not.
    chosen = folder / "chosen.txt"
    chosen.write_text("\n".join(line for line in _installed(python) if " @ " not in line and "-e " not in line))
    subprocess.run([*install, "--constraint", str(chosen), *test_tools()], cwd=ROOT, check=True, timeout=TIMEOUT_S)
    wanted = (
        "confluent-kafka", "msgspec", "psutil", "typer", "rich", "h11", "prometheus-client", "opentelemetry-api",
        "kafka-python",
    )  # fmt: skip
    return ", ".join(line for line in _installed(python) if line.startswith(wanted))


def run_tests(job: Job, folder: Path) -> bool:
    """Run the tests in an environment that is made; whether they passed."""
    python = str(folder / "bin" / "python")
    tests = [python, "-m", "pytest", "-q", "-n", WORKERS, "--dist", "loadfile", "-m", "not real_kafka", "-r", "fE"]
    tests += ["-p", "no:cacheprovider", *job.tests, *(part for path in LEFT_OUT for part in ("--ignore", path))]
    environment = {name: value for name, value in os.environ.items() if name != "SWARM_REQUIRE_KAFKA"}
    environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"
    environment["VIRTUAL_ENV"] = str(folder)
    done = subprocess.run(tests, cwd=ROOT, env=environment, check=False, timeout=TIMEOUT_S)
    return done.returncode == 0


def _installed(python: str) -> list[str]:
    """Return what an environment has, as name==version."""
    done = subprocess.run(["uv", "pip", "freeze", "--python", python], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def main() -> int:
    """Run all jobs, or the one that is named; 1 if any failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", help="one of them: 3.12, 3.13, ..., lowest or lowest-client")
    only = parser.parse_args().only
    failed = []
    chosen = [job for job in jobs() if only in (None, job.name)]
    if not chosen:
        parser.error(f"no such job here: {only}; there are {', '.join(job.name for job in jobs())}")
    if only is None and all(job.resolution != "highest" for job in chosen):
        print("no other CPython is here: the tests of other versions are skipped")
    with tempfile.TemporaryDirectory() as root, ThreadPoolExecutor(max_workers=1) as maker:
        # One after the other, ahead of the tests: the next environment is made while they run.
        made = {job.name: maker.submit(prepare, job, Path(root) / job.name) for job in chosen}
        for job in chosen:
            print(f"-- {job.name}: {job.python}, {job.resolution} versions", flush=True)
            print(f"  {made[job.name].result()}", flush=True)
            started = time.monotonic()
            if not run_tests(job, Path(root) / job.name):
                failed.append(job.name)
            print(f"  {job.name}: {time.monotonic() - started:.0f} s", flush=True)
    print(f"failed under: {', '.join(failed)}" if failed else f"passed under: {', '.join(job.name for job in chosen)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
