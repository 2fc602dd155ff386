"""`swarm-cli stop`: the swarm drains, stops and is gone."""

import time
from contextlib import nullcontext

from swarm_cli.errors import CommandError
from swarm_cli.exit_codes import ExitCode
from swarm_cli.local_processes import same_pids
from swarm_cli.operation import AsJson, Control, Timeout, Wait, operation, reason, say, say_json
from swarm_cli.running_swarms import chosen_path


@operation
def stop(control: Control = None, wait: Wait = True, timeout: Timeout = 90.0, as_json: AsJson = False) -> int:
    """Stop the swarm in order.

    Every node finishes its work, commits and ends, then the supervisor. The exit code is the swarm's
    own: 0, or 4 when its time ran out and nodes had to be killed; 1 when it ended without a word.

    Example: swarm-cli stop --timeout 120
    """
    from swarm_cli.following import Following, SwarmEnded
    from swarm_cli.views.event_lines import teller
    from swarm_pidfd import Pidfd

    deadline = time.monotonic() + timeout
    with Following(chosen_path(control), teller(silent=as_json)) as following:
        before = following.client.status()
        # Held from now on: a pid alone might be another process's by the time that we look. One of another pid
        # namespace cannot be held; that it has closed its socket is all that is known then.
        with Pidfd(before.pid) if same_pids(following.client, before.pid) else nullcontext() as supervisor:
            following.client.request("stop", reason=reason("stop"))
            code: int | None = None
            if wait:
                try:
                    following.until(lambda snapshot: False, timeout, "stopping")
                except SwarmEnded as ended:
                    code = ended.exit_code
                if supervisor is not None and supervisor.wait(max(1.0, deadline - time.monotonic())) is None:
                    raise CommandError(
                        f"the supervisor (pid {before.pid}) has closed its socket and has not ended yet."
                    )
                if code is None:  # it says so as the last thing of all, unless it was killed or has failed itself
                    raise CommandError(
                        f"{before.name} (pid {before.pid}) is gone, but not in order: it was killed or has failed, and "
                        "what was in hand is handled again. Its log, or who started it, tells more."
                    )
    if as_json:
        say_json({"name": before.name, "pid": before.pid, "stopped": wait, "exit_code": code})
    elif wait:
        say(f"{before.name} (pid {before.pid}) has stopped with exit code {code}")
    else:
        say(f"{before.name} (pid {before.pid}) is told to stop")
    return code or ExitCode.CLEAN
