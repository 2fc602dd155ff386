"""The socket that a probe server listens on, and the host names that it answers to."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket

from swarm_liveness.settings import ProbeError

BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """Return a listening, non-blocking socket. Raises ProbeError when the address is in use or not this machine's."""
    if not 0 <= port <= 65535:
        raise ProbeError(f"the probe port is {port}: give one between 1 and 65535, or 0 for any free port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
    except socket.gaierror:
        raise ProbeError(
            f"the probe address {host!r} is not an IP address: give one, like 127.0.0.1 or 0.0.0.0"
        ) from None
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        # Without this, a supervisor that is restarted at once fails while old connections are in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        advice = {
            errno.EADDRINUSE: "another process uses it, choose another port",
            errno.EADDRNOTAVAIL: "this machine has no such address",
            errno.EACCES: "ports below 1024 need extra privileges, choose a higher one",
        }.get(error.errno or 0, error.strerror or str(error))
        raise ProbeError(f"the probe cannot listen on {host}:{port}: {advice}") from None
    return sock


def is_loopback(host: str) -> bool:
    """Whether an address can be reached only from this machine."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        mapped = getattr(address, "ipv4_mapped", None)
        return address.is_loopback or (mapped is not None and mapped.is_loopback)
    return False


def means_this_machine(host: bytes) -> bool:
    """Whether a Host header, like "localhost:8080", names this machine.

    A web site can make its own name resolve to 127.0.0.1 and then read what a server there shows (DNS rebinding). The
    Host header then has the name of the site, and a script cannot change it.
    """
    name = host.decode("ascii", "replace").strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    return name == "localhost" or name.endswith(".localhost") or is_loopback(name)
