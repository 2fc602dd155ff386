"""Options: the same in both commands, each also from the environment, each wrong value exit 2 and one sentence."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

APP = """
from swarm_consumer import App
app = App("orders", kafka={"bootstrap.servers": "127.0.0.1:1"})
@app.consume("orders", group="billing")
def orders(messages): ...
@app.consume("refunds", group="refunds")
def refunds(messages): ...
"""


def swarm_cli(*arguments: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "swarm_cli", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "orders_app.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize("command", ["swarm", "server"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--nodes", "0"], "neither a number of nodes"),
        (["--nodes", "many"], "neither a number of nodes"),
        (["--concurrency", "0"], "not a number of threads"),
        (["--memory-metric", "vsz"], "is not one of uss, pss, rss"),
        (["--memory-limit", "0"], "is not a limit"),
        (["--memory-limit", "-5"], "is not a limit"),
        (["--log-level", "loud"], "is not one of debug"),
        (["--drain-timeout", "-1"], "is not a valid amount"),
        (["--drain-timeout", "soon"], "is not a valid amount: give seconds as a number"),
        (["--kafka", "no-equals-sign"], "takes KEY=VALUE"),
        (["--kafka", "enable.auto.offset.store=true"], "enable.auto.offset.store"),
        (["--include-topics", "order"], "did you mean 'orders'?"),
        (["--exclude-topics", "*"], "nothing is left to run"),
        (["--include-consumer-groups", ","], "is empty"),
        (["--polling-ttl", "1"], "liveness_interval"),
        (["--no-such-option"], "no such option"),
        (["--nods", "2"], "--nodes"),
    ],
)
def test_a_wrong_value_is_exit_2_before_anything_starts(
    folder: Path, command: str, arguments: list[str], says: str
) -> None:
    done = swarm_cli(command, "orders_app:app", *arguments, folder=folder)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1, "one sentence"


def test_a_secret_in_a_malformed_property_is_not_repeated(folder: Path) -> None:
    done = swarm_cli("server", "orders_app:app", "--kafka", "=hunter2", folder=folder)
    assert done.returncode == 2
    assert "hunter2" not in done.stderr + done.stdout


def test_each_option_reads_its_environment_variable(folder: Path) -> None:
    done = swarm_cli("swarm", "orders_app:app", folder=folder, SWARM_NODES="none")
    assert done.returncode == 2
    assert "'none' is neither a number of nodes" in done.stderr


def test_contradictory_settings_name_both_and_the_difference(folder: Path) -> None:
    done = swarm_cli("swarm", "orders_app:app", "--shutdown-timeout", "30", "--drain-timeout", "40", folder=folder)
    assert done.returncode == 2
    assert "drain_timeout" in done.stderr
    assert "shutdown_timeout" in done.stderr
    assert "10" in done.stderr


@pytest.mark.parametrize("command", ["swarm", "server"])
def test_no_broker_names_the_address_and_ends_after_the_time_given(folder: Path, command: str) -> None:
    done = swarm_cli(command, "orders_app:app", "--connect-timeout", "0.5", folder=folder)
    assert done.returncode == 1, done.stderr
    assert "127.0.0.1:1" in done.stderr
    assert "--connect-timeout" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_version_import_nothing_heavy(folder: Path) -> None:
    probe = (
        "import sys\nfrom swarm_cli.main import program\n"
        "try:\n    program(['--version'])\nexcept SystemExit: pass\n"
        "print(sorted({'confluent_kafka', 'psutil', 'rich.live', 'swarm_supervisor'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_that_of_the_distribution(folder: Path) -> None:
    done = swarm_cli("--version", folder=folder)
    assert (done.returncode, done.stdout) == (0, f"swarm-cli {metadata.version('swarm-cli')}\n")
