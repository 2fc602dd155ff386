"""Hung nodes: how late each kind of hang is noticed, and how late it is killed, beyond its timeout.

    python -m benchmarks.supervisor_hang [--rounds 5]

Report timeout 1 s, boot timeout 1 s, TERM to KILL 0.5 s, stack dump 0.2 s. Two nodes hang at once in each round.
"""

import argparse
import ctypes
import logging
import os
import signal
import threading
import time

from swarm_supervisor import Node, Supervisor, events

TIMEOUT_S, SHUTDOWN_S, DUMP_S = 1.0, 0.5, 0.2
KINDS = ("SIGSTOP", "blocked main thread", "C call that holds the GIL", "deadlock right after the fork")


def hold_gil() -> None:
    """Never return, never let go of the GIL, and go on after every signal."""
    libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


def measure(kind: str) -> tuple[list[float], list[float]]:
    """Return seconds beyond the timeout until noticed, and beyond the budget until killed, of two nodes."""

    def target(node: Node) -> int:
        if kind == KINDS[3]:
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
        node.healthy()
        if kind == KINDS[2]:
            hold_gil()
        if kind == KINDS[1]:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Event().wait()
        if kind == KINDS[0]:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            os.kill(os.getpid(), signal.SIGSTOP)
            threading.Event().wait()
        return 0

    supervisor = Supervisor(
        target, nodes=2, restart="never", liveness_interval=0.5, node_report_timeout=TIMEOUT_S, boot_timeout=TIMEOUT_S,
        shutdown_timeout=SHUTDOWN_S, stack_dump_timeout=DUMP_S,
    )  # fmt: skip
    last: dict[int, float] = {}
    stopping: dict[int, float] = {}
    noticed, killed = [], []

    @supervisor.on(events.AfterFork)
    def forked(event: events.AfterFork) -> None:
        last[event.node_id] = event.at

    @supervisor.on(events.NodeReported)
    def reported(event: events.NodeReported) -> None:
        if event.status is not None:
            last[event.node_id] = event.at

    @supervisor.on(events.NodeStopping)
    def told(event: events.NodeStopping) -> None:
        stopping[event.node_id] = time.monotonic()
        noticed.append(time.monotonic() - last[event.node_id] - TIMEOUT_S)

    @supervisor.on(events.NodeExited)
    def exited(event: events.NodeExited) -> None:
        budget = DUMP_S if kind == KINDS[3] else DUMP_S + SHUTDOWN_S
        killed.append(time.monotonic() - stopping[event.node_id] - budget)

    supervisor.run()
    return noticed, killed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    logging.disable()
    for kind in KINDS:
        noticed: list[float] = []
        killed: list[float] = []
        for _ in range(options.rounds):
            late, dead = measure(kind)
            noticed += late
            killed += dead
        print(
            f"{kind:30} noticed at most {max(noticed) * 1000:6.1f} ms after the timeout; "
            f"dead {max(killed) * 1000:7.1f} ms after the budget at the latest (negative: before it)"
        )


if __name__ == "__main__":
    main()
