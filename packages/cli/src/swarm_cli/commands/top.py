"""`swarm-cli top`: a live view of the swarm, with keys to act on it."""

import os
import sys
from typing import Annotated

import typer

from swarm_cli.errors import UsageError
from swarm_cli.operation import Control, operation, say
from swarm_cli.running_swarms import chosen_path


@operation
def top(
    control: Control = None,
    interval: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.1, help="Refresh every SECONDS.", envvar="SWARM_INTERVAL", show_envvar=False
        ),
    ] = 1.0,
) -> int:
    """Show a live view of the swarm: work, memory, lag, restarts, events.

    Keys restart, quiet or trace a node, scale, and quit; changes to the swarm ask for confirmation.

    Example: swarm-cli top --interval 0.5
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError("top needs a terminal: use `swarm-cli status` or `swarm-cli events` here.")
    from swarm_cli.top_session import TopSession
    from swarm_cli.views.terminal import Terminal

    session = TopSession(chosen_path(control), interval)
    try:
        with Terminal() as terminal:
            code = session.run(terminal)
    finally:
        session.close()
    if words := session.last_words():
        say(words)
    return code
