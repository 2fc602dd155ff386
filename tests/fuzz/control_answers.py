"""What must hold for whatever answers at the path of a control socket: the client tells it in one sentence."""

import socket
import tempfile
from pathlib import Path

from swarm_supervisor import ControlClient, ControlError, Snapshot

PACKAGES = ["swarm_supervisor"]
LISTENER = socket.socket(socket.AF_UNIX)
_folder = tempfile.TemporaryDirectory(prefix="fuzz-")
PATH = Path(_folder.name) / "control.sock"
LISTENER.bind(str(PATH))
LISTENER.listen(8)

ASK = (
    lambda client: client.status(),
    lambda client: client.trace(wait_s=1.0),
    lambda client: list(client.subscribe()),
    lambda client: client.restart(0),
    lambda client: client.scale(3),
)


def check_sentence(text):
    """What is wrong is told in one line that is fit for a terminal."""
    assert text.isprintable(), repr(text)


def check(data):
    """Raise if the client raises anything but a `ControlError`; the first byte says what is asked."""
    ask = ASK[(data[0] if data else 0) % len(ASK)]
    with ControlClient(PATH, timeout_s=5.0) as client:
        server, _ = LISTENER.accept()
        with server:
            server.sendall(data[1:])
            server.shutdown(socket.SHUT_WR)
            try:
                answer = ask(client)
            except ControlError as error:
                check_sentence(str(error))
                return
    if ask is ASK[0]:
        assert isinstance(answer, Snapshot)
    elif ask is ASK[1]:
        assert all(isinstance(node, int) and isinstance(text, str) for node, text in answer.items())
    elif ask is ASK[2]:
        assert all(isinstance(event["event"], str) for event in answer)
