"""The commands, in the order of the help. Only the modules of the requested commands are imported.

A supervisor lives for weeks; the options of twenty other commands would cost it start-up time and memory.
"""

from collections.abc import Callable, Collection
from typing import Any

from swarm_cli.options import CLUSTER, ROUTES, registered
from swarm_cli.program import Program

OPERATIONS = "A running swarm"
"""The group of commands for a running swarm."""


def _plain(module: str) -> Callable[[], Any]:
    """A command with its own options: the function named like its module."""
    return lambda: getattr(_module(module), module)


def _with_settings(module: str, *names: Collection[str]) -> Callable[[], Any]:
    """A command with options of the table of settings."""
    return lambda: registered(getattr(_module(module), module), *names)


def _server() -> Any:
    module = _module("server")
    return registered(module.server, without_effect=module.WITHOUT_EFFECT)


def _module(name: str) -> Any:
    from importlib import import_module

    return import_module(f"swarm_cli.commands.{name}")


COMMANDS: dict[str, tuple[str | None, Callable[[], Any]]] = {
    "swarm": (None, _with_settings("swarm")),
    "server": (None, _server),
    "routes": (None, _with_settings("routes", ROUTES)),
    "info": (None, _with_settings("info")),
    "lag": (None, _with_settings("lag", CLUSTER)),
    "topics": (None, lambda: _module("topics").program),
    "groups": (None, lambda: _module("groups").program),
    "init": (None, _plain("init")),
    "demo": (None, _plain("demo")),
    "broker": (None, _plain("broker")),
    "status": (OPERATIONS, _plain("status")),
    "top": (OPERATIONS, _plain("top")),
    "memory": (OPERATIONS, _plain("memory")),
    "quiet": (OPERATIONS, _plain("quiet")),
    "stop": (OPERATIONS, _plain("stop")),
    "restart": (OPERATIONS, _plain("restart")),
    "scale": (OPERATIONS, _plain("scale")),
    "trace": (OPERATIONS, _plain("trace")),
    "events": (OPERATIONS, _plain("events")),
}
"""For each command, its group in the help and its factory: a function, or a program with subcommands."""


def asked_for(words: list[str]) -> list[str]:
    """The commands that a command line needs: the one it names, or all of them for a help text or an error."""
    first = next((word for word in words if not word.startswith("-")), None)
    return [first] if first in COMMANDS else list(COMMANDS)


def add_commands(program: Program, names: Collection[str]) -> None:
    """Register these commands."""
    for name in names:
        panel, make = COMMANDS[name]
        command = make()
        if isinstance(command, Program):
            program.add_typer(command, name=name)
        else:
            program.command(name, rich_help_panel=panel)(command)
