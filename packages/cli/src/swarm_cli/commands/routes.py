"""`swarm-cli routes APP`: which topics are consumed by which handler, and which of them would run."""

from typing import Any

import typer

from swarm_cli.configuration import Configuration
from swarm_cli.operation import say_json
from swarm_cli.options import ROUTES, AsJson

SETTINGS = ROUTES


def routes(
    configuration: Configuration,
    as_json: AsJson = False,
) -> int:
    """Show the topics of APP, their groups, their handlers, and which of them the filters select.

    Needs no broker.

    Example: swarm-cli routes my_app:app --include-topics 'orders*'
    """
    from swarm_cli import composition
    from swarm_cli.views.table import table_lines

    app, selection = composition.configured_app(configuration)
    entries = described(app, selection)
    if as_json:
        say_json(entries, indented=True)
        return 0
    header = ("TOPIC", "CONSUMER GROUP", "SUBSCRIPTION GROUP", "HANDLER", "RUNS")
    names = ("topic", "consumer_group", "subscription_group", "handler", "runs")
    for line in table_lines(header, [[entry[name] for name in names] for entry in entries]):
        typer.echo(line)
    return 0


def described(app: Any, selection: Any) -> list[dict[str, Any]]:
    """One entry for each topic of each group; ``runs`` is True, or the reason why not."""
    import dataclasses

    runs = {(group.name, route.topic) for group in selection.apply(app.subscription_groups()) for route in group.routes}
    return [
        {
            "topic": route.topic,
            "pattern": route.is_pattern,
            "consumer_group": group.consumer_group,
            "subscription_group": group.name,
            "handler": handler(route.consumer),
            "runs": "yes" if (group.name, route.topic) in runs else "no, filtered" if route.active else "no, inactive",
            "settings": dataclasses.asdict(route.settings),
        }
        for group in app.subscription_groups()
        for route in group.routes
    ]


def handler(consumer: Any) -> str:
    """``module.Name`` of a consumer class, or of the function that it calls."""
    body = getattr(consumer, "function", None) or consumer
    name = getattr(body, "__qualname__", type(body).__qualname__)
    return f"{getattr(body, '__module__', type(body).__module__)}.{name}"
