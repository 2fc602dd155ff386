"""`swarm-cli stop`: drain and stop the swarm."""

import time
from contextlib import nullcontext

from swarm_cli.errors import CommandError
from swarm_cli.exit_codes import ExitCode
from swarm_cli.local_processes import same_pids
from swarm_cli.operation import AsJson, Control, Timeout, Wait, operation, reason, say, say_json
from swarm_cli.running_swarms import chosen_path


@operation
def stop(control: Control = None, wait: Wait = True, timeout: Timeout = 90.0, as_json: AsJson = False) -> int:
    """Stop the swarm gracefully.

    Every node finishes its work, commits and ends; then the supervisor ends. The exit code is the swarm's
    own: 0, or 4 if nodes had to be killed when the time ran out; 1 if the swarm ended without an exit code.

    Example: swarm-cli stop --timeout 120
    """
    from swarm_cli.following import Following, SwarmEnded
    from swarm_cli.views.event_lines import teller
    from swarm_pidfd import Pidfd

    deadline = time.monotonic() + timeout
    with Following(chosen_path(control), teller(silent=as_json)) as following:
        before = following.client.status()
        # Held from now on, because the pid alone might belong to another process later. A process of another pid
        # namespace cannot be held; then all we know is that it closed its socket.
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
                        f"the supervisor (pid {before.pid}) has closed its socket but has not ended yet."
                    )
                if code is None:  # the last event that it sends, unless it was killed or failed
                    raise CommandError(
                        f"{before.name} (pid {before.pid}) did not stop cleanly: it was killed or failed, and "
                        "records in flight are handled again. See its log, or the log of the process that started it."
                    )
    if as_json:
        say_json({"name": before.name, "pid": before.pid, "stopped": wait, "exit_code": code})
    elif wait:
        say(f"{before.name} (pid {before.pid}) has stopped with exit code {code}")
    else:
        say(f"{before.name} (pid {before.pid}) is stopping")
    return code or ExitCode.CLEAN
