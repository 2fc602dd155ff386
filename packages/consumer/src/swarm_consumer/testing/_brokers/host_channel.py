"""The child's side of the line between a test and the process that hosts its broker.

`host_process.py` is the owner's side.

Requests and replies are JSON objects, one a line, on the stdin and stdout that the owner gave us.
The process ends with its owner: on end of input, on SIGTERM or SIGINT, and through PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
from collections.abc import Callable, Collection, Mapping
from typing import Any

from swarm_consumer.testing.errors import BrokerError, UnsupportedByBroker

PR_SET_PDEATHSIG = 1
MAX_REQUEST_BYTES = 1 << 20


class OwnerGone(BaseException):
    """Raised by a wait when this process must end: the waiting code only has to clean up."""


class Channel:
    """Reads requests, writes replies, and knows when to end. For the main thread of the hosting process."""

    def __init__(self, owner: int) -> None:
        self._owner = owner
        self._ending = False
        self._received = bytearray()
        # A stray print, or a library that writes to stdout, must not corrupt the replies: from here on fd 1 is stderr.
        self._requests = 0
        self._replies = os.dup(1)
        os.dup2(2, 1)
        os.set_blocking(self._requests, False)
        self._wakeup, self._wakeup_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wakeup_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        signal.signal(signal.SIGHUP, self._parent_thread_ended)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGHUP, 0, 0, 0)
        self._parent_thread_ended()  # the owner may have died before prctl was called

    def _end(self, *_: object) -> None:
        self._ending = True

    def _parent_thread_ended(self, *_: object) -> None:
        # PR_SET_PDEATHSIG fires when the *thread* that forked us ends (prctl(2)). A test may well start a broker in a
        # short-lived thread: only a changed parent means that the owner is gone.
        if os.getppid() != self._owner:
            self._ending = True

    def wait(self, timeout_s: float | None, descriptors: Collection[int] = ()) -> list[int]:
        """Wait for descriptors to become readable; raise OwnerGone when it is time to end."""
        if self._ending:
            raise OwnerGone
        ready, _, _ = select.select([self._wakeup, *descriptors], [], [], timeout_s)
        if self._wakeup in ready:
            os.read(self._wakeup, 4096)
        if self._ending:
            raise OwnerGone
        return [descriptor for descriptor in ready if descriptor != self._wakeup]

    def receive(self) -> dict[str, Any]:
        """Return the next request; raise OwnerGone at the end of input."""
        while (end := self._received.find(b"\n")) < 0:
            if self._requests not in self.wait(None, [self._requests]):
                continue
            data = os.read(self._requests, 65536)
            if not data or len(self._received) > MAX_REQUEST_BYTES:
                raise OwnerGone
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        request = json.loads(line)
        if not isinstance(request, dict):
            raise BrokerError("A request must be a JSON object.")
        return request

    def send(self, reply: Mapping[str, object]) -> None:
        """Write one reply; raise OwnerGone if the owner no longer reads."""
        data = json.dumps(reply).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._replies, data) :]
        except BrokenPipeError:
            raise OwnerGone from None

    def serve(self, handle: Callable[[str, dict[str, Any]], object]) -> None:
        """Answer requests through handle(command, arguments) until it is time to end. Errors become replies."""
        while True:
            request = self.receive()
            number, command = request.pop("id", None), request.pop("command", "")
            try:
                reply: dict[str, object] = {"result": handle(str(command), request)}
            except UnsupportedByBroker as error:
                reply = {"error": str(error), "unsupported": True}
            except Exception as error:  # noqa: BLE001  the owner gets the error, and this process continues
                reply = {"error": str(error) if isinstance(error, BrokerError) else f"{type(error).__name__}: {error}"}
            self.send({"id": number, **reply})
