"""init's project as its user has it: from wheels, in an empty environment, it passes its own tests and runs."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer.testing import await_committed, end_offsets

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("pidfd", "health", "supervisor", "consumer", "liveness", "cli")
# Six builds and an installation on a machine that does other things too; about 25 s when it does not.
pytestmark = pytest.mark.timeout(400)


def run(*command: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd, env=_clean() | environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _clean() -> dict[str, str]:
    """The environment without what points at this one's Python."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "SWARM_"))
    }


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has our wheels, what they declare, and pytest."""
    folder = tmp_path_factory.mktemp("environment")
    dist = folder / "dist"
    for package in PACKAGES:
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", dist, ROOT / "packages" / package,
            cwd=folder)  # fmt: skip
    wheels = sorted(dist.glob("*.whl"))
    assert len(wheels) == len(PACKAGES)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check",
        "--no-compile", *wheels, "pytest>=8", cwd=folder)  # fmt: skip
    return python.parent


@pytest.fixture(scope="module")
def project(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project, written by the installed program."""
    folder = tmp_path_factory.mktemp("projects")
    run(environment / "swarm-cli", "init", "order-totals", cwd=folder)
    return folder / "order-totals"


def test_it_passes_its_own_tests(environment: Path, project: Path) -> None:
    assert "2 passed" in run(environment / "python", "-m", "pytest", "-q", "-W", "error", cwd=project)


def test_it_needs_nothing_that_it_does_not_declare(project: Path) -> None:
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {text.partition(">")[0].replace("-", "_") for text in declared}
    imported = {
        line.split()[1].partition(".")[0]
        for path in (project / "order_totals").glob("*.py")
        for line in path.read_text().splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imported - sys.stdlib_module_names <= names


def test_it_is_clean_for_linter_and_type_checker(project: Path) -> None:
    run(sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F,I,UP,B,ANN,D1", "--line-length", "120",
        "--config", "lint.isort.known-first-party=['order_totals']", ".", cwd=project)  # fmt: skip
    run(sys.executable, "-m", "ruff", "format", "--isolated", "--check", "--line-length", "120", ".", cwd=project)
    run(sys.executable, "-m", "mypy", "--strict", "--cache-dir", "/dev/null", "order_totals", "tests", cwd=project)


def test_it_runs_as_its_readme_says(
    environment: Path, project: Path, embedded_broker: Any, eventually: Callable[..., Any]
) -> None:
    for topic in ("orders", "order-totals"):
        embedded_broker.create_topic(topic, 2)
    address = {"KAFKA_BOOTSTRAP_SERVERS": embedded_broker.bootstrap}
    run(environment / "python", "-m", "order_totals.send", cwd=project, **address)
    log = project.parent / "log"
    with log.open("wb") as stream:
        swarm = subprocess.Popen(
            [environment / "swarm-cli", "swarm", "--nodes", "2", "--control", "off",
             "--kafka", "auto.commit.interval.ms=100"],
            cwd=project, env=_clean() | address, stdout=stream, stderr=stream,
        )  # fmt: skip
    try:
        await_committed(embedded_broker.bootstrap, "order_totals-totals", "orders")
        assert sum(end_offsets(embedded_broker.bootstrap, "order-totals").values()) == 1000
        lag = run(environment / "swarm-cli", "lag", cwd=project, **address)
        assert lag.splitlines()[-1].split()[-1] == "0"
        swarm.terminate()
        assert swarm.wait(75) == 0, log.read_text()
    finally:
        if swarm.poll() is None:
            swarm.kill()
            swarm.wait(10)
