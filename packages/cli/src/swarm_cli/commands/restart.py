"""`swarm-cli restart [NODE]`: new processes, forked from the loaded supervisor."""

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from swarm_cli.errors import CommandError, UsageError
from swarm_cli.exit_codes import ExitCode
from swarm_cli.operation import AsJson, Control, Timeout, Wait, operation, reason, say, say_json
from swarm_cli.running_swarms import chosen_path

if TYPE_CHECKING:
    from swarm_cli.views.event_lines import Event
    from swarm_supervisor import NodeSnapshot, Snapshot


@operation
def restart(
    node: Annotated[int | None, typer.Argument(metavar="NODE", help="Id of one node (default: all).")] = None,
    control: Control = None,
    wait: Wait = True,
    timeout: Timeout = 300.0,
    as_json: AsJson = False,
) -> int:
    """Replace the process of one node, or of all in turn.

    The new processes are forked from the loaded supervisor, so they run the same code: new code needs a new supervisor.
    A successor is ready before the old process drains and ends. The first failure ends the restart and leaves the rest
    unchanged. In a quiet swarm the new processes are quiet too.

    Example: swarm-cli restart 2
    """
    from swarm_cli.following import Following, SwarmEnded
    from swarm_cli.views.event_lines import teller

    note = (lambda line: None) if as_json else say
    with Following(chosen_path(control), teller(silent=as_json), note) as following:
        before = following.client.status()
        asked = asked_nodes(before, node)
        which: dict[str, Any] = {} if node is None else {"node": node}
        following.client.request("restart", reason=reason("restart"), **which)
        if wait:
            try:
                following.until(
                    lambda now: renewed(asked, now),
                    timeout,
                    "the restart",
                    lambda event: failure(event, asked),
                    lambda now: obstacle(asked, now),
                )
            except SwarmEnded as ended:
                raise CommandError(f"the swarm ended during the restart: {ended.reason}.") from ended
    if as_json:
        say_json({"name": before.name, "pid": before.pid, "nodes": sorted(asked), "done": wait})
    else:
        whom = f"node {node}" if node is not None else f"{len(asked)} nodes"
        quiet = ", and quiet as before" if before.state in ("quiet", "quieting") else ""
        say(f"{whom} restarted{quiet}" if wait else f"restart of {whom} started")
    return ExitCode.CLEAN


class Asked(NamedTuple):
    """A node as it was when its restart was requested."""

    generation: int
    """The generation of the last old process. A process that is booting, or about to be forked, is already new."""
    done: bool


def asked_nodes(snapshot: "Snapshot", node: int | None) -> dict[int, Asked]:
    """The nodes to restart. Raises UsageError if there is no such node, CommandError if none is running."""
    there = {one.id: one for one in snapshot.nodes}
    if node is not None and node not in there:
        raise UsageError(f"there is no node {node}: there are {', '.join(map(str, sorted(there)))}.")
    if node is not None:
        return {node: _asked(there[node])}
    asked = {one.id: _asked(one) for one in snapshot.nodes if one.id < snapshot.wanted and one.state == "running"}
    if not asked:
        raise CommandError(
            f"no node is running, so there is none to restart: the swarm is {snapshot.state}, see `swarm-cli status`."
        )
    return asked


def _asked(node: "NodeSnapshot") -> Asked:
    return Asked(node.generation - (node.state in ("booting", "backing off")), node.state == "done")


def renewed(asked: dict[int, Asked], now: "Snapshot") -> bool:
    """Whether every requested node has a newer process or has ended for good, and no restart is under way."""
    nodes = {node.id: node for node in now.nodes}
    return not now.rolling_restart and all(_is_new(nodes.get(id_), before) for id_, before in asked.items())


def _is_new(node: "NodeSnapshot | None", before: Asked) -> bool:
    if node is None:
        return True  # scaled away in the meantime
    if node.state == "done":
        return not before.done or node.generation > before.generation
    return node.state == "running" and node.generation > before.generation


def obstacle(asked: dict[int, Asked], now: "Snapshot") -> str:
    """What a requested node is waiting for (other nodes that are down), or "" if nothing."""
    down = {node.id: node.state for node in now.nodes if node.id < now.wanted and node.state not in ("running", "done")}
    queued = [
        node.id
        for node in now.nodes
        if node.id in asked and node.state == "running" and node.generation <= asked[node.id].generation
    ]
    begun = any(node.spare_pid is not None for node in now.nodes)
    if not down or not queued or begun:
        return ""
    whom = ", ".join(f"node {id_} ({state})" for id_, state in sorted(down.items()))
    return f"node {queued[0]} waits for {whom}: a restart takes down at most max_unavailable nodes at once"


def failure(event: "Event", asked: dict[int, Asked]) -> str:
    """The reason of a failed restart, from an event; "" for other events."""
    if event["event"] == "ReplacementAborted" and event["node_id"] in asked:
        return (
            f"the restart failed at node {event['node_id']}, the nodes after it were not restarted: {event['reason']}."
        )
    return ""
