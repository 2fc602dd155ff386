"""HTTP for probes and metrics from an event loop that has more important work: read-only, bounded, no thread.

The server has its own epoll with its listening socket and all its connections. The loop watches that one descriptor (an
epoll is readable while anything in it is ready, epoll(7)) and gives the server a slice of half a millisecond. The rest
waits until the loop has done its other work. In the long run all clients together get a tenth of the time, however many
they are: if the process were always busy, the scheduler would make it wait when a node dies.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import select
import time
from collections.abc import Mapping

import h11

from swarm_liveness._serving.answers import TEXT, Answer, Endpoint, ProbeCounters
from swarm_liveness._serving.budget import PAUSE_S, SLICE_S, Budget
from swarm_liveness._serving.connection import ProbeConnection, State
from swarm_liveness._serving.listening import is_loopback, listen, means_this_machine
from swarm_liveness._serving.renderings import Rendering, Renderings
from swarm_liveness._serving.request import RefusedError
from swarm_liveness._serving.routes import Routes
from swarm_liveness.protocols import Loop

logger = logging.getLogger("swarm_liveness")

MAX_CONNECTIONS = 64
ACCEPTS_A_SLICE = 16
REQUEST_TIMEOUT_S = 5.0
IDLE_TIMEOUT_S = 75.0
WRITE_TIMEOUT_S = 10.0
LINGER_TIMEOUT_S = 2.0
# When there are no free descriptors (EMFILE), the listening socket stays readable: without a pause the loop would spin.
ACCEPT_PAUSE_S = 0.25


class ProbeServer:
    """Serves a few read-only paths. It binds when it is created, so a port in use is found before any fork.

    Call `attach` with the loop; `close_in_child` in a process forked from this one; `close` at the end.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        """Bind and listen.

        - `endpoints`: what to answer, by path.
        - `host`: the address to listen at, by default loopback only.
        - `port`: 0 lets the kernel choose one; the attribute `port` has the one it chose.
        - `max_connections`: the most that may be open. To make room for a new one, an idle connection is closed, or
          else the one of the slowest client.

        Raises ProbeError when the address is in use or not this machine's.
        """
        self._routes = Routes(endpoints)
        self._max_connections = max_connections
        self._listener = listen(host, port)
        self.host, self.port = self._listener.getsockname()[:2]
        self._loopback = is_loopback(self.host)
        self.counters = ProbeCounters()
        self._epoll = select.epoll()
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._connections: dict[int, ProbeConnection] = {}
        self._renderings = Renderings()
        self._loop: Loop | None = None
        self._paused = False
        self._budget = Budget()
        self._sweep_at: float | None = None
        self._logged: set[str] = set()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def attach(self, loop: Loop) -> None:
        """Serve from this loop."""
        self._loop = loop
        loop.add_reader(self._epoll.fileno(), select.EPOLLIN, self._ready)

    def close(self) -> None:
        """Stop serving and close everything. Idempotent."""
        if self._epoll.closed:
            return
        if self._loop is not None and not self._paused:
            self._loop.remove_reader(self._epoll.fileno())
        self._loop = None
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._renderings.clear()
        self._listener.close()
        self._epoll.close()

    def close_in_child(self) -> None:
        """In a process forked from the serving one, close the inherited sockets.

        The epoll is left alone. It is shared with the parent, so an unregister here would take effect there, and a
        supervisor that closes its loop's descriptors in a child has closed it already.
        """
        self._loop = None
        for connection in self._connections.values():
            connection.sock.close()
        self._connections.clear()
        self._listener.close()

    def _ready(self, events: int) -> None:
        """Do one slice of work."""
        begun = now = time.monotonic()
        pause = 0.0
        while self._step():
            now = time.monotonic()
            if now - begun >= SLICE_S:
                pause = PAUSE_S
                break
        pause = max(pause, self._budget.pause_after(begun, now))
        if pause > 0:
            self._pause(now + pause)
        self._schedule_sweep(now)

    def _step(self) -> bool:
        """Do the smallest unit of work; False if there is none."""
        rendered = self._render_a_part()
        # One event per call: the kernel then moves the descriptor to the end of its ready list, so all get their turn.
        for fd, events in self._epoll.poll(0, 1):
            connection = self._connections.get(fd)
            if connection is not None:
                self._serve(connection, events)
            elif fd == self._listener.fileno():
                self._accept()
            return True
        return rendered

    def _pause(self, until: float) -> None:
        """Leave the loop to its other work until `until` (monotonic seconds)."""
        loop = self._loop
        if loop is None or self._paused:
            return
        self._paused = True
        loop.remove_reader(self._epoll.fileno())
        loop.call_at(until, self._resume)

    def _resume(self) -> None:
        loop = self._loop
        if loop is None or not self._paused:
            return
        self._paused = False
        loop.add_reader(self._epoll.fileno(), select.EPOLLIN, self._ready)
        if self._renderings:
            self._ready(0)  # a pending rendering makes no descriptor readable

    def _accept(self) -> None:
        for _ in range(ACCEPTS_A_SLICE):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._log_once("accept", f"cannot accept a probe connection: {error}", error)
                    self._stop_accepting()
                return
            sock.setblocking(False)
            if len(self._connections) >= self._max_connections:
                self._evict()
            connection = ProbeConnection(sock)
            connection.since = time.monotonic()
            connection.deadline = connection.since + REQUEST_TIMEOUT_S
            self._connections[connection.fd] = connection
            self._epoll.register(connection.fd, select.EPOLLIN)
            self.counters.accepted += 1

    def _stop_accepting(self) -> None:
        self._epoll.modify(self._listener.fileno(), 0)
        if self._loop is not None:
            self._loop.call_at(time.monotonic() + ACCEPT_PAUSE_S, self._accept_again)

    def _accept_again(self) -> None:
        if self._loop is not None:
            self._epoll.modify(self._listener.fileno(), select.EPOLLIN)

    def _evict(self) -> None:
        """Close one connection to make room. An honest probe takes milliseconds, so the slowest is the least loss.

        Connections that are kept open after their answer go first, then clients that are slow to send or to read, and
        last those that wait for this server.
        """
        now = time.monotonic()
        victim = min(self._connections.values(), key=lambda one: one.claim(now))
        self.counters.evicted += 1
        self._drop(victim)

    def _serve(self, connection: ProbeConnection, events: int) -> None:
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and connection.state in (
            State.READING,
            State.LINGERING,
        ):
            request = connection.receive()
            if request is not None:
                self._answer(connection, request)
        elif events & select.EPOLLOUT:
            connection.flush()
        elif events & (select.EPOLLHUP | select.EPOLLERR):
            connection.close()
        self._settle(connection)

    def _answer(self, connection: ProbeConnection, request: h11.Request) -> None:
        path = request.target.decode("ascii", "replace").partition("?")[0]
        try:
            self._check_host(request)
            endpoint, asked = self._routes.find(request.method, request.target)
            rendering = self._renderings.find(asked)
            if rendering is None:
                answer = endpoint(asked)
                if isinstance(answer.body, bytes):
                    self._respond(connection, answer, answer.body)
                    return
                rendering = self._renderings.begin(asked, answer, answer.body)
            rendering.waiting.append(connection)
        except RefusedError as error:
            self._refuse(connection, error)
        except BaseException as error:  # noqa: BLE001  an endpoint must not end the loop
            self._fail([connection], path, error)

    def _check_host(self, request: h11.Request) -> None:
        host = next((value for name, value in request.headers if name == b"host"), b"localhost")
        if self._loopback and not means_this_machine(host):
            raise RefusedError(421, f"this server answers only to localhost: use http://localhost:{self.port}")

    def _render_a_part(self) -> bool:
        if not self._renderings:
            return False
        finished = self._renderings.step()
        if finished is not None:
            self._deliver(finished)
        return True

    def _deliver(self, rendering: Rendering) -> None:
        """Answer all connections that wait for a body."""
        error = rendering.error
        if error is not None and not isinstance(error, RefusedError):
            self._fail(rendering.waiting, rendering.request.path, error)
        for connection in rendering.waiting:
            if connection.state is not State.WAITING:
                pass
            elif isinstance(error, RefusedError):  # a body in parts may read a parameter when it begins
                self._refuse(connection, error)
            else:
                self._respond(connection, rendering.answer, rendering.body)
            self._settle(connection)

    def _refuse(self, connection: ProbeConnection, error: RefusedError) -> None:
        self.counters.refused += 1
        connection.respond(error.status, TEXT, f"{error}\n".encode(), error.headers)

    def _respond(self, connection: ProbeConnection, answer: Answer, body: bytes) -> None:
        self.counters.answered += 1
        connection.respond(answer.status, answer.content_type, body, answer.headers)

    def _fail(self, connections: list[ProbeConnection], path: str, error: BaseException) -> None:
        self.counters.failed += 1
        self._log_once(path, f"the probe {path} failed: {type(error).__name__}", error)
        for connection in connections:
            if connection.state is State.WAITING:
                connection.respond(500, TEXT, f"{path} failed: {type(error).__name__}\n".encode())

    def _settle(self, connection: ProbeConnection) -> None:
        """Set epoll and deadline to match the connection's state."""
        if connection.fd not in self._connections:
            return
        if connection.state is State.CLOSED:
            self._drop(connection)
            return
        # Within a phase a client gets no more time, even if it sends another byte or reads a part of the answer.
        if not connection.enter_phase(time.monotonic()):
            return
        now = connection.since
        if connection.state is State.WRITING:
            self._epoll.modify(connection.fd, select.EPOLLOUT)
            connection.deadline = now + WRITE_TIMEOUT_S
        elif connection.state is State.WAITING:
            self._epoll.modify(connection.fd, 0)  # a hang-up is still reported
            connection.deadline = now + WRITE_TIMEOUT_S
        elif connection.state is State.LINGERING:
            self._epoll.modify(connection.fd, select.EPOLLIN)
            connection.deadline = min(connection.deadline, now + LINGER_TIMEOUT_S)
        elif connection.idle:
            self._epoll.modify(connection.fd, select.EPOLLIN)
            connection.deadline = now + IDLE_TIMEOUT_S
        else:
            connection.deadline = now + REQUEST_TIMEOUT_S

    def _drop(self, connection: ProbeConnection) -> None:
        if self._connections.pop(connection.fd, None) is not None:
            # Forked children may hold the same socket until they close it, so close() alone would leave it in the epoll
            # (epoll(7), question 6).
            with contextlib.suppress(OSError):
                self._epoll.unregister(connection.fd)
            connection.close()
            connection.sock.close()

    def _schedule_sweep(self, now: float) -> None:
        if self._loop is None or not self._connections:
            return
        earliest = min(connection.deadline for connection in self._connections.values())
        # A newer client with half a request has an earlier deadline than an idle one.
        if self._sweep_at is None or earliest < self._sweep_at:
            self._sweep_at = earliest
            self._loop.call_at(max(earliest, now), self._sweep)

    def _sweep(self) -> None:
        self._sweep_at = None
        now = time.monotonic()
        for connection in list(self._connections.values()):
            if connection.deadline > now:
                continue
            self.counters.timed_out += 1
            connection.deadline = now + LINGER_TIMEOUT_S
            if connection.state is State.READING and not connection.idle:
                connection.refuse_late()
                self._settle(connection)
            else:
                self._drop(connection)
        self._schedule_sweep(now)

    def _log_once(self, what: str, sentence: str, error: BaseException) -> None:
        if what not in self._logged:
            self._logged.add(what)
            with contextlib.suppress(BaseException):  # a log handler, or the text of an error, may raise
                logger.error("%s (logged once)", sentence, exc_info=error)
