"""The server's side of the control socket: one JSON object a line, nothing that a client does can hold up the loop.

The client's side is `control_client.ControlClient`.
"""

import contextlib
import errno
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from swarm_supervisor.events import Event, encode_event
from swarm_supervisor.loop import Loop, Timer
from swarm_supervisor.settings import SettingsError

MAX_PATH_BYTES = 107
"""sun_path holds 108 bytes with the zero at its end (unix(7))."""
MAX_REQUEST_BYTES = 65536
MAX_PENDING_BYTES = 4 * 2**20
"""What may wait for a client that does not read: events beyond it are dropped and counted."""
MAX_CLIENTS = 32
IDLE_TIMEOUT_S = 30.0
"""How long a client that is no subscriber may stay without a whole request, or without reading its answer."""
_ACCEPT_PAUSE_S = 1.0
_CHUNK_BYTES = 65536

_encoder = msgspec.json.Encoder()


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """A line from a client."""

    command: str
    node: int | None = None
    nodes: int | None = None
    reason: str = "asked through the control socket"


_decoder = msgspec.json.Decoder(Request)


class CommandError(ValueError):
    """A request that cannot be met. The text is one sentence for the client."""


class _Client:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.received = b""
        self.pending = bytearray()
        self.subscribed = False
        self.closing = False
        self.dropped = 0
        self.writing = False
        self.active_at = 0.0


class ControlServer:
    """Listens on a Unix socket and answers in the loop of the supervisor."""

    def __init__(self, path: Path, loop: Loop, answer: Callable[[Request], dict[str, Any]]) -> None:
        """Bind the socket, for this user alone. `SettingsError` if the path cannot be used.

        ``answer`` gives what belongs into the response, or raises ValueError with one sentence.
        """
        self.path = path
        self.refused = 0
        self._loop = loop
        self._answer = answer
        self._clients: dict[int, _Client] = {}
        self._sweep: Timer | None = None
        self._listener = _bind(path)
        self._inode = os.stat(path).st_ino
        loop.add_reader(self._listener.fileno(), select.EPOLLIN, lambda _: self._accept())

    def publish(self, event: Event) -> None:
        """Send an event to those who have subscribed."""
        line = b""
        for client in list(self._clients.values()):
            if client.subscribed:
                line = line or encode_event(event) + b"\n"
                self._send_event(client, line)

    @property
    def subscribed(self) -> bool:
        """Whether anybody wants events."""
        return any(client.subscribed for client in self._clients.values())

    def close(self) -> None:
        """Send what still can be sent, close everything and remove the socket, if it is still this one."""
        for client in list(self._clients.values()):
            self._flush(client)
            if client.fd in self._clients:
                self._drop(client)
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        with contextlib.suppress(OSError):
            if os.stat(self.path).st_ino == self._inode:
                self.path.unlink()

    def close_in_child(self) -> None:
        """Close the descriptors in a forked node; the socket is the supervisor's."""
        self._listener.close()
        for client in self._clients.values():
            client.sock.close()
        self._clients.clear()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                # The connection stays in the queue and the socket stays readable: waiting is what is left.
                self._loop.modify_reader(self._listener.fileno(), 0)
                self._loop.call_at(time.monotonic() + _ACCEPT_PAUSE_S, self._accept_again)
            return
        sock.setblocking(False)
        client = _Client(sock)
        uid = _peer_uid(sock)
        if uid not in (os.geteuid(), 0):
            self.refused += 1
            self._refuse(client, f"user {uid} may not control this swarm: it belongs to user {os.geteuid()}")
        elif len(self._clients) >= MAX_CLIENTS:
            self.refused += 1
            self._refuse(client, f"{MAX_CLIENTS} clients are connected already: try again later")
        else:
            client.active_at = time.monotonic()
            self._clients[client.fd] = client
            self._loop.add_reader(client.fd, select.EPOLLIN, lambda mask: self._ready(client, mask))
            if self._sweep is None:
                self._sweep = self._loop.call_at(client.active_at + IDLE_TIMEOUT_S, self._sweep_idle)

    def _accept_again(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.modify_reader(self._listener.fileno(), select.EPOLLIN)

    def _refuse(self, client: _Client, why: str) -> None:
        with contextlib.suppress(OSError):
            client.sock.send(_line({"ok": False, "error": why}))
        client.sock.close()

    def _ready(self, client: _Client, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._flush(client)
        if client.fd in self._clients and mask & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self._receive(client)

    def _receive(self, client: _Client) -> None:
        try:
            chunk = client.sock.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._drop(client)
            return
        if client.closing:
            return
        *lines, client.received = (client.received + chunk).split(b"\n")
        for line in lines:
            if client.closing or client.fd not in self._clients:
                return
            client.active_at = time.monotonic()
            if line.strip():
                self._send(client, _line(self._response(client, line)))
        if len(client.received) > MAX_REQUEST_BYTES:
            client.received = b""
            client.closing = True
            self._send(client, _line({"ok": False, "error": f"a request has at most {MAX_REQUEST_BYTES} bytes"}))

    def _response(self, client: _Client, line: bytes) -> dict[str, Any]:
        try:
            request = _decoder.decode(line)
            if request.command == "subscribe":
                client.subscribed = True
                return {"ok": True}
            return {"ok": True, **self._answer(request)}
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            what = "this is no request" if isinstance(error, msgspec.MsgspecError | UnicodeDecodeError) else ""
            return {"ok": False, "error": f"{what}: {error}" if what else str(error)}

    def _send_event(self, client: _Client, line: bytes) -> None:
        if len(client.pending) + len(line) > MAX_PENDING_BYTES:
            client.dropped += 1
            return
        if client.dropped:
            line = _line({"event": "Dropped", "at": time.monotonic(), "count": client.dropped}) + line
            client.dropped = 0
        self._send(client, line)

    def _send(self, client: _Client, data: bytes) -> None:
        client.pending += data
        self._flush(client)

    def _flush(self, client: _Client) -> None:
        if client.pending:
            try:
                sent = client.sock.send(client.pending)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._drop(client)
                return
            del client.pending[:sent]
            if sent:
                client.active_at = time.monotonic()
        if client.closing and not client.pending:
            self._drop(client)
        elif client.writing != bool(client.pending):
            # Whoever does not read his answers gets no more of them: his requests stay in the socket.
            client.writing = bool(client.pending)
            self._loop.modify_reader(client.fd, select.EPOLLOUT if client.writing else select.EPOLLIN)

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.fd, None) is not None:
            self._loop.remove_reader(client.fd)
            client.sock.close()

    def _sweep_idle(self) -> None:
        now = time.monotonic()
        for client in list(self._clients.values()):
            if not client.subscribed and now - client.active_at >= IDLE_TIMEOUT_S:
                self._drop(client)
        oldest = min((client.active_at for client in self._clients.values() if not client.subscribed), default=None)
        self._sweep = None if oldest is None else self._loop.call_at(oldest + IDLE_TIMEOUT_S, self._sweep_idle)


def _line(response: dict[str, Any]) -> bytes:
    return _encoder.encode(response) + b"\n"


def _peer_uid(sock: socket.socket) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


def _bind(path: Path) -> socket.socket:
    encoded = os.fsencode(path)
    if len(encoded) > MAX_PATH_BYTES:
        raise SettingsError(
            f"control_socket has {len(encoded)} bytes and a Unix socket's path at most {MAX_PATH_BYTES}: {path}"
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The mode must be right from the start: a client that has connected stays, whatever the mode becomes.
            umask = os.umask(0o177)
            try:
                listener.bind(encoded)
            finally:
                os.umask(umask)
            listener.listen(MAX_CLIENTS)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener
    except OSError as error:
        raise SettingsError(f"control_socket {path} cannot be used: {error.strerror or error}") from error


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise SettingsError(f"control_socket {path} exists and is no socket: remove it, or name another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fsencode(path))
        except ConnectionRefusedError:
            path.unlink()  # nobody listens: its supervisor was killed
            return
        except OSError:
            pass
    raise SettingsError(f"control_socket {path} is in use by a supervisor that runs: name another path")
