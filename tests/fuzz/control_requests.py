"""What must hold for whatever a client sends to the control socket."""

import itertools
import json
import socket
import tempfile
import time
from pathlib import Path

from swarm_supervisor._control import MAX_REQUEST_BYTES, ControlServer
from swarm_supervisor._core.decisions import step
from swarm_supervisor._core.fleet import Fleet
from swarm_supervisor._listeners import Listeners
from swarm_supervisor._loop import Loop
from swarm_supervisor._runner import Runner
from swarm_supervisor._supervisor import Supervisor
from swarm_supervisor.events import SignalReceived
from swarm_supervisor.signals import SignalInbox

PACKAGES = ["swarm_supervisor"]
EVENT = SignalReceived(at=0.0, signal=15, name="SIGTERM", action="stopping")
MANY_NODES = 50
_kept = []


def _served():
    """A control server over the answers of a real supervisor that has not forked."""
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")
    _kept.append(folder)
    loop = Loop()
    supervisor = Supervisor(lambda node: 0, nodes=2)
    supervisor._loop = loop
    supervisor._runner = Runner(lambda node: 0, supervisor.settings, 2, Listeners(), loop, SignalInbox())
    path = Path(folder.name) / "control.sock"
    return loop, supervisor._runner, path, ControlServer(path, loop, supervisor._control_commands().answer)


LOOP, RUNNER, PATH, SERVER = _served()


def pieces_of(data):
    """The first byte says how the others arrive: in pieces of so many bytes (0: whole), 255: forty times in a row."""
    size, data = (data[0] if data else 0), data[1:]
    if size == 255:
        return [data * 40]
    return [data[begin : begin + size] for begin in range(0, len(data), size)] if size else [data]


def _work():
    """Do what there is to do now; return whether there was anything. The sweep of idle clients is left for later."""
    events = LOOP.wait(time.monotonic())
    LOOP.dispatch(events)
    now = time.monotonic()
    timer = LOOP.next_timer()
    LOOP.run_timers(now)
    return bool(events) or (timer is not None and timer <= now)


def _turn(client):
    """Let the server do what there is to do; return what it has said meanwhile, and whether it has hung up."""
    said = b""
    while _work():
        try:
            while chunk := client.recv(65536):
                said += chunk
        except BlockingIOError:
            continue
        except ConnectionResetError:
            pass
        return said, True
    return said, False


def exchange(pieces):
    """Connect, send the pieces, and return what came back until the server hung up."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(PATH))
        client.setblocking(False)
        said, over = _turn(client)
        for piece in pieces:
            while piece and not over:
                try:
                    piece = piece[client.send(piece) :]
                except BlockingIOError:
                    pass
                except (BrokenPipeError, ConnectionResetError):
                    over = True
                more, ended = _turn(client)
                said, over = said + more, over or ended
                for each in SERVER._clients.values():
                    assert len(each.received) <= 2 * MAX_REQUEST_BYTES  # one that is not whole, and one reading
        SERVER.publish(EVENT)
        more, ended = _turn(client)
        said += more
        if not over and not ended:
            client.shutdown(socket.SHUT_WR)
            more, ended = _turn(client)
            said += more
    _turn_until_empty()
    return said


def _turn_until_empty():
    while _work():
        pass
    assert not SERVER._clients, "a client that has hung up is still held"


def check(data):
    """Raise if the server breaks any of its promises over this input."""
    pieces = pieces_of(data)
    sent = b"".join(pieces)
    said = exchange(pieces)
    assert said == b"" or said.endswith(b"\n")
    replies = [json.loads(line) for line in said.splitlines()]
    events = [reply for reply in replies if "event" in reply]
    answers = [reply for reply in replies if "event" not in reply]
    assert all(event["event"] == "SignalReceived" for event in events)
    assert len(events) <= 1
    for answer in answers:
        assert answer["ok"] is True or (answer["ok"] is False and answer["error"].strip())
    *whole, _ = sent.split(b"\n")
    asked = sum(1 for line in whole if line.strip())
    assert len(answers) <= asked + 1
    if len(sent) <= MAX_REQUEST_BYTES:
        assert len(answers) == asked
    commands = list(RUNNER._commands)
    RUNNER._commands.clear()
    assert len(commands) <= asked
    fleet = Fleet(RUNNER.fleet.settings, 2, 0.0)
    for now, happening in zip(itertools.count(1), commands, strict=False):
        if getattr(happening, "nodes", 0) <= MANY_NODES:
            step(fleet, happening, float(now))
    again = json.loads(exchange([b'{"command":"status"}\n']))
    assert again["ok"] is True
    assert len(again["snapshot"]["nodes"]) == 2
