"""An endpoint, its answer, and what a server counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from swarm_liveness._serving.request import Request

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answers. A body in parts is rendered one part at a time, between the loop's other work."""

    status: int
    content_type: str
    body: bytes | Iterator[bytes]
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Answers the requests for one path."""

    answer: Callable[[Request], Answer]
    parameters: tuple[str, ...] = ()
    """The query parameters that it reads. It gets no others, so requests that differ in others share one answer."""

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
    """Requests answered with a 4xx status."""
    failed: int = 0
    """Requests whose endpoint raised an error."""
