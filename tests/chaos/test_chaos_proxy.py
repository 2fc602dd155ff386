"""The proxy does to connections what a fault says, and clients see it."""

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from benchmarks.chaos.proxy import HOST, ProxyProcess


class Echo:
    """A server that answers each message, which begins with its size, with the same message, and its own address."""

    def __init__(self) -> None:
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while True:
                try:
                    head = stream.read(4)
                    if len(head) < 4:
                        return
                    body = stream.read(struct.unpack(">i", head)[0]) + HOST.encode() + struct.pack(">i", self.port)
                    connection.sendall(struct.pack(">i", len(body)) + body)
                except OSError:
                    return


def ask(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(struct.pack(">i", len(text)) + text)
    with connection.makefile("rb") as stream:
        return stream.read(struct.unpack(">i", stream.read(4))[0])


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[ProxyProcess]:
    process = ProxyProcess(echo.port)
    yield process
    process.close()


@pytest.fixture
def connection(proxy: ProxyProcess) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, proxy.port), 10) as one:
        yield one


def test_responses_name_the_proxy_instead_of_the_broker(proxy: ProxyProcess, connection: socket.socket) -> None:
    for text in (b"hello", b"1", b"127.0.0.", b"x" * 300_000):
        assert ask(connection, text) == text + HOST.encode() + struct.pack(">i", proxy.port)


def test_a_cut_resets_connections_and_refuses_new_ones(proxy: ProxyProcess, connection: socket.socket) -> None:
    ask(connection, b"there")
    assert proxy.command("cut")["reset"] == 2  # the client's side and the broker's
    with pytest.raises(ConnectionResetError):
        connection.recv(1)
    assert proxy.round_trip_s(2) is None
    proxy.command("heal")
    assert proxy.round_trip_s(10) is not None


def test_a_delay_delays_both_ways(proxy: ProxyProcess) -> None:
    without = proxy.round_trip_s(10)
    proxy.command("delay 0.2")
    delayed = proxy.round_trip_s(10)
    assert without is not None
    assert delayed is not None
    assert without < 0.4 <= delayed
    proxy.command("heal")


def test_a_stall_keeps_what_was_sent_until_it_is_healed(proxy: ProxyProcess, connection: socket.socket) -> None:
    ask(connection, b"before")
    proxy.command("stall")
    connection.settimeout(0.3)
    connection.sendall(struct.pack(">i", 4) + b"late")
    with pytest.raises(TimeoutError):
        connection.recv(1)
    connection.settimeout(10)
    proxy.command("heal")
    started = time.monotonic()
    with connection.makefile("rb") as stream:
        assert stream.read(struct.unpack(">i", stream.read(4))[0]).startswith(b"late")
    assert time.monotonic() - started < 5
