"""`swarm-cli lag APP`: how far each group is behind, by partition."""

from typing import Any

import typer

from swarm_cli.configuration import Configuration
from swarm_cli.operation import say_json
from swarm_cli.options import CLUSTER, AsJson

SETTINGS = CLUSTER


def lag(
    configuration: Configuration,
    as_json: AsJson = False,
) -> int:
    """Show committed offset, end and lag of each group of APP, by partition.

    Where a group has committed nothing, its lag is counted from the position that initial_offset gives.

    Example: swarm-cli lag my_app:app --include-consumer-groups billing
    """
    from swarm_cli.administration.connection import connected, values_of
    from swarm_cli.administration.scope import chosen_groups
    from swarm_cli.composition import overridden_app
    from swarm_cli.views.lag import as_data
    from swarm_cli.views.table import table_lines
    from swarm_consumer.admin import group_lags

    app = overridden_app(configuration)
    lags = group_lags(
        chosen_groups(app, configuration),
        lambda group: connected(app, values_of(group.properties), configuration),
    )
    if as_json:
        say_json([as_data(lag) for lag in lags], indented=True)
        return 0
    rows: list[tuple[Any, ...]] = []
    for lag in lags:
        rows += [(lag.group, one.topic, one.partition, one.committed, one.end, lag.of(one)) for one in lag.partitions]
        rows.append((lag.group, "(all)", None, None, None, lag.total))
    header = ("GROUP", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG")
    for line in table_lines(header, rows, right=header[2:]):
        typer.echo(line)
    return 0
