"""A process that loads an application and does nothing else, to measure what a separate process costs.

Parent and child in one file: `anonymous_mb` starts ``python -m swarm_cli.fresh_process FD APP`` and reads its memory.
No client is made and nothing is consumed, so no group notices.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys

from swarm_cli.errors import CommandError, settled
from swarm_cli.exit_codes import ExitCode
from swarm_cli.memory_report import read

LOADED = b"loaded"
TIMEOUT_S = 60.0


def anonymous_mb(app: str) -> float:
    """Anonymous memory (MB) of a fresh process that has loaded APP. Raises CommandError when it cannot load."""
    told, tells = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(tells), app],
            stdin=subprocess.PIPE, stdout=sys.stderr, pass_fds=[tells],
        )  # fmt: skip
    except BaseException:
        os.close(told)
        raise
    finally:
        os.close(tells)
    try:
        ready, _, _ = select.select([told], [], [], TIMEOUT_S)
        if not ready:
            raise CommandError(
                f"{app} was not loaded by a fresh process within {TIMEOUT_S:g} s, so there is no measurement."
            )
        if os.read(told, len(LOADED)) != LOADED:
            raise CommandError(f"there is no measurement: a fresh process could not load {app}.")
        figures = read("fresh", None, process.pid)
        if figures is None:
            raise CommandError(f"the fresh process that had loaded {app} ended before it was measured: try again.")
        return figures.anonymous_mb
    finally:
        os.close(told)
        process.kill()
        process.communicate()


@settled
def main(descriptor: int, app: str) -> int:
    """In the fresh process: load what `server` loads, report it, then wait for the end of stdin."""
    import gc

    from swarm_cli.loading import load_app
    from swarm_consumer import Runtime
    from swarm_liveness import LivenessListener

    load_app(app).hooks.warm_up()
    Runtime, LivenessListener  # noqa: B018  imported as `server` imports them
    gc.collect()
    os.write(descriptor, LOADED)
    sys.stdin.buffer.read()
    return ExitCode.CLEAN


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
