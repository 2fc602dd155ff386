"""What an endpoint is, what it answers, and a body on its way to the clients that wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from swarm_liveness._serving.connection import ProbeConnection
from swarm_liveness._serving.request import Request

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answers. A body in parts is rendered a part at a time, between other work of the loop."""

    status: int
    content_type: str
    body: bytes | Iterator[bytes]
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What answers the requests for one path."""

    answer: Callable[[Request], Answer]
    parameters: tuple[str, ...] = ()
    """The query parameters that it reads. It is given no others: requests that differ in others share an answer."""

    def __call__(self, request: Request) -> Answer:
        """Answer a request, whose query holds only `parameters`.

        Raises BadRequestError for a bad parameter; the client gets status 400 and the error's sentence.
        """
        return self.answer(request)


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

    def __init__(self, request: Request, answer: Answer, parts: Iterator[bytes]) -> None:
        self.request = request
        self.answer = answer
        self.parts = parts
        self.done: list[bytes] = []
        self.waiting: list[ProbeConnection] = []
