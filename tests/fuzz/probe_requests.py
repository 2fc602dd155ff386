"""What must hold for whatever a client sends to the probe."""

import contextlib
import select
import socket

from swarm_liveness._serving.answers import TEXT, Answer, Endpoint
from swarm_liveness._serving.server import MAX_CONNECTIONS, ProbeServer

PACKAGES = ["swarm_liveness", "h11"]
CALLED = []
BIG = 200_000
STATUSES = {200, 400, 404, 405, 408, 413, 414, 431, 500, 501, 503, 505}


class HandLoop:
    """A loop that does nothing by itself."""

    def __init__(self):
        self.readers = {}
        self.timers = []

    def add_reader(self, fd, events, callback):
        assert fd not in self.readers
        self.readers[fd] = callback

    def remove_reader(self, fd):
        del self.readers[fd]

    def call_at(self, deadline, callback):
        self.timers.append(callback)

    def turn(self):
        """Call back whatever is ready; deadlines are never waited for: only a pause asks to be ended."""
        timers, self.timers = self.timers, []
        for callback in timers:
            if callback.__name__ == "_resume":
                callback()
        for fd, callback in list(self.readers.items()):
            if select.select([fd], [], [], 0)[0]:
                callback(select.EPOLLIN)
                return True
        return bool(self.timers)


def _endpoint(name, status, body):
    def answer(request):
        CALLED.append(name)
        return Answer(status, TEXT, body() if callable(body) else body)

    return Endpoint(answer)


def _broken(request):
    CALLED.append("/broken")
    raise RuntimeError("an endpoint that fails")


def _parts():
    yield b"a" * BIG
    yield b"b"


LOOP = HandLoop()
SERVER = ProbeServer(
    {
        "/live": _endpoint("/live", 200, b"ok\n"),
        "/ready": _endpoint("/ready", 503, b"not yet\n"),
        "/metrics": _endpoint("/metrics", 200, _parts),
        "/broken": Endpoint(_broken),
    }
)
# Over a Unix socket of an abstract name, so that a million connections do not use up the ports of the machine.
SERVER._epoll.unregister(SERVER._listener.fileno())
SERVER._listener.close()
SERVER._listener = socket.socket(socket.AF_UNIX)
SERVER._listener.bind("")
SERVER._listener.listen(8)
SERVER._listener.setblocking(False)
SERVER._epoll.register(SERVER._listener.fileno(), select.EPOLLIN)
SERVER._loopback = False  # the names in the corpus are any
SERVER.attach(LOOP)
ADDRESS = SERVER._listener.getsockname()


def exchange(pieces):
    """Connect, send the pieces, and return what came back until nothing more does."""
    said = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(ADDRESS)
        client.setblocking(False)

        def turn():
            nonlocal said
            going = True
            while going:
                going = LOOP.turn()
                with contextlib.suppress(BlockingIOError, ConnectionResetError):
                    while chunk := client.recv(65536):
                        said += chunk
                        going = True

        for piece in pieces:
            with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                client.send(piece)
            turn()
            assert SERVER.connections <= MAX_CONNECTIONS
        client.shutdown(socket.SHUT_WR)
        turn()
    while LOOP.turn():
        pass
    assert SERVER.connections == 0, "a client that has hung up is still held"
    return said


def answers_in(said):
    """Take what was said apart into (status, body length); raise for anything that is no row of HTTP answers."""
    found = []
    while said:
        head, blank, said = said.partition(b"\r\n\r\n")
        assert blank, head
        line, *fields = head.split(b"\r\n")
        version, status, _ = line.split(b" ", 2)
        assert version == b"HTTP/1.1"
        assert int(status) in STATUSES, line
        values = dict(field.split(b": ", 1) for field in fields)
        length = int(values[b"Content-Length"])
        if not said.startswith(b"HTTP/1.1 ") and said:  # else the answer to a HEAD, which has no body
            assert len(said) >= length
            said = said[length:]
        found.append((int(status), length))
    return found


def check(data):
    """Raise if the server breaks any of its promises; the first byte cuts the others into pieces."""
    size, sent = (data[0] if data else 0), data[1:]
    pieces = [sent[begin : begin + size] for begin in range(0, len(sent), size)] if size else [sent]
    CALLED.clear()
    answers = answers_in(exchange(pieces))
    assert len(CALLED) <= len(answers) + 1
    if not (b"GET " in sent or b"HEAD " in sent):
        assert not CALLED, f"{CALLED} were called without a GET or HEAD"
    assert answers_in(exchange([b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"])) == [(200, 3)]
