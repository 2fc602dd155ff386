"""`swarm-cli quiet`: finish the current work and take no more, without leaving the groups."""

from typing import TYPE_CHECKING

from swarm_cli.errors import CommandError
from swarm_cli.exit_codes import ExitCode
from swarm_cli.operation import AsJson, Control, Timeout, Wait, operation, reason, say, say_json
from swarm_cli.running_swarms import chosen_path

if TYPE_CHECKING:
    from swarm_supervisor import Snapshot


@operation
def quiet(control: Control = None, wait: Wait = True, timeout: Timeout = 60.0, as_json: AsJson = False) -> int:
    """Let every node finish its work and take no more.

    The nodes stay members of their groups.

    This cannot be undone: stop the swarm and start it again.

    Example: swarm-cli quiet && swarm-cli stop
    """
    from swarm_cli.following import Following, SwarmEnded
    from swarm_cli.views.event_lines import teller

    with Following(chosen_path(control), teller(silent=as_json)) as following:
        following.client.request("quiet", reason=reason("quiet"))
        if wait:
            try:
                snapshot = following.until(_is_quiet, timeout, "quieting")
            except SwarmEnded as ended:
                raise CommandError(f"the swarm ended before it was quiet: {ended.reason}.") from ended
        else:
            snapshot = following.client.status()
    if as_json:
        say_json({"name": snapshot.name, "pid": snapshot.pid, "state": snapshot.state})
    else:
        say(f"{snapshot.name} (pid {snapshot.pid}) is {'quiet' if wait else 'becoming quiet'}")
    return ExitCode.CLEAN


def _is_quiet(snapshot: "Snapshot") -> bool:
    if snapshot.state == "quiet":
        return True
    # A degraded swarm shows that state instead of "quiet"; its nodes still show whether they are quiet.
    nodes = [node for node in snapshot.nodes if node.pid is not None]
    if snapshot.state == "starting" and not nodes:
        return True  # it has no node yet: nothing is taken, and new nodes start quiet
    return snapshot.state == "degraded" and all(
        node.state == "running" and node.statistics is not None and node.statistics.state == "quiet" for node in nodes
    )
