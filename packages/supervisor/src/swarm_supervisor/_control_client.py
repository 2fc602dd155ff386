"""The client side of the control socket. Blocking: for tools, not for the supervisor itself.

The server side is `control.ControlServer`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from swarm_supervisor._snapshot import Snapshot

_MAX_LINE_BYTES = 64 * 2**20
_Kind = TypeVar("_Kind")


class ControlError(RuntimeError):
    """The supervisor did not answer or refused. The text is one sentence with the reason."""


class ControlClient:
    """A connection to the control socket of a running supervisor."""

    def __init__(self, path: str | Path, timeout_s: float = 5.0) -> None:
        """Connect. ``timeout_s`` bounds connecting and each answer. `ControlError` if no supervisor listens there."""
        self._path = Path(path)
        self._timeout_s = timeout_s
        self._received = b""
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(timeout_s)
        try:
            self._sock.connect(os.fsencode(self._path))
        except OSError as error:
            self._sock.close()
            raise ControlError(f"no supervisor answers at {self._path}: {error.strerror or error}") from error

    def fileno(self) -> int:
        """Return the descriptor, for waiting for events."""
        return self._sock.fileno()

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and return its response without "ok". `ControlError` if it is refused or not answered."""
        try:
            self._sock.sendall(msgspec.json.encode({"command": command, **arguments}) + b"\n")
        except OSError as error:
            raise ControlError(
                f"the supervisor at {self._path} closed the connection: {error.strerror or error}"
            ) from error
        deadline = time.monotonic() + self._timeout_s
        while True:
            line = self._line(deadline)
            response = self._decode(line)
            if "event" not in response:
                break
        if response.pop("ok", False) is not True:
            raise ControlError(_printable(str(response.get("error", "the supervisor refused without a reason"))))
        return response

    def status(self) -> Snapshot:
        """Return the current snapshot of the swarm."""
        return self._checked(_without_unknown(self.request("status").get("snapshot")), Snapshot)

    def quiet(self) -> None:
        """Let all nodes finish their work and take no more."""
        self.request("quiet")

    def stop(self) -> None:
        """Stop the swarm gracefully. Returns when that has started."""
        self.request("stop")

    def restart(self, node: int | None = None) -> None:
        """Replace the process of one node, or of all, one after the other. Returns when that has started."""
        self.request("restart", **({} if node is None else {"node": node}))

    def scale(self, nodes: int) -> None:
        """Change the number of nodes. Returns when that has started."""
        self.request("scale", nodes=nodes)

    def trace(self, node: int | None = None, wait_s: float = 3.0) -> dict[int, str]:
        """Return the stacks of every thread by node id; nodes that did not answer within ``wait_s`` are missing.

        Afterwards the connection is subscribed to events.
        """
        self.request("subscribe")
        answer = self.request("trace", **({} if node is None else {"node": node}))
        asked = set(self._checked(answer.get("asked"), list[int]))
        stacks: dict[int, str] = {}
        for event in self.events(wait_s):
            if event["event"] == "StacksDumped":
                dump = self._checked(event, _Stacks)
                if dump.node_id in asked:
                    stacks[dump.node_id] = dump.text
            if asked <= stacks.keys():
                break
        return stacks

    def subscribe(self) -> Iterator[dict[str, Any]]:
        """Yield events as they happen, until the supervisor ends."""
        self.request("subscribe")
        return self.events()

    def events(self, for_s: float | None = None) -> Iterator[dict[str, Any]]:
        """Yield events, after a "subscribe", until the supervisor ends or, at most, ``for_s`` seconds."""
        deadline = None if for_s is None else time.monotonic() + for_s
        while True:
            try:
                line = self._line(deadline)
            except ControlError:
                return
            event = self._decode(line)
            if isinstance(event.get("event"), str):
                yield event

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _line(self, deadline: float | None) -> bytes:
        while b"\n" not in self._received:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise ControlError(f"the supervisor at {self._path} did not answer in time")
            self._sock.settimeout(left)
            with contextlib.suppress(TimeoutError):
                try:
                    chunk = self._sock.recv(65536)
                except TimeoutError:
                    raise
                except OSError as error:
                    raise ControlError(f"the supervisor at {self._path} closed the connection: {error}") from error
                if not chunk or len(self._received) > _MAX_LINE_BYTES:
                    raise ControlError(f"the supervisor at {self._path} closed the connection")
                self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _decode(self, line: bytes) -> dict[str, Any]:
        try:
            return msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ControlError(
                _printable(f"the process that answers at {self._path} is not a supervisor: {error}")
            ) from error

    def _checked(self, value: Any, kind: type[_Kind]) -> _Kind:
        try:
            return msgspec.convert(value, kind)
        except (msgspec.ValidationError, RecursionError) as error:
            raise ControlError(
                _printable(
                    f"the process that answers at {self._path} is not a supervisor, or has another version: {error}"
                )
            ) from error


class _Stacks(msgspec.Struct):
    """The fields of a `StacksDumped` that matter here."""

    node_id: int
    text: str


def _without_unknown(snapshot: Any) -> Any:
    """The snapshot without extra values that are null: one node's NaN must not hide a whole swarm."""
    nodes = snapshot.get("nodes") if isinstance(snapshot, dict) else None
    for node in nodes if isinstance(nodes, list) else ():
        statistics = node.get("statistics") if isinstance(node, dict) else None
        extra = statistics.get("extra") if isinstance(statistics, dict) else None
        if isinstance(extra, dict) and isinstance(statistics, dict):
            statistics["extra"] = {key: value for key, value in extra.items() if value is not None}
    return snapshot


def _printable(text: str) -> str:
    """The text made safe for a terminal: the answer may contain control characters."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
