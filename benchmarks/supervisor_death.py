"""Death noticed, and a replacement forked: this supervisor, a bare os.fork, gunicorn and uvicorn.

    python -m benchmarks.supervisor_death [--rounds 200] [--preload 150000] [--peers]

noticed: from just before the kill(2) to the NodeExited event. replaced: from NodeExited to the moment the replacement's
fork has returned (delay 0). started: from NodeExited to the first line of the replacement's target. What the machine
itself takes at the moment is measured in between, in the same process: a bare os.fork, and the death of its child as
poll(2) on a pidfd tells it. On a machine that others use, look at the ratios.
--peers installs gunicorn and uvicorn into an environment of the benchmark's own (none of ours needs them) and measures
SIGKILL to the appearance of a new child in /proc, looked at every 0.5 ms; this supervisor is looked at the same way.
"""

import argparse
import contextlib
import gc
import json
import logging
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from swarm_supervisor import Node, Supervisor, events


def percentile(values: list[float], share: float) -> float:
    """Return a percentile by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(values: list[float]) -> str:
    """Return p50, p99 and maximum in milliseconds."""
    return (
        f"p50 {percentile(values, 0.5) * 1000:7.3f} ms   p99 {percentile(values, 0.99) * 1000:7.3f} ms   "
        f"max {max(values) * 1000:7.3f} ms   n={len(values)}"
    )


_first_line = mmap.mmap(-1, mmap.PAGESIZE)
"""When the newest node has reached its target (monotonic seconds)."""


def target(node: Node) -> int:
    """Beat once, then wait for the end."""
    struct.pack_into("d", _first_line, 0, time.monotonic())
    node.healthy()
    node.stopping.wait()
    return 0


def bare_fork() -> float:
    """Seconds that a bare os.fork of this process takes, collected and frozen as before the supervisor's."""
    gc.collect()
    gc.freeze()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    took = time.monotonic() - started
    os.waitpid(pid, 0)
    return took


def bare_notice() -> float:
    """Seconds from the SIGKILL of a bare os.fork of this process to the return of poll(2) on its pidfd."""
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        while True:
            signal.pause()
    fd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll(10)  # it must have gone to sleep
    started = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    poll.poll()
    took = time.monotonic() - started
    os.waitpid(pid, 0)
    os.close(fd)
    return took


def measure(rounds: int, preload: int) -> dict[str, list[float]]:
    """Kill a node again and again; return noticed, replaced and bare fork times."""
    data = [{"id": number, "name": f"flight {number}", "legs": [number, number + 1]} for number in range(preload)]
    supervisor = Supervisor(
        target, nodes=1, node_restart_delay=0.0, restart_delay_max=0.0, max_restarts=10**9, restart_window=1e9
    )
    results: dict[str, list[float]] = {
        name: [] for name in ("noticed", "replaced", "started", "fork", "bare", "bare notice")
    }
    killed_at = exited_at = 0.0

    @supervisor.on(events.NodeRunning)
    def kill(event: events.NodeRunning) -> None:
        def now() -> None:
            nonlocal killed_at
            killed_at = time.monotonic()
            os.kill(event.pid or 0, signal.SIGKILL)

        if event.generation > 1:
            results["started"].append(struct.unpack_from("d", _first_line)[0] - exited_at)
        results["bare"].append(bare_fork())
        results["bare notice"].append(bare_notice())
        if len(results["noticed"]) >= rounds:
            supervisor.stop("measured")
        else:
            # Not at once: the node must have gone to sleep, and its memory must be quiet.
            supervisor.call_at(time.monotonic() + 0.01, now)

    @supervisor.on(events.NodeExited)
    def exited(event: events.NodeExited) -> None:
        nonlocal exited_at
        exited_at = time.monotonic()
        if not event.planned:
            results["noticed"].append(exited_at - killed_at)

    @supervisor.on(events.AfterFork)
    def forked(event: events.AfterFork) -> None:
        if event.generation > 1:
            results["replaced"].append(event.at - exited_at)
            results["fork"].append(event.duration_s)

    supervisor.run()
    del data
    return {name: values[1:] for name, values in results.items()}  # the first round faults the heap's pages


PEERS = {
    "gunicorn": ["-m", "gunicorn", "-w", "1", "-b", "127.0.0.1:0", "peer_app:app"],
    "uvicorn": ["-m", "uvicorn", "--workers", "2", "--port", "0", "--log-level", "warning", "peer_app:asgi"],
}
OURS = [
    "-c",
    "from benchmarks.supervisor_death import target; from swarm_supervisor import Supervisor;"
    "Supervisor(target, nodes=1, node_restart_delay=0.0, restart_delay_max=0.0, max_restarts=99999).run()",
]
PEER_APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
async def asgi(scope, receive, send):
    pass
"""


def children(pid: int) -> set[int]:
    """Return the children of a process that have not ended."""
    found = set()
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found.add(int(child))
    return found


def settled(pid: int) -> set[int]:
    """Wait until a server's children have not changed for a second."""
    before: set[int] = set()
    since = time.monotonic()
    while time.monotonic() - since < 1.0 or not before:
        now = children(pid)
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.05)
    return before


def peers_python(folder: str) -> str | None:
    """Make an environment with the peers in it; return its Python, or None, said why, if pip cannot."""
    python = str(Path(folder, "venv", "bin", "python"))
    try:
        subprocess.run([sys.executable, "-m", "venv", str(Path(folder, "venv"))], check=True, capture_output=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS]
        subprocess.run(pip, check=True, capture_output=True, timeout=300.0)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"gunicorn and uvicorn are left out: they cannot be installed ({error})")
        return None
    listing = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    print(", ".join(line for line in listing.stdout.split() if line.partition("==")[0] in PEERS))
    return python


def measure_peer(command: list[str], rounds: int, folder: str) -> list[float]:
    """Kill a worker again and again; return the times until there is another."""
    Path(folder, "peer_app.py").write_text(PEER_APP)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, os.getcwd()])}
    server = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    times = []
    try:
        for _ in range(rounds):
            before = settled(server.pid)
            victim = max(before)  # uvicorn's other child, the resource tracker, came first
            began = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            while not children(server.pid) - before:
                if time.monotonic() - began > 20.0:
                    raise TimeoutError("the server does not replace its worker")
                time.sleep(0.0005)
            times.append(time.monotonic() - began)
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(10.0)
        server.kill()
        server.wait()
    return times


def compare(rounds: int) -> dict[str, list[float]]:
    """Measure this supervisor and its peers from outside, each the same way; print and return the times."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        python = peers_python(folder)
        commands = {"this supervisor": [sys.executable, *OURS]}
        if python is not None:
            commands |= {name: [python, *arguments] for name, arguments in PEERS.items()}
        for name, command in commands.items():
            results[name] = measure_peer(command, rounds, folder)
            print(f"SIGKILL to another worker, seen from outside: {name}")
            print(f"                     {summary(results[name])}", flush=True)
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--preload", type=int, default=150_000, help="records in the large parent")
    parser.add_argument("--peers", action="store_true", help="measure gunicorn and uvicorn too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable()
    results = {"small": measure(options.rounds, 0), "large": measure(min(60, options.rounds), options.preload)}
    for size, values in results.items():
        print(f"{size} parent")
        print(f"  noticed            {summary(values['noticed'])}")
        print(f"  replaced           {summary(values['replaced'])}")
        print(f"  its fork step      {summary(values['fork'])}")
        print(f"  started            {summary(values['started'])}")
        print(f"  bare os.fork       {summary(values['bare'])}")
        print(f"  bare pidfd         {summary(values['bare notice'])}")
        for ours, bare in (("noticed", "bare notice"), ("replaced", "bare")):
            ratio = percentile(values[ours], 0.5) / percentile(values[bare], 0.5)
            print(f"  {ours:8} / bare    {ratio:.2f} (p50)")
    if options.peers:
        results["from outside"] = compare(15)
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
