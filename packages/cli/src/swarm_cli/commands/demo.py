"""`swarm-cli demo`: a swarm on real records, with a node killed half-way."""

from typing import Annotated

import typer

from swarm_cli.errors import settled


@settled
def demo(
    nodes: Annotated[
        int | None, typer.Option(min=2, help="Nodes of the swarm (default: one a core, at least 2).", metavar="N")
    ] = None,
) -> int:
    """Run a swarm on real flight records and kill a node half-way.

    Each of the 27,004 records is counted: none may be lost. Needs no Kafka: an embedded broker is started for it, and
    ends with it.

    Example: swarm-cli demo --nodes 4
    """
    from rich.console import Console

    from swarm_cli.demonstration.driver import Demonstration, cores

    console = Console()
    if not console.is_terminal:
        console = Console(width=100)
    return Demonstration(nodes or cores(), console).run()
