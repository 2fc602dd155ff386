"""Commands with plain-text help: fast, narrow, with options grouped by subject.

Typer's own help is drawn by rich, which takes longer to import than everything else that ``--help`` needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from swarm_cli.quick_values import attached, conversions

WIDEST = 100
"""Width of a help text in columns; longer lines are hard to read."""
FIRST_COLUMN = 36
"""Width of an option and its value before its text moves to the next line."""

SENTENCE = 300
"""Longest first sentence of a command's help: it is wrapped, not cut."""


def _grouped(items: Iterable[Any], otherwise: str) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for item in items:
        groups.setdefault(getattr(item, "rich_help_panel", None) or otherwise, []).append(item)
    return groups


def _row(parameter: Any, context: Any) -> tuple[str, str] | None:
    """The help text of an argument or an option."""
    if parameter.hidden:
        return None
    text = parameter.help or ""
    default = parameter.default
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name.upper(), text
    names = [*sorted(parameter.opts, key=len), *parameter.secondary_opts]
    value = "" if parameter.is_flag else f" {parameter.metavar or str(parameter.name).upper()}"
    if not parameter.is_flag and default not in (None, (), []) and parameter.show_default:
        value_shown = getattr(default, "value", default)
        text = f"{text} [{value_shown:g}]" if isinstance(value_shown, float) else f"{text} [{value_shown}]"
    if parameter.required:
        text = f"{text} Required."
    return f"{', '.join(names)}{value}", text


def _write(command: Any, context: Any, formatter: Any) -> None:
    parameters = command.get_params(context)
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    options = [one for one in parameters if one.param_type_name == "option"]
    # General options come last, a command's own options first.
    groups = _grouped(options, OPTIONS)
    general = groups.pop(OPTIONS, [])
    for title, members in [("Arguments", arguments), *groups.items(), (OPTIONS, general)]:
        rows = [row for one in members if (row := _row(one, context)) is not None]
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows, col_max=FIRST_COLUMN)


OPTIONS = "Options"
CONVERSIONS = "swarm_conversions"
"""The attribute of a command's function that Typer's wrapper around it keeps."""


class Command(TyperCommand):
    """A command with options grouped by subject."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, which convert plain values themselves."""
        return attached(super().get_params(ctx), getattr(self.callback, CONVERSIONS, {}))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group of options."""
        _write(self, ctx, formatter)


class Group(TyperGroup):
    """A command with subcommands, grouped the same way."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, which convert plain values themselves."""
        return attached(super().get_params(ctx), {})

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run. --debug may stand anywhere, because people add it after an error (`errors.debugging`)."""
        words = list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        kept = [word for word in words[:end] if word != "--debug"] + words[end:]
        return super().main(kept, *(rest or (self.name,)), **extra)  # the program's name, also for python -m swarm_cli

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands first, because they matter most here."""
        self.format_commands(ctx, formatter)
        _write(self, ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line for each command, below the title of its group."""
        commands = [self.commands[name] for name in self.list_commands(ctx) if not self.commands[name].hidden]
        widest = max((len(command.name or "") for command in commands), default=0)
        for title, members in _grouped(commands, "Commands").items():
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{command.name:<{widest}}", command.get_short_help_str(SENTENCE)) for command in members]
                )


class Program(typer.Typer):
    """A `typer.Typer` with plain help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            cls=Group,
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            no_args_is_help=True,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
            **options,
        )

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Register a command, as `typer.Typer.command`."""
        register = super().command(name, cls=Command, **options)

        def registered(function: Any) -> Any:
            setattr(function, CONVERSIONS, conversions(function))
            return register(function)

        return registered
