"""What the endpoints of a probe answer, on its way to those who have asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from swarm_liveness._serving.connection import ProbeConnection

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answers. A body in parts is rendered a part at a time, between other work of the loop."""

    status: int
    content_type: str
    body: bytes | Iterator[bytes]
    headers: tuple[tuple[str, str], ...] = ()


Endpoint = Callable[[], Answer]


@dataclass(slots=True)
class ProbeCounters:
    """What the server has done so far."""

    accepted: int = 0
    evicted: int = 0
    """Connections closed to make room for newer ones."""
    timed_out: int = 0
    answered: int = 0
    refused: int = 0
    """Requests answered with 4xx."""
    failed: int = 0
    """Endpoints that raised."""


class Rendering:
    """A body on its way, and all who wait for it."""

    def __init__(self, answer: Answer, parts: Iterator[bytes]) -> None:
        self.answer = answer
        self.parts = parts
        self.done: list[bytes] = []
        self.waiting: list[ProbeConnection] = []
