"""Runs a supervisor for each place where it calls something foreign, has that place raise once, and tells what became
of its nodes. As a program: results as lines of JSON. `call_outs` finds the places.

    python call_out_driver.py look           which places are reached, before the first node runs and after
    python call_out_driver.py START POINT    ... raise at each; START 1: from the start, 0: once both nodes run
"""

import contextlib
import json
import mmap
import os
import select
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import call_outs

PATIENCE_S = 30.0
RAISED = 70


class Raised(BaseException):
    """Of no class that anybody expects."""


class Trouble(Exception):
    """What a supervisor did not do."""


def supervise(folder, nodes_fd, poke_fd, before_run):
    """Run in a process of its own: two nodes, and something of everything around them."""
    from swarm_supervisor import Supervisor, events
    from swarm_supervisor._core import decisions

    decisions.FORK_RETRY_S = 0.02

    def work(node):
        if node.id == 1 and (middle := os.fork()) == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(0.05)
            os._exit(0)
        elif node.id == 1:
            os.waitpid(middle, 0)
        beats = 0
        while not node.stopping.wait(0.02):
            node.healthy()
            beats += 1
            if beats == 3:  # by now it is known to be running
                os.write(nodes_fd, f"up {node.id} {os.getpid()}\n".encode())
        os.write(nodes_fd, f"drained {node.id} {os.getpid()}\n".encode())
        return 0

    supervisor = Supervisor(
        work, nodes=2, subreaper=True, control_socket=folder / "s", liveness_interval=1.0, node_report_timeout=20.0,
        boot_timeout=20.0, shutdown_timeout=3.0, shutdown_grace=3.0, node_restart_delay=0.0, restart_delay_max=0.0,
        max_restarts=10**6, stack_dump_timeout=0.2,
    )  # fmt: skip
    heard = []
    supervisor.subscribe(lambda event: heard.append(type(event).__name__))

    def poked(mask):
        os.read(poke_fd, 1)
        supervisor.in_child(lambda: b"x", 5.0, lambda result: heard.append(result))
        supervisor.trace(None)
        supervisor.scale(3)
        supervisor.call_at(time.monotonic() + 0.05, lambda: supervisor.scale(2))

    def again():
        supervisor.call_at(time.monotonic() + 0.02, again)

    supervisor.on(events.NodeRunning)(lambda event: again())
    supervisor.add_reader(poke_fd, select.EPOLLIN, poked)
    supervisor.close_in_children(lambda: None)
    before_run()
    return supervisor.run()


class Scenario:
    """One such run, seen and disturbed from outside."""

    def __init__(self, point, from_start, hits=None):
        self.shared = mmap.mmap(-1, 2)
        self.shared[0] = int(from_start)
        self.seen, self.drained, self.rest = [], [], b""
        self.folder = tempfile.TemporaryDirectory(prefix="call-out-")
        folder = Path(self.folder.name)
        self.nodes_fd, nodes_write = os.pipe()
        poke_read, self.poke_fd = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(nodes_write)
            os.close(poke_read)
            self.folder_path = folder
            return
        code = 1
        try:
            own, reached = os.getpid(), {"0": set(), "1": set()}
            os.dup2(os.open(folder / "log", os.O_CREAT | os.O_WRONLY), 2)

            def call_out(name, function):
                if os.getpid() == own and reached is not None:
                    if hits is not None:
                        reached[str(self.shared[0])].add(name)
                    elif name == point and self.shared[0] and not self.shared[1]:
                        self.shared[1] = 1
                        raise Raised(name)
                return function

            def before_run():
                call_outs.builtins.__call_out__ = call_out

            try:
                code = supervise(folder, nodes_write, poke_read, before_run)
            except Raised:
                code = RAISED
            except BaseException:
                import traceback

                traceback.print_exc()
                code = 71
            if os.getpid() == own and hits is not None:
                Path(hits).write_text(json.dumps({key: sorted(value) for key, value in reached.items()}))
        finally:
            os._exit(code)

    def read(self, timeout):
        ready, _, _ = select.select([self.nodes_fd], [], [], timeout)
        if ready:
            *lines, self.rest = (self.rest + os.read(self.nodes_fd, 65536)).split(b"\n")
            for line in lines:
                what, node, pid = line.split()
                (self.seen if what == b"up" else self.drained).append((int(node), int(pid)))

    def until(self, what, condition, patience=PATIENCE_S):
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline or (self.over() and not condition()):
                raise Trouble(what)
            self.read(0.02)

    def over(self):
        if not hasattr(self, "code"):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == 0:
                return False
            self.code = os.waitstatus_to_exitcode(status)
        return True

    def restart(self, node):
        """Kill a node, and wait for its next process."""
        before = [pid for each, pid in self.seen if each == node]
        with contextlib.suppress(ProcessLookupError):  # it may have been replaced at this moment
            os.kill(before[-1], signal.SIGKILL)
        self.until(f"node {node} is not restarted", lambda: any(i == node and p not in before for i, p in self.seen))

    def play(self):
        self.until("not both nodes start", lambda: {0, 1} <= {node for node, _ in self.seen})
        self.shared[0] = 1
        os.write(self.poke_fd, b"x")
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(0.3)
            client.connect(str(self.folder_path / "s"))
            client.sendall(b'{"command":"status"}\n{"command":"subscribe"}\n{"command":"trace"}\n')
            client.recv(65536)
            client.recv(65536)
        os.kill(self.pid, signal.SIGTTIN)
        self.restart(0)
        os.kill(self.pid, signal.SIGUSR2)
        with contextlib.suppress(Trouble):
            self.until("", lambda: sum(node < 2 for node, _ in self.seen) >= 5, 1.0)
        self.restart(1)
        os.kill(self.pid, signal.SIGTSTP)
        os.kill(self.pid, signal.SIGTERM)
        self.until("it does not end", self.over)

    def result(self):
        trouble = ""
        try:
            self.play()
        except Trouble as error:
            trouble = str(error)
        if not self.over():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.code = -9
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:  # until the last holder of the pipe has gone
            ready, _, _ = select.select([self.nodes_fd], [], [], 0.5)
            if ready and not (chunk := os.read(self.nodes_fd, 65536)):
                break
            if ready:
                *lines, self.rest = (self.rest + chunk).split(b"\n")
                self.drained += [(0, 0) for line in lines if line.startswith(b"drained")]
        else:
            trouble += "; a node is left"
        log = (self.folder_path / "log").read_text()[-1500:] if trouble or self.code not in (0, 4, RAISED) else ""
        os.close(self.nodes_fd)
        os.close(self.poke_fd)
        self.folder.cleanup()
        return {
            "code": self.code,
            "fired": bool(self.shared[1]),
            "trouble": trouble,
            "drained": len(self.drained),
            "log": log,
        }


def main():
    call_outs.install(lambda name, function: function)
    import swarm_supervisor  # noqa: F401  marked, once, for all scenarios

    if sys.argv[1] == "look":
        with tempfile.NamedTemporaryFile() as file:
            result = Scenario("", False, file.name).result()
            print(json.dumps({**result, "hits": json.loads(Path(file.name).read_text() or "{}")}))
        return
    from_start = sys.argv[1] == "1"
    for point in sys.stdin.read().split("\n"):
        if point:
            print(json.dumps({"point": point, **Scenario(point, from_start).result()}), flush=True)


if __name__ == "__main__":
    main()
