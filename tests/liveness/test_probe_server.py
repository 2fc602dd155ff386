"""The probe server with real sockets: HTTP as it says, and clients that do not."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("h11", reason="the extra swarm-liveness[probes] is not installed")

from swarm_liveness._serving import server as probe_module
from swarm_liveness._serving.answers import Answer, Endpoint
from swarm_liveness._serving.budget import BURST_S, SHARE, SLICE_S, Budget
from swarm_liveness._serving.endpoints import endpoints
from swarm_liveness._serving.listening import is_loopback
from swarm_liveness._serving.loop import ThreadLoop
from swarm_liveness._serving.request import MAX_CHARACTERS, MAX_PARAMETERS, Request
from swarm_liveness._serving.server import ProbeServer
from swarm_liveness.settings import ProbeError

Serve = Callable[..., ProbeServer]


def hello(request: Request) -> Answer:
    return Answer(200, "text/plain", b"hello")


def broken(request: Request) -> Answer:
    raise LookupError("no such thing")


def breaks_later(request: Request) -> Answer:
    def parts() -> Iterator[bytes]:
        yield b"so far"
        raise LookupError("no such thing")

    return Answer(200, "text/plain", parts())


TABLE = {"/hello": Endpoint(hello), "/broken": Endpoint(broken), "/breaks-later": Endpoint(breaks_later)}


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Makes servers in a loop of their own; all is closed, and no descriptor is left, at the end."""
    stops: list[Callable[[], None]] = []
    before = len(os.listdir("/proc/self/fd"))

    def start(table: Any = None, **settings: Any) -> ProbeServer:
        loop = ThreadLoop()
        server = ProbeServer(table or TABLE, **settings)
        server.attach(loop)
        loop.start()
        stops.append(lambda: (loop.stop(), server.close()))
        return server

    yield start
    for stop in stops:
        stop()
    assert len(os.listdir("/proc/self/fd")) <= before


def connect(server: ProbeServer, timeout: float = 20.0) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=timeout)


def exchange(server: ProbeServer, data: bytes) -> bytes:
    """Send raw bytes and read until the server closes."""
    with connect(server) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
        return received


def get(server: ProbeServer, path: str, method: str = "GET") -> http.client.HTTPResponse:
    client = http.client.HTTPConnection(server.host, server.port, timeout=20)
    client.request(method, path)
    response = client.getresponse()
    response.body = response.read()  # type: ignore[attr-defined]
    client.close()
    return response


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


def waiting(server: ProbeServer) -> list[Request]:
    """For each connection that waits for a body: the request that the body answers."""
    return [one.request for one in list(server._renderings._by_request.values()) for _ in one.waiting]


class TestHttp:
    def test_get(self, serve: Serve) -> None:
        response = get(serve(), "/hello?verbose=1")
        assert response.status == 200
        assert response.body == b"hello"  # type: ignore[attr-defined]
        assert response.headers["Content-Type"] == "text/plain"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Date"].endswith("GMT")

    def test_head_has_the_length_and_no_body(self, serve: Serve) -> None:
        response = get(serve(), "/hello", "HEAD")
        assert response.status == 200
        assert response.headers["Content-Length"] == "5"
        assert response.body == b""  # type: ignore[attr-defined]

    def test_a_connection_is_kept_between_requests(self, serve: Serve) -> None:
        server = serve()
        client = http.client.HTTPConnection(server.host, server.port, timeout=20)
        for _ in range(5):
            client.request("GET", "/hello")
            assert client.getresponse().read() == b"hello"
        client.close()
        assert server.counters.accepted == 1
        assert server.counters.answered == 5

    def test_http_1_0_is_answered_and_closed(self, serve: Serve) -> None:
        answer = exchange(serve(), b"GET /hello HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nhello")

    def test_connection_close_is_honoured(self, serve: Serve) -> None:
        answer = exchange(serve(), b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert answer.endswith(b"hello")

    def test_an_unknown_path_is_404_and_says_what_there_is(self, serve: Serve) -> None:
        response = get(serve(), "/nothing")
        assert response.status == 404
        assert b"the paths are /breaks-later, /broken, /hello" in response.body  # type: ignore[attr-defined]

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
    def test_other_methods_are_405_with_what_is_allowed(self, serve: Serve, method: str) -> None:
        response = get(serve(), "/hello", method)
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD"

    def test_a_request_behind_another_ends_the_connection_after_the_first_answer(self, serve: Serve) -> None:
        one = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answer = exchange(serve(), one * 3)
        assert answer.count(b"HTTP/1.1 200") == 1
        assert b"connection: close" in answer.lower()

    def test_an_endpoint_that_raises_is_500_and_the_next_request_is_served(self, serve: Serve) -> None:
        server = serve()
        for path in ("/broken", "/breaks-later"):
            response = get(server, path)
            assert response.status == 500
            assert b"LookupError" in response.body  # type: ignore[attr-defined]
        assert get(server, "/hello").status == 200
        assert server.counters.failed == 2

    def test_a_body_in_parts_is_rendered_once_for_all_who_wait(self, serve: Serve) -> None:
        started = 0
        release = threading.Event()

        def slow(request: Request) -> Answer:
            nonlocal started
            started += 1

            def parts() -> Iterator[bytes]:
                while not release.is_set():
                    yield b""
                yield b"x" * 300_000

            return Answer(200, "text/plain", parts())

        server = serve({"/slow": Endpoint(slow), "/hello": Endpoint(hello)})
        bodies: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: bodies.append(get(server, "/slow").body))  # type: ignore[attr-defined]
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        until(lambda: server.counters.accepted == 5 and len(waiting(server)) == 5)
        assert get(server, "/hello").status == 200  # others are served while it is rendered
        release.set()
        for thread in threads:
            thread.join()
        assert [len(body) for body in bodies] == [300_000] * 5
        assert started == 1


def echo(request: Request) -> Answer:
    node, since = request.integer("node"), request.number("since")
    return Answer(200, "text/plain", f"{request.path} {node} {since} {request.query}".encode())


QUERIES = {"/hello": Endpoint(hello), "/echo": Endpoint(echo, ("node", "since"))}


class TestQueries:
    def test_an_endpoint_is_given_the_path_and_the_parameters_that_it_reads(self, serve: Serve) -> None:
        response = get(serve(QUERIES), "/echo?node=3&other=x&since=1.5&verbose")
        assert response.status == 200
        assert response.body == b"/echo 3 1.5 (('node', '3'), ('since', '1.5'))"  # type: ignore[attr-defined]

    def test_one_that_reads_none_answers_whatever_is_asked(self, serve: Serve) -> None:
        server = serve(QUERIES)
        for query in ("", "?", "?verbose", "?collect[]=a&collect[]=b", "?&&", "?a=%C3%BC+b"):
            response = get(server, f"/hello{query}")
            assert (response.status, response.body) == (200, b"hello")  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ("node=x", "node is 'x': give an integer of at most 18 digits, like node=3"),
            ("node", "node is '': give an integer"),
            ("since=soon", "since is 'soon': give a number in digits, like since=1.5"),
            ("node=1&node=2", "the query has node 2 times: give it once"),
            ("node=%zz", "the query has a broken percent-encoding, '%zz': write a percent sign as %25"),
            ("node=100%", "the query has a broken percent-encoding, '%'"),
            ("node=%ff", "the query parameter 'node=%ff' does not decode to UTF-8"),
            ("=3", "the query parameter '=3' has no name: write name=value"),
            (
                "&".join(f"p{number}" for number in range(MAX_PARAMETERS + 1)),
                f"the query has {MAX_PARAMETERS + 1} parameters: the most is {MAX_PARAMETERS}",
            ),
            ("node=" + "1" * MAX_CHARACTERS, f"has {MAX_CHARACTERS + 5} characters: the most is {MAX_CHARACTERS}"),
        ],
    )
    def test_a_bad_query_is_400_and_says_why(self, serve: Serve, query: str, sentence: str) -> None:
        server = serve(QUERIES)
        response = get(server, f"/echo?{query}")
        assert response.status == 400
        assert sentence in response.body.decode()  # type: ignore[attr-defined]
        assert server.counters.refused == 1
        assert server.counters.failed == 0
        assert get(server, "/echo?node=1").status == 200

    def test_a_bad_parameter_that_a_body_in_parts_reads_is_400_too(self, serve: Serve) -> None:
        """It was a 500 and a traceback in the log: the body begins when the endpoint has returned."""

        def parts(request: Request) -> Iterator[bytes]:
            yield f"node {request.integer('node')}".encode()

        server = serve({"/parts": Endpoint(lambda request: Answer(200, "text/plain", parts(request)), ("node",))})
        response = get(server, "/parts?node=x")
        assert response.status == 400
        assert response.body.startswith(b"node is 'x': give an integer")  # type: ignore[attr-defined]
        assert get(server, "/parts?node=3").body == b"node 3"  # type: ignore[attr-defined]
        assert (server.counters.refused, server.counters.failed) == (1, 0)

    def test_a_broken_query_is_400_at_every_path(self, serve: Serve, swarm: Any) -> None:
        server = serve(endpoints(swarm))
        for path in ("/", "/livez", "/readyz", "/status"):
            assert get(server, f"{path}?a=%zz").status == 400

    def test_what_there_is_not_is_404_and_a_wrong_method_405_whatever_the_query(self, serve: Serve) -> None:
        server = serve(QUERIES)
        assert get(server, "/nothing?a=%zz").status == 404
        assert get(server, "/echo?a=%zz", "POST").status == 405

    def test_a_body_is_shared_by_those_who_ask_for_the_same(self, serve: Serve) -> None:
        release = threading.Event()

        def slow(request: Request) -> Answer:
            def parts() -> Iterator[bytes]:
                while not release.is_set():
                    yield b""
                yield repr(request.value("node")).encode()

            return Answer(200, "text/plain", parts())

        server = serve({"/slow": Endpoint(slow, ("node",))})
        asked = ["node=1", "node=1&other=2", "other=3&node=1", "node=2", ""]
        bodies: dict[str, bytes] = {}

        def ask(query: str) -> None:
            bodies[query] = get(server, f"/slow?{query}").body  # type: ignore[attr-defined]

        threads = [threading.Thread(target=ask, args=(query,)) for query in asked]
        for thread in threads:
            thread.start()
        until(lambda: len(waiting(server)) == len(asked))
        assert sorted(Counter(waiting(server)).values()) == [1, 1, 3]
        release.set()
        for thread in threads:
            thread.join()
        assert bodies == dict(zip(asked, [b"'1'", b"'1'", b"'1'", b"'2'", b"None"], strict=True))


class TestEndpoints:
    def test_the_code_follows_the_snapshot(self, serve: Serve, swarm: Any) -> None:
        snapshot = swarm(state="degraded", reason="node 1 is in a crash loop")
        server = serve(endpoints(lambda: snapshot))
        assert get(server, "/livez").status == 200
        response = get(server, "/readyz")
        assert response.status == 503
        assert response.headers["Content-Type"] == "application/json"
        body = json.loads(response.body)  # type: ignore[attr-defined]
        assert body["reasons"][0] == "the swarm is degraded: node 1 is in a crash loop"
        snapshot.state, snapshot.reason = "running", ""
        assert get(server, "/readyz").status == 200
        status = json.loads(get(server, "/status").body)  # type: ignore[attr-defined]
        assert status["state"] == "running"
        assert [node["id"] for node in status["nodes"]] == [0, 1]
        assert get(server, "/metrics").status == 404


class TestBadClients:
    def test_garbage_is_400(self, serve: Serve) -> None:
        assert exchange(serve(), b"\x16\x03\x01\x02\x00\x01garbage\r\n\r\n").startswith(b"HTTP/1.1 400 ")

    def test_a_missing_host_is_400(self, serve: Serve) -> None:
        assert exchange(serve(), b"GET /hello HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")

    def test_a_megabyte_of_headers_is_431(self, serve: Serve) -> None:
        head = b"GET /hello HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 2**20 + b"\r\n\r\n"
        assert exchange(serve(), head).startswith(b"HTTP/1.1 431 ")

    def test_a_request_line_without_end_is_refused(self, serve: Serve) -> None:
        assert exchange(serve(), b"G" * 2**20)[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400")

    def test_a_megabyte_of_body_is_answered_and_not_kept(self, serve: Serve) -> None:
        server = serve()
        head = b"GET /hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n"
        answer = exchange(server, head + b"b" * 2**20)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"hello")
        until(lambda: server.connections == 0)

    def test_half_a_request_is_given_up_in_time_also_beside_an_idle_client(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(probe_module, "REQUEST_TIMEOUT_S", 0.5)
        server = serve()
        with connect(server) as idle:
            idle.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in idle.recv(65536)
            # From now on the next look is for the idle client, in more than a minute.
            until(lambda: (server._sweep_at or 0.0) > time.monotonic() + probe_module.IDLE_TIMEOUT_S / 2)
            with connect(server) as half:
                half.sendall(b"GET /hel")
                half.settimeout(probe_module.IDLE_TIMEOUT_S / 3)
                assert b"408" in half.recv(65536)

    def test_a_client_that_sends_a_byte_at_a_time_gets_its_deadline_and_no_more(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(probe_module, "REQUEST_TIMEOUT_S", 1.0)
        server = serve()
        with connect(server) as sock:
            begun = time.monotonic()
            answer = b""
            for byte in b"GET /hello HTTP/1.1\r\nHost: localhost\r\n" * 100:
                with contextlib.suppress(OSError):
                    sock.send(bytes([byte]))
                if select.select([sock], [], [], 0.05)[0]:
                    answer = sock.recv(4096)
                    break
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert 0.9 <= time.monotonic() - begun < 15
        until(lambda: server.connections == 0)

    def test_a_client_that_does_not_read_is_given_up(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probe_module, "WRITE_TIMEOUT_S", 0.5)
        server = serve({"/big": Endpoint(lambda request: Answer(200, "text/plain", b"x" * 20_000_000))})
        with connect(server) as sock:
            sock.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(lambda: server.connections == 1)
            until(lambda: server.connections == 0)
        assert server.counters.timed_out == 1

    def test_a_client_that_hangs_up_in_the_middle_costs_nothing(self, serve: Serve) -> None:
        server = serve()
        for data in (b"", b"GET /he", b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            with connect(server) as sock:
                sock.sendall(data)
                # A reset instead of a polite end.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        until(lambda: server.counters.accepted == 3 and server.connections == 0)
        assert get(server, "/hello").status == 200

    def test_a_thousand_silent_connections_do_not_keep_a_probe_out(self, serve: Serve) -> None:
        server = serve()
        crowd: list[socket.socket] = []
        try:
            for number in range(1000):
                crowd.append(connect(server))
                if number % 100 == 99:
                    assert get(server, "/hello").status == 200
            until(lambda: server.counters.accepted == 1010)
            assert server.connections <= probe_module.MAX_CONNECTIONS
            assert server.counters.evicted >= 1000 - probe_module.MAX_CONNECTIONS
        finally:
            for sock in crowd:
                sock.close()

    def test_idle_connections_make_room_before_anybody_who_asks(self, serve: Serve) -> None:
        """They have long to live, and a newcomer little: by deadline alone newcomers would push out one another."""
        server = serve()
        idle = [connect(server) for _ in range(probe_module.MAX_CONNECTIONS)]
        silent: list[socket.socket] = []
        try:
            for sock in idle:
                sock.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert sock.recv(4096).startswith(b"HTTP/1.1 200")
            honest = connect(server)
            silent = [connect(server) for _ in range(probe_module.MAX_CONNECTIONS // 2)]
            until(lambda: server.counters.accepted == len(idle) + 1 + len(silent))
            honest.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert honest.recv(4096).startswith(b"HTTP/1.1 200")
            honest.close()
        finally:
            for sock in (*idle, *silent):
                sock.close()

    def test_an_answer_that_is_read_a_byte_at_a_time_has_one_deadline(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(probe_module, "WRITE_TIMEOUT_S", 0.5)
        server = serve({"/big": Endpoint(lambda request: Answer(200, "text/plain", b"x" * 2**24))})
        # Inherited by what it accepts. The kernel sends the client what it still holds of a closed connection: 4 MB at
        # 40 kB/s, which is what a receive buffer of 4 KiB lets through, take 100 s.
        server._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with connect(server) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
            read = 0
            with contextlib.suppress(ConnectionResetError):
                while chunk := sock.recv(4096):
                    read += len(chunk)
                    time.sleep(0.005)  # it does read, at most 0.8 MB/s: 16 MB would take 20 s
        assert read < 2**24
        until(lambda: server.counters.timed_out == 1)

    def test_a_kept_connection_that_asks_again_begins_its_idle_time_anew(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(probe_module, "IDLE_TIMEOUT_S", 1.5)
        server = serve()
        with connect(server) as sock:
            begun = time.monotonic()
            while time.monotonic() - begun < 2.5:
                sock.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = b""
                while not answer.endswith(b"hello"):
                    answer += sock.recv(4096)
                    assert answer
                time.sleep(0.1)
        assert server.counters.timed_out == 0

    @pytest.mark.parametrize(("length", "status"), [(7_900, 200), (8_300, 431), (9_000, 431)])
    def test_a_head_of_more_than_8_kib_is_431_in_however_many_pieces(
        self, serve: Serve, length: int, status: int
    ) -> None:
        start = b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: "
        head = start + b"a" * (length - len(start) - 4) + b"\r\n\r\n"
        assert len(head) == length
        assert exchange(serve(), head).startswith(b"HTTP/1.1 %d" % status)


class TestWhoseHost:
    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.8.9.1:80", "[::1]:8080", "app.localhost:1", "::1"]
    )
    def test_this_machine_is_answered_at_loopback(self, serve: Serve, host: str) -> None:
        request = f"GET /hello HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        assert exchange(serve(), request.encode()).startswith(b"HTTP/1.1 200")

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:80", "localhost.evil.example", "10.0.0.1", "", "[x"]
    )
    def test_a_web_site_with_the_address_of_loopback_is_not(self, serve: Serve, host: str) -> None:
        """DNS rebinding: the browser takes the page for the site's own, and its scripts may read it."""
        request = f"GET /hello HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        answer = exchange(serve(), request.encode())
        assert answer.startswith(b"HTTP/1.1 421")
        assert b"hello" not in answer

    def test_an_address_of_the_network_is_asked_by_any_name(self) -> None:
        assert not is_loopback("0.0.0.0")
        assert not is_loopback("::")
        assert is_loopback("::ffff:127.0.0.1")


class TestAddress:
    def test_a_port_in_use_is_said_at_once(self, serve: Serve) -> None:
        server = serve()
        with pytest.raises(ProbeError, match=f"cannot listen on 127.0.0.1:{server.port}: another process uses it"):
            ProbeServer(TABLE, port=server.port)

    def test_an_address_of_another_machine(self) -> None:
        with pytest.raises(ProbeError, match="this machine has no such address"):
            ProbeServer(TABLE, host="192.0.2.1")

    @pytest.mark.parametrize("port", [-1, 65536])
    def test_a_port_that_cannot_be(self, port: int) -> None:
        with pytest.raises(ProbeError, match="give one between 1 and 65535"):
            ProbeServer(TABLE, port=port)

    def test_a_name_is_no_address(self) -> None:
        with pytest.raises(ProbeError, match="is not an IP address"):
            ProbeServer(TABLE, host="example.invalid")

    def test_a_server_that_starts_again_at_once_gets_its_port(self, serve: Serve) -> None:
        server = ProbeServer(TABLE)
        loop = ThreadLoop()
        server.attach(loop)
        loop.start()
        exchange(server, b"GET /hello HTTP/1.0\r\n\r\n")
        loop.stop()
        server.close()
        server.close()
        assert serve(port=server.port).port == server.port


class ScriptedLoop:
    """A loop whose turns the test makes."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[int], None]] = {}
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def add_reader(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        assert fd not in self.readers
        self.readers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        del self.readers[fd]

    def call_at(self, deadline: float, callback: Callable[[], None]) -> None:
        self.timers.append((deadline, callback))

    def turn(self, *, timers: bool = True) -> bool:
        """Call back what is ready and due; False when nothing is watched."""
        if timers:
            now = time.monotonic()
            due = [timer for timer in self.timers if timer[0] <= now]
            self.timers = [timer for timer in self.timers if timer[0] > now]
            for _, callback in due:
                callback()
        for fd, callback in list(self.readers.items()):
            if select.select([fd], [], [], 0)[0]:
                callback(select.EPOLLIN)
        return bool(self.readers)


class TestSlices:
    def test_after_a_slice_the_loop_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With a slice of no length a turn does one unit of work; then nothing is watched until the pause is over."""
        monkeypatch.setattr(probe_module, "SLICE_S", 0.0)
        loop = ScriptedLoop()
        server = ProbeServer(TABLE)
        server.attach(loop)
        socks = [connect(server) for _ in range(20)]
        try:
            for sock in socks:
                sock.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
            loop.turn(timers=False)
            assert server.connections == probe_module.ACCEPTS_A_SLICE
            assert server.counters.answered == 0
            assert loop.readers == {}
            pauses = 0
            while server.counters.answered < 20:
                before = server.counters.answered
                assert not loop.turn(timers=False)
                (resume,) = [callback for _, callback in loop.timers if callback == server._resume]
                loop.timers.clear()
                resume()
                loop.turn(timers=False)
                pauses += 1
                assert server.counters.answered <= before + 1
                assert pauses < 100
            assert all(sock.recv(4096).endswith(b"hello") for sock in socks)
        finally:
            for sock in socks:
                sock.close()
            server.close()

    def test_used_up_descriptors_make_it_wait_instead_of_spin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = ScriptedLoop()
        server = ProbeServer(TABLE)
        server.attach(loop)

        class Full:
            def __init__(self, listener: socket.socket) -> None:
                self.listener = listener

            def accept(self) -> Any:
                raise OSError(24, "Too many open files")

            def __getattr__(self, name: str) -> Any:
                return getattr(self.listener, name)

        real = server._listener
        with connect(server) as sock:
            monkeypatch.setattr(server, "_listener", Full(real))
            loop.turn()
            fd = server._epoll.fileno()
            assert not select.select([fd], [], [], 0)[0]
            monkeypatch.setattr(server, "_listener", real)
            (again,) = [callback for _, callback in loop.timers if callback == server._accept_again]
            again()
            sock.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(lambda: bool(loop.turn()) and server.counters.answered == 1)
        server.close()


def test_a_forked_child_closes_its_copies_and_the_parent_serves_on(serve: Serve) -> None:
    loop = ScriptedLoop()
    server = ProbeServer(TABLE)
    server.attach(loop)
    with connect(server) as sock:
        loop.turn()
        assert server.connections == 1
        pid = os.fork()
        if pid == 0:
            sockets_before = sum("socket" in _target(fd) for fd in os.listdir("/proc/self/fd"))
            server.close_in_child()
            sockets_after = sum("socket" in _target(fd) for fd in os.listdir("/proc/self/fd"))
            os._exit(sockets_before - sockets_after)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 2  # the listening socket and the connection
        sock.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: bool(loop.turn()) and server.counters.answered == 1)
        assert sock.recv(4096).endswith(b"hello")
    server.close()


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


class TestBudget:
    def test_a_burst_is_free_and_what_follows_it_is_paid_for(self) -> None:
        budget = Budget()
        now, bursts = 100.0, 0
        while (pause := budget.pause_after(now, now + SLICE_S)) == 0:
            now += SLICE_S
            bursts += 1
        assert bursts * SLICE_S == pytest.approx(BURST_S, abs=1.5 * SLICE_S)
        assert pause <= SLICE_S / SHARE * 1.001
        # Once the debt is paid off, all is as in the beginning.
        later = now + BURST_S / SHARE + 1
        assert budget.pause_after(later, later + BURST_S / 2) == 0

    @given(st.lists(st.tuples(st.floats(0, 0.002), st.floats(0, 0.05)), min_size=1, max_size=300))
    def test_clients_get_their_share_and_a_burst_whatever_they_do(self, slices: list[tuple[float, float]]) -> None:
        budget, start = Budget(), 1000.0
        now, worked = start, 0.0
        for work, idle in slices:
            ended = now + work
            worked += work
            now = ended + max(idle, budget.pause_after(now, ended))
            assert worked <= SHARE * (now - start) + BURST_S + 1e-6

    def test_a_slice_that_the_machine_interrupted_is_not_charged(self) -> None:
        budget = Budget()
        for turn in range(20):
            assert budget.pause_after(turn * 10.0, turn * 10.0 + 5.0) == 0
