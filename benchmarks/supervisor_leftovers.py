"""What is left behind: nodes of a supervisor that was killed, and a supervisor after 1,000 crash restarts.

    python -m benchmarks.supervisor_leftovers [--rounds 10] [--restarts 1000]

Three nodes: one that works, one in a C call that holds the GIL, one that ignores TERM. Gone: from just before the
SIGKILL of the supervisor to the end of the last of them, as their pidfds tell it. Restarts: descriptors, threads and
RSS of the supervisor after 100 crashes and after 1,000 more, and its zombies at the end.
"""

import argparse
import logging
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.supervisor_hang import hold_gil
from swarm_supervisor import Node, Supervisor, events


def hard_to_end(node: Node) -> int:
    """Work, hold the GIL or ignore TERM, by node id."""
    node.healthy()
    if node.id == 1:
        hold_gil()
    if node.id == 2:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        while True:
            time.sleep(600)
    node.stopping.wait()
    return 0


def supervise() -> int:
    """Run the three nodes, and tell their pids once all of them run."""
    supervisor = Supervisor(hard_to_end, nodes=3, node_report_timeout=600.0)

    @supervisor.on(events.NodeRunning)
    def running(event: events.NodeRunning) -> None:
        snapshot = supervisor.snapshot()
        if snapshot.running == 3:
            print(*(node.pid for node in snapshot.nodes), flush=True)

    return supervisor.run()


def gone_after() -> float:
    """Kill a supervisor; return the seconds until the last of its nodes has gone."""
    command = [sys.executable, "-m", "benchmarks.supervisor_leftovers", "--supervise"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pidfds = [os.pidfd_open(int(pid)) for pid in supervisor.stdout.readline().split()]
        began = time.monotonic()
        supervisor.kill()
        for pidfd in pidfds:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(20_000):
                raise TimeoutError("a node is still there 20 s after its supervisor was killed")
            os.close(pidfd)
        return time.monotonic() - began


def crash(node: Node) -> int:
    """End at once."""
    os._exit(3)


def standing() -> tuple[int, int, int]:
    """Return descriptors, threads and RSS in kB of this process."""
    rss = int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), rss


def zombies() -> int:
    """Return how many children of this process have ended and are not reaped."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return sum(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z" for pid in pids)


def crashes(restarts: int) -> None:
    """Let a node crash again and again, and print what that has left."""
    supervisor = Supervisor(crash, nodes=1, node_restart_delay=0.0, restart_delay_max=0.0, max_restarts=10**9)
    count, before, began = 0, (0, 0, 0), 0.0

    @supervisor.on(events.NodeExited)
    def look(event: events.NodeExited) -> None:
        nonlocal count, before, began
        count += 1
        if count == 100:
            before, began = standing(), time.monotonic()
        if count == 100 + restarts:
            after = standing()
            changes = [last - first for first, last in zip(before, after, strict=True)]
            print(
                f"{restarts} crash restarts in {time.monotonic() - began:.1f} s: descriptors {changes[0]:+d}, "
                f"threads {changes[1]:+d}, RSS {changes[2]:+d} kB, zombies {zombies()}"
            )
            supervisor.stop("measured")

    supervisor.run()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=1000)
    parser.add_argument("--supervise", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable()
    if options.supervise:
        return supervise()
    times = [gone_after() for _ in range(options.rounds)]
    print(f"supervisor killed: the last of 3 nodes gone after at most {max(times) * 1000:.1f} ms, n={len(times)}")
    crashes(options.restarts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
