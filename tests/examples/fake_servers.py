"""Servers on loopback that answer just enough for the examples: PostgreSQL's protocol, and HTTP that remembers."""

import http.server
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class FakePostgres:
    """Accepts every login and every statement, and remembers the statements with their parameters."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, list[bytes | None]]] = []
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = (
            f"postgresql://user@127.0.0.1:{self._socket.getsockname()[1]}/shop?sslmode=disable&gssencmode=disable"
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            length = struct.unpack("!I", stream.read(4))[0]
            stream.read(length - 4)  # the startup message
            status = b"".join(
                _message(b"S", name + b"\0" + value + b"\0")
                for name, value in ((b"client_encoding", b"UTF8"), (b"server_version", b"16.0"))
            )
            connection.sendall(_message(b"R", struct.pack("!I", 0)) + status + _message(b"Z", b"I"))
            state, statement = b"I", ""
            while header := stream.read(5):
                kind, (length,) = header[:1], struct.unpack("!I", header[1:])
                body = stream.read(length - 4)
                if kind == b"X":
                    return
                if kind == b"Q":
                    statement = body.rstrip(b"\0").decode()
                    self.statements.append((statement, []))
                    state = b"T" if statement.startswith("BEGIN") else b"I"
                    connection.sendall(_message(b"C", statement.encode() + b"\0") + _message(b"Z", state))
                elif kind == b"P":
                    statement = body.split(b"\0")[1].decode()
                    connection.sendall(_message(b"1", b""))
                elif kind == b"B":
                    self.statements.append((statement, _parameters(body)))
                    connection.sendall(_message(b"2", b""))
                elif kind == b"D":
                    connection.sendall(_message(b"n", b""))
                elif kind == b"E":
                    connection.sendall(_message(b"C", b"INSERT 0 1\0"))
                elif kind == b"S":
                    connection.sendall(_message(b"Z", state))


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _parameters(body: bytes) -> list[bytes | None]:
    at = body.index(b"\0", body.index(b"\0") + 1) + 1  # after the names of portal and statement
    (formats,) = struct.unpack_from("!H", body, at)
    at += 2 + 2 * formats
    (count,) = struct.unpack_from("!H", body, at)
    at += 2
    values: list[bytes | None] = []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        values.append(None if length < 0 else body[at : at + length])
        at += max(0, length)
    return values


@contextmanager
def http_server(status: int = 200) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """The address of an HTTP server, and what was posted to it: (path, body)."""
    posted: list[tuple[str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            posted.append((self.path, self.rfile.read(int(self.headers.get("Content-Length", 0)))))
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", posted
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
