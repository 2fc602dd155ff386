"""The option of a setting, and the parser and the check of its text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from swarm_cli import units
from swarm_cli.setting_row import Row


def option(row: Row) -> Any:
    """The Typer option of a setting."""
    # The environment variable SWARM_<OPTION> is mentioned once, in the command's help, not 40 times. What is
    # rarely used is hidden, and shown by --help-all.
    if row.kind == "flag":
        # Both forms, --x and --no-x, so that an option can switch off what a file switches on.
        return typer.Option(
            help=row.help, rich_help_panel=row.section, show_envvar=False, show_default=False, hidden=row.rare
        )
    words = (*row.words, *row.choices)
    complete = (lambda incomplete: [word for word in words if word.startswith(incomplete)]) if words else None
    return typer.Option(
        help=row.help, rich_help_panel=row.section, metavar=metavar(row), callback=check(row), show_envvar=False,
        hidden=row.rare, autocompletion=complete, parser=parser(row),
    )  # fmt: skip


def metavar(row: Row) -> str:
    """The placeholder for the value in the help."""
    if row.placeholder or row.choices:
        return row.placeholder or "|".join(row.choices)
    by_unit = {"seconds": "SECONDS", "MB": "MB", "share": "SHARE", "names": "A,B*"}
    return "--x or --no-x" if row.kind == "flag" else by_unit.get(row.unit, "N")


def parser(row: Row) -> Callable[[str], Any] | None:
    """The parser of a number with a unit; None if Typer parses the value itself."""
    return {"seconds": units.seconds, "MB": units.megabytes, "share": units.number}.get(row.unit)


def check(row: Row) -> Callable[[Any], Any] | None:
    """The check that refuses a wrong value with BadParameter; None accepts any text. The owner may be stricter."""
    if row.choices:
        return _one_of(*row.choices)
    if row.kind == "whole number":
        return _count(row.unit)
    by_unit = {"seconds": _amount, "MB": _limit, "share": _share}
    return _nodes if row.placeholder == "N|auto" else by_unit.get(row.unit)


def _amount(value: float | None) -> float | None:
    if value is not None and not 0 <= value < float("inf"):
        raise typer.BadParameter(f"{value} is not a valid amount: give 0 or more.")
    return value


def _share(value: float | None) -> float | None:
    if value is not None and not 0 < value <= 1:
        raise typer.BadParameter(f"{value} is not a share: give more than 0 and at most 1, like 0.8.")
    return value


def _limit(value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value} MB is not a limit: give more than 0, or leave it out.")
    return value


def _nodes(value: str | None) -> str | None:
    if value is not None and value != "auto" and not (value.isascii() and value.isdigit() and int(value) >= 1):
        raise typer.BadParameter(f"{value!r} is neither a number of nodes (1 or more) nor 'auto'.")
    return value


def _count(of: str) -> Callable[[int | None], int | None]:
    def check(value: int | None) -> int | None:
        if value is not None and value < 1:
            raise typer.BadParameter(f"{value} is not a number of {of}: give 1 or more.")
        return value

    return check


def _one_of(*allowed: str) -> Callable[[str | None], str | None]:
    def check(value: str | None) -> str | None:
        if value is not None and value.lower() not in allowed:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(allowed)}.")
        return value if value is None else value.lower()

    return check
