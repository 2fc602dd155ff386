"""A TCP proxy before the one broker of a test: it reads Kafka's framing and may change what goes through.

Only flexible versions of Metadata (9 and newer) and Fetch (12 and newer) are known to it: the embedded broker and
Kafka 4 speak these to librdkafka.
"""

from __future__ import annotations

import asyncio
import struct
import threading

HOST = "127.0.0.1"
FETCH, METADATA = 1, 3
DEADLINE_S = 10.0


class KafkaProxy:
    """Passes everything on under its own address, until it is told otherwise.

    stalled: nothing goes back to clients. fenced: Metadata names no broker, as a cluster does whose only broker is
    fenced. mute(): fetches are answered with nothing.
    """

    def __init__(self, broker_port: int) -> None:
        self.stalled = False
        self.fenced = False
        self.answers_without_brokers = 0
        self.answers_without_records = 0
        self._muted: set[int] = set()
        self._connections = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._broker_port = broker_port
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(DEADLINE_S)
        self.bootstrap = f"{HOST}:{self.port}"

    def mute(self, *, also_later: bool = False) -> None:
        """Answer fetches of all connections there are (and of all there will be) with nothing."""
        self._muted = set(range(1_000_000 if also_later else self._connections))

    def close(self) -> None:
        """End the proxy and all that goes through it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._client, HOST, 0))
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()
        server.close()
        for writer in self._writers:
            writer.close()
        self._loop.run_until_complete(asyncio.sleep(0.2))  # the readers see the end and return
        self._loop.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self._connections
        self._connections += 1
        try:
            answers, requests = await asyncio.open_connection(HOST, self._broker_port)
        except OSError:
            writer.close()
            return
        self._writers += [writer, requests]
        asked: dict[int, tuple[int, int]] = {}

        async def up() -> None:
            while True:
                frame = await _frame(reader)
                key, version, correlation = struct.unpack_from(">hhi", frame)
                asked[correlation] = (key, version)
                requests.write(struct.pack(">i", len(frame)) + frame)
                await requests.drain()

        async def down() -> None:
            theirs, ours = (HOST.encode() + struct.pack(">i", port) for port in (self._broker_port, self.port))
            while True:
                frame = await _frame(answers)
                while self.stalled:
                    await asyncio.sleep(0.01)
                key, version = asked.pop(struct.unpack_from(">i", frame)[0], (-1, 0))
                if key == METADATA and self.fenced:
                    frame = without_brokers(frame, version)
                    self.answers_without_brokers += 1
                if key == FETCH and number in self._muted:
                    await asyncio.sleep(0.02)
                    frame = without_records(frame, version)
                    self.answers_without_records += 1
                frame = frame.replace(theirs, ours)
                writer.write(struct.pack(">i", len(frame)) + frame)
                await writer.drain()

        try:
            done, rest = await asyncio.wait(
                [asyncio.ensure_future(up()), asyncio.ensure_future(down())], return_when=asyncio.FIRST_COMPLETED
            )
            for task in rest:
                task.cancel()
            for task in done:
                task.exception()
        finally:
            writer.close()
            requests.close()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(length)


def without_brokers(frame: bytes, version: int) -> bytes:
    """Return a Metadata answer with its brokers taken out."""
    assert version >= 9, f"Metadata v{version} is not known here"
    start = at = 4 + 1 + 4  # correlation id, no tagged fields, throttle time
    count, at = _uvarint(frame, at)
    for _ in range(count - 1):
        at = _skip_string(frame, at + 4)  # node id, host
        at = _skip_string(frame, at + 4)  # port, rack
        _, at = _uvarint(frame, at)  # tagged fields
    return frame[:start] + b"\x01" + frame[at:]


def without_records(frame: bytes, version: int) -> bytes:
    """Return a Fetch answer that says nothing about any partition."""
    assert version >= 12, f"Fetch v{version} is not known here"
    fixed = 4 + 1 + 4 + 2 + 4  # correlation id, no tagged fields, throttle time, error, session id
    return frame[:fixed] + b"\x01\x00"


def _skip_string(data: bytes, at: int) -> int:
    length, at = _uvarint(data, at)
    return at + max(0, length - 1)


def _uvarint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
