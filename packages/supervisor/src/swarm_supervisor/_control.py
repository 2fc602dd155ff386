"""The server side of the control socket: one JSON object per line. No client can block the loop.

The client side is `control_client.ControlClient`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from swarm_supervisor._control_path import bind
from swarm_supervisor._loop import Loop, Timer
from swarm_supervisor.events import Event, encode_event

MAX_REQUEST_BYTES = 65536
MAX_PENDING_BYTES = 4 * 2**20
"""Most bytes queued for a client that does not read; further events are dropped and counted."""
MAX_CLIENTS = 32
IDLE_TIMEOUT_S = 30.0
"""How long a client may stay connected without a complete request, or without reading its answer. A subscriber
that has read nothing for this time makes room for others."""
MAKES_ROOM_S = 2.0
"""How long a client that is not a subscriber may be idle while others are refused."""
_ACCEPT_PAUSE_S = 1.0
_CHUNK_BYTES = 65536
_MOST_AT_ONCE = 64
"""Most requests of one client answered in one turn of the loop."""

_encoder = msgspec.json.Encoder()


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """A line from a client."""

    command: str
    node: int | None = None
    nodes: int | None = None
    reason: str = "asked through the control socket"


_decoder = msgspec.json.Decoder(Request)


class CommandError(ValueError):
    """A request that cannot be carried out. The text is one sentence for the client."""


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
        self.paused = False
        self.active_at = 0.0


class ControlServer:
    """Listens on a Unix socket and answers in the loop of the supervisor."""

    def __init__(self, path: Path, loop: Loop, answer: Callable[[Request], dict[str, Any]]) -> None:
        """Bind the socket, for this user only. `SettingsError` if the path cannot be used.

        ``answer`` returns the response, or raises ValueError with one sentence.
        """
        self.path = path
        self.refused = 0
        self._loop = loop
        self._answer = answer
        self._clients: dict[int, _Client] = {}
        self._sweep: Timer | None = None
        self._listener = bind(path)
        self._inode = os.stat(path).st_ino
        loop.add_reader(self._listener.fileno(), select.EPOLLIN, lambda _: self._accept(), where="control")

    def publish(self, event: Event) -> None:
        """Send an event to all subscribers."""
        line = b""
        for client in list(self._clients.values()):
            if client.subscribed:
                line = line or encode_event(event) + b"\n"
                self._send_event(client, line)

    @property
    def subscribed(self) -> bool:
        """Whether there are subscribers."""
        return any(client.subscribed for client in self._clients.values())

    def close(self) -> None:
        """Send what can still be sent, close everything, and remove the socket if it is still ours."""
        for client in list(self._clients.values()):
            with contextlib.suppress(Exception):
                self._flush(client)
            with contextlib.suppress(Exception):
                self._drop(client)
        with contextlib.suppress(Exception):
            self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        with contextlib.suppress(OSError):
            if os.stat(self.path).st_ino == self._inode:
                self.path.unlink()

    def close_in_child(self) -> None:
        """Close the descriptors in a forked node, because the socket belongs to the supervisor."""
        self._listener.close()
        for client in self._clients.values():
            client.sock.close()
        self._clients.clear()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                # The connection stays in the queue and the socket stays readable, so it can only wait.
                self._loop.modify_reader(self._listener.fileno(), 0)
                self._loop.call_at(time.monotonic() + _ACCEPT_PAUSE_S, self._accept_again)
            return
        try:
            self._take(sock)
        except BaseException:
            sock.close()
            raise

    def _take(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        client = _Client(sock)
        uid = _peer_uid(sock)
        if uid not in (os.geteuid(), 0):
            self.refused += 1
            self._refuse(client, f"user {uid} may not control this swarm, which belongs to user {os.geteuid()}")
        elif len(self._clients) >= MAX_CLIENTS and not self._make_room():
            self.refused += 1
            self._refuse(client, f"{MAX_CLIENTS} clients are connected already: try again later")
        else:
            client.active_at = time.monotonic()
            self._loop.add_reader(client.fd, select.EPOLLIN, lambda mask: self._ready(client, mask), where="control")
            self._clients[client.fd] = client
            if self._sweep is None:
                self._sweep = self._loop.call_at(client.active_at + IDLE_TIMEOUT_S, self._sweep_idle)

    def _make_room(self) -> bool:
        """Disconnect the client that has been idle for longest; a subscriber only if it no longer reads its events."""
        now = time.monotonic()
        idle = [
            client
            for client in self._clients.values()
            if now - client.active_at >= (IDLE_TIMEOUT_S if client.subscribed else MAKES_ROOM_S)
            and (client.writing or not client.subscribed)
        ]
        if idle:
            self._drop(min(idle, key=lambda client: client.active_at))
        return bool(idle)

    def _accept_again(self) -> None:
        if self._listener.fileno() < 0:
            return
        try:
            self._loop.modify_reader(self._listener.fileno(), select.EPOLLIN)
        except BaseException:
            self._loop.call_at(time.monotonic() + _ACCEPT_PAUSE_S, self._accept_again)
            raise

    def _refuse(self, client: _Client, why: str) -> None:
        with contextlib.suppress(OSError):
            client.sock.send(_line({"ok": False, "error": why}), socket.MSG_NOSIGNAL)
        client.sock.close()

    def _ready(self, client: _Client, mask: int) -> None:
        try:
            self._serve(client, mask)
        except BaseException:  # the loop reports it; other clients are not affected
            self._drop(client)
            raise

    def _serve(self, client: _Client, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._flush(client)
            if client.fd in self._clients:
                self._answer_lines(client)
        if (
            client.fd in self._clients
            and not client.writing
            and mask & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR)
        ):
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
        client.received += chunk
        self._answer_lines(client)

    def _answer_lines(self, client: _Client) -> None:
        """Answer pending requests, but no more than the client reads, and not too many in one turn of the loop."""
        answered = 0
        while not client.closing and client.fd in self._clients and not client.writing:
            line, found, rest = client.received.partition(b"\n")
            if not found:
                if len(line) > MAX_REQUEST_BYTES:
                    client.received = b""
                    client.closing = True
                    error = f"a request has at most {MAX_REQUEST_BYTES} bytes"
                    self._send(client, _line({"ok": False, "error": error}))
                break
            if answered == _MOST_AT_ONCE:
                self._pause(client)
                break
            answered += 1
            client.received = rest
            client.active_at = time.monotonic()
            if line.strip():
                self._send(client, _line(self._response(client, line)))

    def _pause(self, client: _Client) -> None:
        """Answer the other requests in the next turn; nothing is read until then."""
        if not client.paused:
            client.paused = True
            self._loop.modify_reader(client.fd, 0)
            self._loop.call_at(time.monotonic(), lambda: self._go_on(client))

    def _go_on(self, client: _Client) -> None:
        client.paused = False
        if self._clients.get(client.fd) is client:
            self._wait_for(client)
            self._answer_lines(client)

    def _wait_for(self, client: _Client) -> None:
        if not client.paused:
            self._loop.modify_reader(client.fd, select.EPOLLOUT if client.writing else select.EPOLLIN)

    def _response(self, client: _Client, line: bytes) -> dict[str, Any]:
        try:
            request = _decoder.decode(line)
            if request.command == "subscribe":
                client.subscribed = True
                return {"ok": True}
            return {"ok": True, **self._answer(request)}
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            what = "this is not a request" if isinstance(error, msgspec.MsgspecError | UnicodeDecodeError) else ""
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
                sent = client.sock.send(client.pending, socket.MSG_NOSIGNAL)
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
            # A client that does not read its answers gets no more of them; its requests wait here and in the socket.
            client.writing = bool(client.pending)
            self._wait_for(client)

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.fd, None) is not None:
            try:
                self._loop.remove_reader(client.fd)
            finally:
                client.sock.close()

    def _sweep_idle(self) -> None:
        now = time.monotonic()
        self._sweep = None  # set another one for the next client, even if the code below fails
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
