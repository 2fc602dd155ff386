"""One HTTP connection of a probe server: one request at a time, with bounds on everything."""

from __future__ import annotations

import socket
from collections import deque
from email.utils import formatdate
from enum import Enum, auto
from http import HTTPStatus

import h11

# A probe's request line and headers take some hundred bytes; more than this is answered 431.
MAX_HEAD_BYTES = 8192
RECEIVE_BYTES = 4096
# A client that reads its answer within this time is not slow.
PROMPT_S = 1.0
# How much is read and dropped after an answer that was sent before the whole request had arrived. Closing a socket with
# unread bytes makes the kernel send a reset, which can destroy the answer on its way (RFC 9112, section 9.6).
MAX_LINGER_BYTES = 2 * 2**20
LINGER_READ_BYTES = 65536


class State(Enum):
    """The state of a connection."""

    READING = auto()
    """Waiting for a request, or receiving one."""
    WAITING = auto()
    """Waiting for the answer, which is being rendered."""
    WRITING = auto()
    """Sending the answer."""
    LINGERING = auto()
    """Answered; further input is dropped until the client closes."""
    CLOSED = auto()


class ProbeConnection:
    """Reads requests and writes answers on a non-blocking socket. No client can make it wait or raise."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over a connected socket, which must be non-blocking."""
        self.sock = sock
        self.fd = sock.fileno()
        self.state = State.READING
        self.deadline = 0.0
        """When the server gives up on it (monotonic seconds). The server sets and checks it."""
        self.since = 0.0
        """When its present phase began (monotonic seconds): receiving a request, waiting for the answer, sending it."""
        self._answers = 0
        self._phase = (State.READING, False, 0)
        self.idle = False
        """Whether it has had an answer and has sent nothing since."""
        self.head = False
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._out: deque[memoryview] = deque()
        self._closing = False
        self._head_bytes = 0
        self._lingered = 0

    def enter_phase(self, now: float) -> bool:
        """Note the time if a new phase has begun; return whether one has."""
        phase = (self.state, self.idle, self._answers)
        if phase == self._phase:
            return False
        self._phase, self.since = phase, now
        return True

    def claim(self, now: float) -> tuple[int, float]:
        """How strong its claim to stay is. The lowest is evicted first; among equals, the one that takes longest."""
        waits_for_us = self.state is State.WAITING or (self.state is State.WRITING and now - self.since < PROMPT_S)
        return (0 if self.idle else 2 if waits_for_us else 1), self.since

    def receive(self) -> h11.Request | None:
        """Read once. Return a request that is complete; answer a bad one here."""
        if self.state is State.LINGERING:
            self._throw_away()
            return None
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            self.close()
            return None
        if not data and self._http.their_state is h11.IDLE:
            self.close()
            return None
        self.idle = False
        self._head_bytes += len(data)
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))
            return None
        if isinstance(event, h11.Request):
            # h11 checks its bound only before it reads more, so a head that was completed by the last piece passes it.
            if self._head_bytes - len(self._http.trailing_data[0]) > MAX_HEAD_BYTES:
                self._refuse(431, f"the head of the request has more than {MAX_HEAD_BYTES} bytes")
                return None
            self._head_bytes = 0
            self.head = event.method == b"HEAD"
            self.state = State.WAITING
            return event
        if event is not h11.NEED_DATA:
            self.close()
        return None

    def respond(self, status: int, content_type: str, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Queue an answer and start to send it."""
        # If there is more input (a body, or another request), it is not read, and the connection ends with this answer.
        # The answer may be sent before the end of the request, but then the connection cannot be kept either.
        try:
            if self._http.their_state is h11.SEND_BODY:
                event = self._http.next_event()
                self._closing = not isinstance(event, h11.EndOfMessage)
        except h11.RemoteProtocolError:
            self._closing = True
        if self._http.trailing_data[0]:
            self._closing = True
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.close()
            return
        fields = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),  # a node's own words stay text in every browser
            ("X-Frame-Options", "DENY"),
            *headers,
        ]
        if self._closing:
            fields.append(("Connection", "close"))
        head = self._http.send(h11.Response(status_code=status, headers=fields, reason=_phrase(status)))
        parts = [] if self.head else self._http.send_with_data_passthrough(h11.Data(data=body)) or []
        self._http.send(h11.EndOfMessage())
        self._answers += 1
        self._out.extend(memoryview(part) for part in (head or b"", *parts) if part)
        self.state = State.WRITING
        self.flush()

    def flush(self) -> None:
        """Send as much as the socket takes."""
        try:
            while self._out:
                sent = self.sock.send(self._out[0])
                if sent < len(self._out[0]):
                    self._out[0] = self._out[0][sent:]
                    return
                self._out.popleft()
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._answered()

    def refuse_late(self) -> None:
        """Answer a client whose request did not arrive in time."""
        if self.state is State.READING and not self.idle:
            self._refuse(408, "the request did not arrive in time")
        else:
            self.close()

    def close(self) -> None:
        """Mark the connection as closed. The server closes the socket after it has removed it from its epoll."""
        self.state = State.CLOSED
        self._out.clear()

    def _answered(self) -> None:
        if self._closing or self._http.our_state is h11.MUST_CLOSE or self._http.our_state is h11.ERROR:
            self._linger()
            return
        try:
            self._http.start_next_cycle()
        except h11.ProtocolError:
            self._linger()
            return
        self.state = State.READING
        self.idle = True

    def _linger(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self.state = State.LINGERING

    def _throw_away(self) -> None:
        try:
            data = self.sock.recv(LINGER_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._lingered += len(data)
        if not data or self._lingered > MAX_LINGER_BYTES:
            self.close()

    def _refuse(self, status: int, reason: str) -> None:
        self._closing = True
        self.respond(status, "text/plain; charset=utf-8", f"{reason}\n".encode())


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
