"""Build commands from the table of settings: each takes APP, settings from the table, and its own options."""

import dataclasses
import inspect
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from swarm_cli.configuration import APPLICATION, read_file, resolve, variable_name
from swarm_cli.errors import settled
from swarm_cli.setting_options import option
from swarm_cli.settings import Settings

ROWS = Settings.rows()
ALL = tuple(ROWS)
FILTERS = tuple(name for name, row in ROWS.items() if row.section == "Filters")
ROUTES = ("bootstrap_servers", "kafka", *FILTERS)
"""For a command that looks at an application."""
CLUSTER = ("bootstrap_servers", "kafka", "connect_timeout", *FILTERS)
"""For a command that also asks the cluster."""
TOPICS = ("bootstrap_servers", "kafka", "connect_timeout", "include_topics", "exclude_topics")
"""For a command about topics, not groups."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.", show_envvar=False)]


def registered(
    command: Callable[..., int], names: Collection[str] = ALL, without_effect: Collection[str] = ()
) -> Callable[..., None]:
    """Make a Typer command of ``command(configuration, ...)``; its other parameters are its own options.

    The options for the settings in `names` come from the table; the file may contain other settings too. Those
    `without_effect` are accepted, so that one command line works for two commands, but hidden from the help.
    """
    own = {name: hint for name, hint in get_type_hints(command, include_extras=True).items() if name not in _NOT_OWN}
    defaults = {name: parameter.default for name, parameter in inspect.signature(command).parameters.items()}

    @settled
    def run(**values: Any) -> int:
        context = values.pop("context")
        values.pop("help_all", None)
        arguments = {name: values.pop(name) for name in own}

        def on_command_line(name: str) -> bool:
            # click's ParameterSource, by name, because typer may have its own copy of click.
            source = context.get_parameter_source(name)
            return source is not None and source.name == "COMMANDLINE"

        configuration = resolve(values, on_command_line, os.environ, read_file(Path.cwd()))
        return command(configuration, **arguments)

    parameters = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        inspect.Parameter(APPLICATION, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_APPLICATION),
    ]
    for name, hint in own.items():
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=hint)
        )
    table = _settings(names, without_effect)
    parameters += table
    if any(parameter.annotation.__metadata__[0].hidden for parameter in table):
        parameters.append(
            inspect.Parameter("help_all", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_HELP_ALL)
        )
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect.signature
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = _reflowed(command.__doc__ or "")
    run.__name__ = command.__name__
    return run


_NOT_OWN = ("configuration", "return")


def _reflowed(text: str) -> str:
    # Rich keeps the line breaks of the source, which only fit that width.
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


def _settings(names: Collection[str], without_effect: Collection[str]) -> list[inspect.Parameter]:
    kinds = get_type_hints(Settings)
    parameters = []
    for field in dataclasses.fields(Settings):
        if field.name in names:
            made = option(ROWS[field.name])
            made.envvar = variable_name(field.name)
            if field.name in without_effect:
                made.hidden, made.rich_help_panel = True, WITHOUT_EFFECT
            kind: Any = kinds[field.name]
            hint = Annotated[kind, made]
            parameters.append(
                inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hint)
            )
    return parameters


WITHOUT_EFFECT = "No effect here"
"""The panel of options that stay hidden."""


def _show_everything(context: typer.Context, wanted: bool) -> None:
    if not wanted:
        return
    for parameter in context.command.params:
        shown = getattr(parameter, "rich_help_panel", None) != WITHOUT_EFFECT
        if shown and isinstance(getattr(parameter, "hidden", None), bool):
            parameter.hidden = False  # type: ignore[attr-defined]  # only options have it, checked above
    typer.echo(context.get_help())
    raise typer.Exit


_APPLICATION = Annotated[
    str | None,
    typer.Argument(
        metavar="APP", help="The application: module:attribute.", envvar=variable_name(APPLICATION), show_envvar=False
    ),
]
_HELP_ALL = Annotated[
    bool,
    typer.Option("--help-all", help="Show rarely used options too.", callback=_show_everything, is_eager=True),
]
