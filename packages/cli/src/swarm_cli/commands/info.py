"""`swarm-cli info [APP]`: versions, each setting with its value and source, the effective Kafka properties; tables."""

from typing import Annotated

import typer

from swarm_cli.configuration import Configuration
from swarm_cli.operation import say_json
from swarm_cli.options import AsJson


def info(
    configuration: Configuration,
    as_json: AsJson = False,
    table: Annotated[
        bool, typer.Option("--settings", help="Show the table of all settings instead.", show_envvar=False)
    ] = False,
    reported: Annotated[
        bool, typer.Option("--figures", help="Show the table of what nodes report instead.", show_envvar=False)
    ] = False,
) -> int:
    """Show versions, each setting with its source, and the Kafka properties.

    Takes the options of `swarm`. Secrets are masked. APP may be left out.

    Example: swarm-cli info my_app:app --nodes 4
    """
    from swarm_cli import composition, eviction
    from swarm_cli.views import tables
    from swarm_cli.views.info import Facts, kafka_properties, lines, settings, versions

    if table or reported:
        rows = [*(tables.setting_rows() if table else ()), *(tables.figure_rows() if reported else ())]
        parts = [*([tables.setting_lines()] if table else ()), *([tables.figure_lines()] if reported else ())]
        if as_json:
            say_json(rows, indented=True)
        else:
            typer.echo("\n\n".join("\n".join(part) for part in parts))
        return 0
    app = groups = None
    if configuration.app is not None:
        app, selection = composition.configured_app(configuration)
        groups = selection.apply(app.subscription_groups())
    facts: Facts = {
        "application": configuration.app,
        "versions": versions(),
        "settings": settings(configuration, app),
        "kafka": {}
        if app is None or groups is None
        else {group.name: kafka_properties(configuration, app, group) for group in groups},
        "eviction": {}
        if app is None or groups is None
        else eviction.states(app, groups, eviction.Terms.of(configuration.settings)),
    }
    if as_json:
        say_json(facts, indented=True)
    else:
        typer.echo("\n".join(lines(facts)))
    return 0
