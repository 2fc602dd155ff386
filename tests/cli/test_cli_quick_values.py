"""Plain values of the command line are not given to Typer, whose converters load slowly; the result is the same."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from typing import Any

import pytest
import typer

from swarm_cli.command_table import COMMANDS
from swarm_cli.main import program_of

VALUES = (None, "", "a", "a b", "3", "0", "-1", "1.5", "30s", "x" * 40, "1" * 12, "\u0663", "auto", "true", True, False)
SEVERAL = (None, ["a=b"], ("a=b", "c=d"), [], ["1", "2"], ["-1"])


def parameters() -> list[Any]:
    found = []
    for name in COMMANDS:
        group: Any = typer.main.get_command(program_of([name]))
        command = group.commands[name]
        for one in getattr(command, "commands", {"": command}).values():
            for parameter in one.get_params(typer.Context(one)):
                found.append(pytest.param(one, parameter, id=f"{name} {one.name} {parameter.name}"))
    return found


def outcome(process: Any, command: Any, value: Any) -> Any:
    try:
        result = process(typer.Context(command), value)
    except typer.BadParameter as error:
        return error.message
    except typer.Exit:
        return "exit"
    except TypeError as error:  # True for a path, which no command line gives
        return str(error)
    # Typer before 0.16 returns a tuple here, and makes a list of any sequence before it calls the command.
    return (list, list(result)) if isinstance(result, tuple) else (type(result), result)


def test_there_are_parameters_of_every_command() -> None:
    assert len(parameters()) > 150


@pytest.mark.parametrize(("command", "parameter"), parameters())
def test_a_plain_value_is_what_typer_makes_of_it(command: Any, parameter: Any, capsys: Any) -> None:
    several = parameter.nargs != 1 or getattr(parameter, "multiple", False)
    by_typer = type(parameter).process_value.__get__(parameter)
    for value in SEVERAL if several else VALUES:
        if parameter.name in ("help", "help_all", "version"):
            continue  # they print it, and what they print is large
        assert outcome(parameter.process_value, command, value) == outcome(by_typer, command, value), repr(value)


@pytest.mark.parametrize(
    "words",
    [
        "swarm no_such_module:app --nodes 3 --first-restart-delay 0 --kafka a=b --progress-memory auto --no-preload",
        "status --control no_such_swarm",
        "stop --control no_such_swarm",
    ],
)
def test_a_start_does_not_load_what_converts_for_typer(words: str) -> None:
    probe = (
        "import sys\nfrom swarm_cli.main import program_of\n"
        f"words = {words.split()!r}\n"
        "try:\n    program_of(words[:1])(words)\nexcept SystemExit as end:\n    assert end.code\n"
        "print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "False", metadata.version("typer")
