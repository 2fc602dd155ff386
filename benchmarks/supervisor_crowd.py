"""What a crowd costs: idle wake-ups, 1,000 nodes reporting once a second, and all of them killed at once.

    python -m benchmarks.supervisor_crowd [--nodes 1000] [--seconds 20]

CPU is the supervisor's own (getrusage), as a share of one core; wake-ups are its voluntary context switches.
"""

import argparse
import gc
import logging
import os
import resource
import signal
import time

from swarm_supervisor import Node, Supervisor, events


def usage() -> tuple[float, int]:
    """Return CPU seconds and voluntary context switches of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_nvcsw


def reporting(node: Node) -> int:
    """Beat once a second, as swarms do, each node at a moment of its own."""
    gc.disable()
    node.healthy()
    if not node.stopping.wait(node.id * 7919 % 1000 / 1000):
        node.healthy()
        while not node.stopping.wait(1.0):
            node.healthy()
    return 0


def silent(node: Node) -> int:
    """Beat once."""
    node.healthy()
    node.stopping.wait()
    return 0


def idle(seconds: float) -> None:
    """Four nodes that say nothing: the supervisor must not wake up."""
    supervisor = Supervisor(silent, nodes=4, node_report_timeout=600.0)
    before = (0.0, 0)

    @supervisor.on(events.NodeRunning)
    def begin(event: events.NodeRunning) -> None:
        if supervisor.snapshot().running == 4:
            supervisor.call_at(time.monotonic() + 1.0, start)

    def start() -> None:
        nonlocal before
        before = usage()
        supervisor.call_at(time.monotonic() + seconds, end)

    def end() -> None:
        cpu, switches = usage()
        # One of them is the timer that ends the measurement.
        print(f"idle: {switches - before[1] - 1} wake-ups and {(cpu - before[0]) * 1000:.2f} ms CPU in {seconds:g} s")
        supervisor.stop("measured")

    supervisor.run()


def crowd(nodes: int, seconds: float) -> None:
    """Measure the cost of reports, then of everybody's death."""
    supervisor = Supervisor(
        reporting,
        nodes=nodes,
        liveness_interval=1.0,
        node_report_timeout=300.0,
        boot_timeout=300.0,
        restart="never",
        shutdown_timeout=60.0,
    )
    began = time.monotonic()
    before = (0.0, 0)
    killed_at = 0.0
    dead = running = 0

    @supervisor.on(events.NodeRunning)
    def begin(event: events.NodeRunning) -> None:
        nonlocal running
        running += 1
        if running == nodes:
            print(f"{nodes} nodes forked and running after {time.monotonic() - began:.2f} s")
            supervisor.call_at(time.monotonic() + 2.0, start)

    def start() -> None:
        nonlocal before
        before = usage()
        supervisor.call_at(time.monotonic() + seconds, end)

    def end() -> None:
        nonlocal killed_at
        cpu, switches = usage()
        share = (cpu - before[0]) / seconds
        print(
            f"{nodes} reports a second: {share * 100:.2f} % of one core, {share / nodes * 1e6:.1f} us a report, "
            f"{(switches - before[1]) / seconds:.0f} wake-ups a second"
        )
        pids = [node.pid for node in supervisor.snapshot().nodes if node.pid is not None]
        killed_at = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    @supervisor.on(events.NodeExited)
    def count(event: events.NodeExited) -> None:
        nonlocal dead
        dead += 1
        if dead == nodes:
            print(f"all killed at once: the last one reaped after {time.monotonic() - killed_at:.3f} s")

    supervisor.run()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    logging.disable()
    idle(options.seconds)
    crowd(options.nodes, options.seconds)


if __name__ == "__main__":
    main()
