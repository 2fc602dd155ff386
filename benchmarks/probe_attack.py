"""How fast a death is noticed while clients attack the probes, beside a bare pidfd and epoll loop in the same run.

python -m benchmarks.probe_attack [KILLS]

A supervisor of two nodes serves its probes to a crowd: 1,000 connections that say nothing and come back at once when
they are closed, 50 that send one byte a second, 8 that send requests of 1 MB, 4 that read /metrics over and over (200
partitions). Meanwhile its nodes are killed with SIGKILL. Beside it runs a bare loop, which does nothing but wait in an
epoll for the pidfd of the node that is going to be killed: the same death, the same load, the same run. A reaction is
the time from the kill until the supervisor has reaped the node and decides, or the bare loop has woken up.
"""

import contextlib
import json
import math
import os
import random
import resource
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from swarm_health import NodeStatistics, PartitionStatistics
from swarm_liveness.serving import serve_supervisor
from swarm_supervisor import Node, Supervisor
from swarm_supervisor.events import NodeExited, NodeRunning

SILENT, SLOW, LARGE, READERS = 1000, 50, 8, 4
MEGABYTE = b"x" * 2**20
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE_HEADS = (
    b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX: ",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n",
)
MAX_CONNECTS_A_SECOND = 2000
RESAMPLES = 1000


def say(*words: object) -> None:
    """One line for the one who measures: one write, so that lines of a supervisor and its nodes never mix."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


# The two who watch.


def target(node: Node) -> int:
    """A node that beats, with as many partitions as a busy one has."""
    shown = [PartitionStatistics(topic="flights", partition=number, messages=number, lag=1) for number in range(100)]
    while True:
        node.healthy()
        node.report(NodeStatistics(state="running", partitions=shown))
        if node.stopping.wait(0.5):
            return 0


def supervise() -> int:
    """A swarm with probes, as swarm-cli makes it."""
    supervisor = Supervisor(target, nodes=2, node_restart_delay=0, max_restarts=10**9, liveness_interval=1.0)
    supervisor.on(NodeRunning)(lambda event: say("running", event.pid))
    supervisor.on(NodeExited)(lambda event: say("exited", event.pid, event.at))
    probes = serve_supervisor(supervisor, "0")
    assert probes is not None
    say("port", probes.port)
    # Closed when the one who measures ends, however it does.
    supervisor.add_reader(sys.stdin.fileno(), select.EPOLLHUP, lambda _: supervisor.stop("the benchmark has ended"))
    return supervisor.run()


def watch_bare() -> int:
    """Nothing but a pidfd in an epoll."""
    for line in sys.stdin:
        pid = int(line)
        pidfd = os.pidfd_open(pid)
        epoll = select.epoll()
        epoll.register(pidfd, select.EPOLLIN)
        say("watching", pid)
        while not epoll.poll():
            pass
        say("exited", pid, time.monotonic())
        epoll.close()
        os.close(pidfd)
    return 0


# Those who attack.


@dataclass
class Client:
    """One connection of the crowd."""

    kind: str
    sock: socket.socket
    to_send: memoryview = field(default_factory=lambda: memoryview(b""))


class Crowd:
    """All clients, in one loop."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.epoll = select.epoll()
        self.clients: dict[int, Client] = {}
        self.missing = ["silent"] * SILENT + ["slow"] * SLOW + ["large"] * LARGE + ["metrics"] * READERS
        random.shuffle(self.missing)
        self.counts = dict.fromkeys(("connected", "bytes", "answers"), 0)

    def connect(self) -> None:
        """Open one that is missing."""
        kind = self.missing.pop()
        sock = socket.socket()
        sock.setblocking(False)
        try:
            sock.connect(("127.0.0.1", self.port))
        except BlockingIOError:
            pass
        except OSError:  # the backlog is full: again in the next round
            sock.close()
            self.missing.insert(0, kind)
            return
        client = Client(kind, sock)
        if kind == "large":
            where = random.choice(
                (b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX: ", b"POST /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            )
            client.to_send = memoryview(where + MEGABYTE)
        elif kind == "metrics":
            client.to_send = memoryview(SCRAPE)
        self.clients[sock.fileno()] = client
        self.epoll.register(sock.fileno(), select.EPOLLIN | (select.EPOLLOUT if client.to_send else 0))
        self.counts["connected"] += 1

    def drop(self, client: Client) -> None:
        """Close one; it comes back."""
        del self.clients[client.sock.fileno()]
        client.sock.close()
        self.missing.insert(0, client.kind)

    def serve(self, client: Client, events: int) -> None:
        """Write and read what its socket takes and gives."""
        try:
            if events & select.EPOLLOUT and client.to_send:
                sent = client.sock.send(client.to_send[:65536])
                self.counts["bytes"] += sent
                client.to_send = client.to_send[sent:]
                if not client.to_send:
                    self.epoll.modify(client.sock.fileno(), select.EPOLLIN)
            if events & ~select.EPOLLOUT:
                received = client.sock.recv(2**20)
                if not received:
                    self.drop(client)
                elif client.kind == "metrics" and received.endswith(b"\n"):
                    self.counts["answers"] += 1
                    client.to_send = memoryview(SCRAPE)
                    self.epoll.modify(client.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
        except BlockingIOError:
            pass
        except OSError:
            self.drop(client)

    def run(self, parent: int) -> None:
        """Attack until the parent has gone."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        told = time.monotonic()
        budget_at = tick_at = told
        while os.getppid() == parent:
            now = time.monotonic()
            for _ in range(min(len(self.missing), 64, int((now - budget_at) * MAX_CONNECTS_A_SECOND))):
                self.connect()
                budget_at = now
            if now >= tick_at:
                tick_at = now + 1.0
                for client in list(self.clients.values()):
                    if client.kind == "slow":
                        with contextlib.suppress(OSError):
                            client.sock.send(b"G")
            for fd, events in self.epoll.poll(0.005, 256):
                if fd in self.clients:
                    self.serve(self.clients[fd], events)
            if now - told >= 0.25:
                told = now
                say("crowd", json.dumps(self.counts | {"open": len(self.clients)}))


# The one who measures.


class Watcher:
    """A process that watches children of its own, and what it says of them."""

    def __init__(self, *role: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.probe_attack", *role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.popen.stdout is not None
        assert self.popen.stdin is not None
        self.out = self.popen.stdout
        self.to = self.popen.stdin
        self.rest = b""
        self.running: list[int] = []
        self.words: dict[str, list[str]] = {}
        self.exited: dict[int, float] = {}

    def read(self, deadline: float) -> None:
        """Take in what it says, at least once."""
        if not select.select([self.out], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError("a process of the benchmark is silent")
        chunk = os.read(self.out.fileno(), 65536)
        if not chunk:
            raise RuntimeError(f"a process of the benchmark has ended: {self.popen.wait(10)}")
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        for line in lines:
            word, *more = line.decode().split(" ", 2)
            self.words[word] = more
            if word == "running":
                self.running.append(int(more[0]))
            elif word == "exited":
                self.exited[int(more[0])] = float(more[1])
                with contextlib.suppress(ValueError):
                    self.running.remove(int(more[0]))

    def drain(self) -> None:
        """Take in what there is."""
        while select.select([self.out], [], [], 0)[0]:
            self.read(time.monotonic())

    def until(self, word: str, timeout_s: float = 60.0) -> list[str]:
        """Wait for a line that begins so."""
        deadline = time.monotonic() + timeout_s
        while word not in self.words:
            self.read(deadline)
        return self.words[word]

    def until_exited(self, pid: int, deadline: float) -> float:
        """When it knew of a death."""
        while pid not in self.exited:
            self.read(deadline)
        return self.exited[pid]

    def end(self) -> None:
        """End it, and its children with it."""
        with contextlib.suppress(ProcessLookupError):
            self.popen.kill()
        for pid in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.popen.wait(10)
        self.to.close()
        self.out.close()


@dataclass
class Figures:
    """Reactions in seconds, death by death, and what the crowd did meanwhile."""

    supervised: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    crowd: dict[str, float] = field(default_factory=dict)
    """A second; but how many connections are open."""
    port: int = 0
    """Where the probes are."""

    @property
    def ratio(self) -> float:
        """Of the medians, supervisor to bare loop."""
        return statistics.median(self.supervised) / statistics.median(self.bare)

    def shown_ratio(self, confidence: float = 0.99) -> float:
        """What the ratio is at the least, as far as these deaths can tell: the lower end of its interval.

        A bootstrap of whole deaths, because a busy moment of the machine delays both of one death.
        """
        drawn = random.Random(len(self.bare))
        deaths = list(zip(self.supervised, self.bare, strict=True))
        ratios = []
        for _ in range(RESAMPLES):
            supervised, bare = zip(*drawn.choices(deaths, k=len(deaths)), strict=True)
            ratios.append(statistics.median(supervised) / statistics.median(bare))
        return sorted(ratios)[int((1 - confidence) * RESAMPLES)]


def measure(attacked: bool = True) -> Iterator[Figures]:
    """Measure death after death, for as long as the figures are wanted; the same object each time."""
    figures = Figures()
    with contextlib.ExitStack() as ends:
        supervisor, bare = Watcher("supervise"), Watcher("bare")
        ends.callback(supervisor.end)
        ends.callback(bare.end)
        (port,) = supervisor.until("port")
        figures.port = int(port)
        _death(supervisor, bare)  # all are up, and have done it once
        crowd = None
        if attacked:
            crowd = Watcher("crowd", port)
            ends.callback(crowd.end)
            crowd.until("crowd")
            while _counts(crowd)["connected"] < SILENT:
                crowd.read(time.monotonic() + 60)
        begun, first = time.monotonic(), _counts(crowd)
        while True:
            of_supervisor, of_bare = _death(supervisor, bare)
            figures.supervised.append(of_supervisor)
            figures.bare.append(of_bare)
            counts, seconds = _counts(crowd), time.monotonic() - begun
            figures.crowd = {name: (count - first[name]) / seconds for name, count in counts.items() if name != "open"}
            figures.crowd["open"] = counts.get("open", 0)
            yield figures


def _death(supervisor: Watcher, bare: Watcher, timeout_s: float = 60.0) -> tuple[float, float]:
    """Kill a node; seconds until the supervisor, and until the bare loop, knew."""
    deadline = time.monotonic() + timeout_s
    while len(supervisor.running) < 2:
        supervisor.read(deadline)
    victim = supervisor.running[0]
    bare.words.pop("watching", None)
    bare.to.write(f"{victim}\n".encode())
    bare.to.flush()
    bare.until("watching")
    time.sleep(random.uniform(0.005, 0.03))  # no phase of anything is favoured
    begun = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    return supervisor.until_exited(victim, deadline) - begun, bare.until_exited(victim, deadline) - begun


def _counts(crowd: Watcher | None) -> dict[str, float]:
    if crowd is None:
        return {}
    crowd.drain()
    counts: dict[str, float] = json.loads("".join(crowd.words["crowd"]))
    return counts


def describe(reactions: list[float]) -> str:
    """Percentiles in milliseconds."""
    ordered = sorted(reactions)
    nearest = [ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] * 1e3 for share in (0.5, 0.9, 0.99)]
    return "p50 {:.2f} ms, p90 {:.2f} ms, p99 {:.2f} ms".format(*nearest)


def main() -> None:
    """Measure and print, in peace and under attack."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    for attacked in (False, True):
        for figures in measure(attacked):
            if len(figures.bare) >= kills:
                break
        print(f"{'under attack' if attacked else 'in peace'}, {kills} kills:")
        if attacked:
            print("  a second: " + ", ".join(f"{value:,.0f} {name}" for name, value in figures.crowd.items()))
        print(f"  supervisor with probes   {describe(figures.supervised)}")
        print(f"  bare pidfd + epoll loop  {describe(figures.bare)}")
        print(f"  ratio of the medians     {figures.ratio:.2f}, at least {figures.shown_ratio():.2f} (99 % sure)")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["supervise"]:
            sys.exit(supervise())
        case ["bare"]:
            sys.exit(watch_bare())
        case ["crowd", port]:
            Crowd(int(port)).run(os.getppid())
        case _:
            main()
