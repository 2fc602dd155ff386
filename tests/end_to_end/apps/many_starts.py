"""Starts swarm-cli many times, each in a fork of one process that has imported everything: as real, and in less time.

Its argument is a JSON list of {arguments, environment, log}. It writes the pids as a JSON list, and then [pid, exit
code] as they end.
"""

import json
import os
import sys
from typing import Any, NoReturn

import swarm_cli.composition
import swarm_cli.main
import swarm_cli.preflight
import swarm_consumer._running.runtime
import swarm_liveness
import swarm_supervisor

LOADED = (swarm_cli.composition, swarm_cli.preflight, swarm_consumer._running.runtime, swarm_liveness, swarm_supervisor)


def run(wanted: dict[str, Any]) -> NoReturn:
    """In a fork: be swarm-cli, with these arguments."""
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(wanted["environment"])
    sys.argv = ["swarm-cli", *wanted["arguments"]]
    swarm_cli.main.main()
    raise AssertionError("main() always exits")


def main() -> None:
    """Fork, tell, reap."""
    pids = []
    for wanted in json.loads(sys.argv[1]):
        pid = os.fork()
        if pid == 0:
            run(wanted)
        pids.append(pid)
    print(json.dumps(pids), flush=True)
    for _ in pids:
        pid, status = os.wait()
        print(json.dumps([pid, os.waitstatus_to_exitcode(status)]), flush=True)


if __name__ == "__main__":
    main()
