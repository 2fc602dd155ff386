"""`swarm-cli trace [NODE]`: what every thread of a node is doing."""

from typing import TYPE_CHECKING, Annotated

import typer

from swarm_cli.errors import CommandError, UsageError
from swarm_cli.exit_codes import ExitCode
from swarm_cli.operation import AsJson, Control, operation, say, say_json, timeout_option
from swarm_cli.running_swarms import chosen_path, connected
from swarm_cli.views.figures import printable
from swarm_cli.views.stacks import short

if TYPE_CHECKING:
    from swarm_supervisor import Snapshot


@operation
def trace(
    node: Annotated[int | None, typer.Argument(metavar="NODE", help="Id of one node (default: all).")] = None,
    control: Control = None,
    timeout: Annotated[float, timeout_option("Stop waiting for the stacks after SECONDS.")] = 5.0,
    whole: Annotated[bool, typer.Option("--all", help="Show every thread and frame.", show_envvar=False)] = False,
    as_json: AsJson = False,
) -> int:
    """Print where the application is in one node, or in all: file, line and call stack of each thread.

    It also works for a node that hangs in C code. --all shows the threads of Swarm and of libraries too.

    Exit code 1 when a node did not answer.

    Example: swarm-cli trace 1
    """
    path = chosen_path(control)
    with connected(path) as client:
        snapshot = client.status()
        wanted = traceable(snapshot, node)
        stacks = client.trace(node, wait_s=timeout)
    missing = sorted(wanted.keys() - stacks.keys())
    if as_json:
        say_json(
            {
                "name": snapshot.name,
                "pid": snapshot.pid,
                "nodes": [{"node": id_, "pid": wanted.get(id_), "stacks": stacks[id_]} for id_ in sorted(stacks)],
                "missing": missing,
            }
        )
    else:
        for id_ in sorted(stacks):
            pid = wanted.get(id_, "-")
            text = printable(stacks[id_].rstrip(), lines=True)
            say(f"node {id_} (pid {pid})\n{text}\n" if whole else short(id_, pid, text))
    if missing:
        raise CommandError(
            f"no stacks within {timeout:g} s from {_nodes(missing)}: see `swarm-cli status`; a stopped process cannot "
            "answer, and a swapped-out one needs a longer --timeout."
        )
    return ExitCode.CLEAN


def traceable(snapshot: "Snapshot", node: int | None) -> dict[int, int]:
    """The pid of each node to ask. Raises UsageError for an unknown id, CommandError if there is no process."""
    there = {one.id: one for one in snapshot.nodes}
    if node is not None and node not in there:
        raise UsageError(f"there is no node {node}: there are {', '.join(map(str, sorted(there)))}.")
    if node is not None and there[node].pid is None:
        raise CommandError(f"node {node} has no process now; it is {there[node].state}: try again when it runs.")
    found = {one.id: one.pid for one in snapshot.nodes if one.pid is not None and node in (None, one.id)}
    if not found:
        raise CommandError(
            f"no node has a process now; the swarm is {snapshot.state}: see `swarm-cli status`, and try again."
        )
    return found


def _nodes(ids: list[int]) -> str:
    return f"node{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids))}"
