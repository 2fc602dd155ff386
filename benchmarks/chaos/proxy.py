"""A TCP proxy between swarm and broker, in a process of its own, that cuts, delays and stalls.

It knows of Kafka only that every message begins with its size (int32), and that responses name the broker's address as
a string followed by an int32 port: there it puts its own port, so that clients stay on this side of it. Commands come
as lines on stdin, and each is answered by a line of JSON on stdout. `ProxyProcess` is the other side.
"""

import asyncio
import contextlib
import json
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
CHUNK = 65536
ROOT = Path(__file__).resolve().parent.parent.parent


class Proxy:
    """The proxy's own side."""

    def __init__(self, port: int) -> None:
        self.broker_port = port
        self.own_port = 0
        self.refusing = False
        self.delay_s = 0.0
        self.open = asyncio.Event()
        self.open.set()
        self.writers: set[asyncio.StreamWriter] = set()
        self.accepted = self.reset = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> asyncio.Server:
        """Begin to listen on a free port."""
        server = await asyncio.start_server(self._client, HOST, 0)
        self.own_port = server.sockets[0].getsockname()[1]
        return server

    def command(self, line: str) -> dict[str, Any]:
        """Carry out ``cut``, ``delay SECONDS``, ``stall``, ``heal`` or ``status``."""
        name, _, argument = line.strip().partition(" ")
        if name == "cut":
            self.refusing = True
            self._reset_all()
        elif name == "delay":
            self.delay_s = float(argument)
        elif name == "stall":
            self.open.clear()
        elif name == "heal":
            self.refusing, self.delay_s = False, 0.0
            self.open.set()
        return {"port": self.own_port, "connections": len(self.writers) // 2, "reset": self.reset}

    def _reset_all(self) -> None:
        for writer in list(self.writers):
            self._reset(writer)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        # SO_LINGER with time 0: close() sends a RST (socket(7)).
        sock = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        if writer in self.writers:
            self.writers.discard(writer)
            self.reset += 1

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refusing:
            self._reset(writer)
            return
        try:
            there, back = await asyncio.open_connection(HOST, self.broker_port)
        except OSError:
            self._reset(writer)
            return
        self.writers |= {writer, back}
        for ends in ((reader, back, False), (there, writer, True)):
            task = asyncio.create_task(self._one_way(*ends))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _one_way(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, responses: bool) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1000)
        sender = asyncio.create_task(self._send(queue, sink))
        try:
            while data := await (self._response(source) if responses else source.read(CHUNK)):
                await queue.put((time.monotonic() + self.delay_s, data))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            await queue.put((0.0, b""))
            await sender

    async def _send(self, queue: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = await queue.get()
                if not data:
                    break
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                await self.open.wait()
                if not sink.transport.is_closing():
                    sink.write(data)
                    await sink.drain()
        self.writers.discard(sink)
        sink.close()

    async def _response(self, source: asyncio.StreamReader) -> bytes:
        head = await source.readexactly(4)
        body = await source.readexactly(struct.unpack(">i", head)[0])
        named = HOST.encode() + struct.pack(">i", self.broker_port)
        return head + body.replace(named, HOST.encode() + struct.pack(">i", self.own_port))


async def main() -> None:
    """Serve until stdin ends: the owner has gone."""
    proxy = Proxy(int(sys.argv[1]))
    await proxy.serve()
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print(json.dumps(proxy.command("status")), flush=True)
    while line := await commands.readline():
        print(json.dumps(proxy.command(line.decode())), flush=True)


class ProxyProcess:
    """The owner's side: starts the proxy and tells it what to do."""

    def __init__(self, broker_port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.chaos.proxy", str(broker_port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            bufsize=0,
            start_new_session=True,
        )
        self.port = int(self._answer()["port"])

    def command(self, line: str) -> dict[str, Any]:
        """Send a command and return how things are now."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        return self._answer()

    def round_trip_s(self, timeout_s: float) -> float | None:
        """Seconds that a request takes through the proxy; None: no answer within ``timeout_s``, or a reset."""
        # int16 ApiKey 18 (ApiVersions), int16 ApiVersion 0, int32 CorrelationId, string ClientId
        body = struct.pack(">hhih", 18, 0, 1, 5) + b"probe"
        started = time.monotonic()
        try:
            with socket.create_connection((HOST, self.port), timeout_s) as connection:
                connection.settimeout(timeout_s)
                connection.sendall(struct.pack(">i", len(body)) + body)
                if not connection.recv(4):
                    return None
        except OSError:
            return None
        return time.monotonic() - started

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], 10)[0]:
            raise TimeoutError("the proxy did not answer within 10 s")
        return dict(json.loads(self._process.stdout.readline()))


if __name__ == "__main__":
    asyncio.run(main())
