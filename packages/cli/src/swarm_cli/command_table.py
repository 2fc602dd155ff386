"""The commands: each is a module of `commands`, and the folder is the table.

A module has a function with its own name, or a `program` of several commands. A function that takes a
`configuration` gets options of the table of settings: all of them, or those of the module's `SETTINGS`. Only the
modules of the commands that are asked for are imported: a supervisor lives for weeks, and the options of twenty
other commands would cost it start-up time and memory.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection
from typing import Any

from swarm_cli import commands
from swarm_cli.options import ALL, registered
from swarm_cli.program import Program

OPERATIONS = "A running swarm"
"""The group of commands for a running swarm."""
_ORDER = (
    "swarm", "server", "routes", "info", "lag", "topics", "groups", "init", "demo", "broker",
    "status", "top", "memory", "quiet", "stop", "restart", "scale", "trace", "events",
)  # fmt: skip
"""The order of the help. A command that is not here comes last."""


def _names() -> tuple[str, ...]:
    found = {name.removesuffix(".py") for folder in commands.__path__ for name in os.listdir(folder)}
    there = sorted(name for name in found if name.isidentifier() and not name.startswith("_"))
    return tuple(sorted(there, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER)))


COMMANDS = _names()
"""The commands in the order of the help."""


def asked_for(words: list[str]) -> list[str]:
    """The commands that a command line needs: the one it names, or all of them for a help text or an error."""
    first = next((word for word in words if not word.startswith("-")), None)
    return [first] if first in COMMANDS else list(COMMANDS)


def add_commands(program: Program, names: Collection[str]) -> None:
    """Register these commands."""
    for name in names:
        module = _module(name)
        if hasattr(module, "program"):
            program.add_typer(module.program, name=name)
            continue
        command = getattr(module, name)
        group = OPERATIONS if getattr(command, "on_running_swarm", False) else None
        if "configuration" in inspect.signature(command).parameters:
            command = registered(command, getattr(module, "SETTINGS", ALL), getattr(module, "WITHOUT_EFFECT", ()))
        program.command(name, rich_help_panel=group)(command)


def _module(name: str) -> Any:
    from importlib import import_module

    return import_module(f"{commands.__name__}.{name}")
