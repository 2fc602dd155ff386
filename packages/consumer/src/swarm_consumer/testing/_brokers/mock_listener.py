"""The port of a mock broker: one of our choice, which it keeps while it is down."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from swarm_consumer.testing.errors import BrokerError

HOST = "127.0.0.1"


class Listener:
    """One mock broker's listening socket, moved to a port of our choice.

    The mock binds 127.0.0.1:0 and its API has no word for another port. But its thread knows its listener only by the
    number of the descriptor: dup2() of a socket of ours over that number moves it. Two sockets that are bound and
    never listen reserve both ports while the broker is down (both sides set SO_REUSEADDR;
    Linux then lets a bound socket stand beside a listening one).
    """

    def __init__(self, mock_port: int, port: int, wake: Callable[[], None]) -> None:
        self._mock_port = mock_port
        self._wake = wake
        self._reserved = _bind(port)
        self.port: int = self._reserved.getsockname()[1]
        self.move()
        # If another process had this port when the broker goes down, librdkafka would abort (assert in SET_UPDOWN).
        self._reserved_mock_port = _bind(mock_port)

    def move(self) -> None:
        """Put a listening socket on our port in the place of the mock's own."""
        with _bind(self.port) as listening:
            try:
                listening.listen(128)
            except OSError:
                raise _port_taken(self.port) from None
            listening.setblocking(False)
            descriptor = _find_listening_descriptor(self._mock_port)
            if descriptor is None:
                raise BrokerError(f"The mock broker does not listen on port {self._mock_port}; restart it.")
            os.dup2(listening.fileno(), descriptor, inheritable=False)
        # poll(2) holds the file it began with: only the next round of the mock's thread lets go of the old listener and
        # looks at the new one.
        self._wake()

    def bring_back(self) -> None:
        """Move the listener again after its broker came up: the mock listens on its own port then."""
        if _find_listening_descriptor(self._mock_port) is not None:  # None: the broker was up already
            self.move()

    def close(self) -> None:
        """Give both ports back."""
        self._reserved.close()
        self._reserved_mock_port.close()


def _bind(port: int) -> socket.socket:
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise _port_taken(port) from None
    return bound


def _port_taken(port: int) -> BrokerError:
    return BrokerError(f"Port {port} on {HOST} is in use by another process; choose another port, or 0 for a free one.")


def _find_listening_descriptor(port: int) -> int | None:
    for name in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:  # not a socket, or the descriptor of the listing itself
            continue
        with found:
            if (
                found.family == socket.AF_INET
                and found.getsockname()[1] == port
                and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            ):
                return int(name)
    return None
