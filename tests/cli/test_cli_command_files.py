"""A command is one file: a new one is in the help, in the completion and on the command line, without another edit."""

from pathlib import Path

import pytest

from tests.cli.source_copy import copy_of_sources, run

PLAIN = '''\
"""`swarm-cli count`: count to a number."""

from typing import Annotated

import typer

from swarm_cli.errors import settled


@settled
def count(last: Annotated[int, typer.Argument(metavar="LAST", help="The last number.")] = 3) -> int:
    """Count to a number.

    Example: swarm-cli count 3
    """
    print(*range(1, last + 1))
    return 0
'''
OF_A_SWARM = '''\
"""`swarm-cli name`: print the name of a running swarm."""

from swarm_cli.operation import Control, operation


@operation
def name(control: Control = None) -> int:
    """Print the name of a running swarm.

    Example: swarm-cli name
    """
    from swarm_cli.following import Following
    from swarm_cli.running_swarms import chosen_path

    with Following(chosen_path(control), print) as following:
        print(following.client.status().name)
    return 0
'''
WITH_SETTINGS = '''\
"""`swarm-cli servers APP`: print the brokers."""

from swarm_cli.configuration import Configuration
from swarm_cli.options import ROUTES

SETTINGS = ROUTES


def servers(configuration: Configuration) -> int:
    """Print the brokers.

    Example: swarm-cli servers my_app:app
    """
    print(configuration.settings.bootstrap_servers)
    return 0
'''


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = copy_of_sources(tmp_path_factory.mktemp("command"))
    folder = copy / "packages" / "cli" / "src" / "swarm_cli" / "commands"
    for name, source in (("count", PLAIN), ("name", OF_A_SWARM), ("servers", WITH_SETTINGS)):
        (folder / f"{name}.py").write_text(source)
    return copy


def test_the_help_has_each_in_its_group(copy: Path) -> None:
    done = run(copy, "-m", "swarm_cli", "--help")
    assert done.returncode == 0, done.stderr
    others, of_a_swarm = done.stdout.split("A running swarm")
    assert "Count to a number." in others
    assert "Print the brokers." in others
    assert "Print the name of a running swarm." in of_a_swarm


def test_each_runs(copy: Path, tmp_path: Path) -> None:
    done = run(copy, "-m", "swarm_cli", "count", "4", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1 2 3 4\n"), done.stderr
    done = run(copy, "-m", "swarm_cli", "name", "--control", str(tmp_path / "none.sock"), folder=tmp_path)
    assert (done.returncode, "none.sock" in done.stderr) == (1, True), done.stderr
    done = run(copy, "-m", "swarm_cli", "servers", "--bootstrap-servers", "one:9092", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "one:9092\n"), done.stderr
    refused = run(copy, "-m", "swarm_cli", "servers", "--nodes", "2", folder=tmp_path)
    assert (refused.returncode, "--nodes" in refused.stderr) == (2, True)


def test_completion_knows_it(copy: Path) -> None:
    done = run(
        copy, "-c", "import sys; sys.argv = ['swarm-cli']; from swarm_cli.main import main; main()",
        _SWARM_CLI_COMPLETE="complete_bash", COMP_WORDS="swarm-cli cou", COMP_CWORD="1",
    )  # fmt: skip
    assert done.stdout.split() == ["count"], done.stderr
