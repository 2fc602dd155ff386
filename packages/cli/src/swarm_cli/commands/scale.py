"""`swarm-cli scale N`: change the number of nodes."""

from typing import TYPE_CHECKING, Annotated

import typer

from swarm_cli.errors import CommandError
from swarm_cli.exit_codes import ExitCode
from swarm_cli.operation import AsJson, Control, Timeout, Wait, operation, say, say_json
from swarm_cli.running_swarms import chosen_path

if TYPE_CHECKING:
    from swarm_supervisor import Snapshot


@operation
def scale(
    nodes: Annotated[int, typer.Argument(metavar="N", min=1, help="How many nodes to run.")],
    control: Control = None,
    wait: Wait = True,
    timeout: Timeout = 120.0,
    as_json: AsJson = False,
) -> int:
    """Change the number of nodes.

    New nodes are forked, or the nodes with the highest ids drain and end.

    Example: swarm-cli scale 8
    """
    from swarm_cli.following import Following, SwarmEnded
    from swarm_cli.views.event_lines import teller

    with Following(chosen_path(control), teller(silent=as_json)) as following:
        before = following.client.status()
        following.client.scale(nodes)
        if wait:
            try:
                following.until(lambda now: scaled(nodes, now), timeout, f"scaling to {nodes}")
            except SwarmEnded as ended:
                raise CommandError(f"the swarm ended during scaling: {ended.reason}.") from ended
    if as_json:
        say_json({"name": before.name, "pid": before.pid, "before": before.wanted, "nodes": nodes, "done": wait})
    else:
        say(f"{before.name}: {before.wanted} → {nodes} nodes" + ("" if wait else ", begun"))
    return ExitCode.CLEAN


def scaled(nodes: int, now: "Snapshot") -> bool:
    """Whether exactly the wanted nodes exist and each of them runs (or has ended for good on its own)."""
    return now.wanted == nodes == len(now.nodes) and all(node.state in ("running", "done") for node in now.nodes)
