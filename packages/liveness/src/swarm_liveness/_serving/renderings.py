"""Bodies in parts that are being rendered, and the connections that wait for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from swarm_liveness._serving.answers import Answer
from swarm_liveness._serving.connection import ProbeConnection
from swarm_liveness._serving.request import Request


class Rendering:
    """A body that is being rendered, and the connections that wait for it."""

    def __init__(self, request: Request, answer: Answer, parts: Iterator[bytes]) -> None:
        self.request = request
        self.answer = answer
        self.waiting: list[ProbeConnection] = []
        self.body = b""
        """The whole body, once it is rendered."""
        self.error: BaseException | None = None
        """What the endpoint raised, if it did."""
        self._parts = parts
        self._done: list[bytes] = []

    def step(self) -> bool:
        """Render one more part; False once the body is complete or the endpoint has raised an error."""
        try:
            part = next(self._parts, None)
            if part is not None:
                self._done.append(part)
                return True
            self.body = b"".join(self._done)
        except BaseException as error:  # noqa: BLE001  an endpoint must not end the loop
            self.error = error
        return False


class Renderings:
    """Renders bodies in turn, one part at a time. Equal requests share a body."""

    def __init__(self) -> None:
        self._by_request: dict[Request, Rendering] = {}
        self._turns: deque[Rendering] = deque()

    def __bool__(self) -> bool:
        return bool(self._turns)

    def find(self, request: Request) -> Rendering | None:
        """The rendering of an equal request, or None."""
        return self._by_request.get(request)

    def begin(self, request: Request, answer: Answer, parts: Iterator[bytes]) -> Rendering:
        """Queue a body."""
        rendering = self._by_request[request] = Rendering(request, answer, parts)
        self._turns.append(rendering)
        return rendering

    def step(self) -> Rendering | None:
        """Render one more part of the next body. Returns the rendering if that was its last step."""
        rendering = self._turns.popleft()
        if rendering.step():
            self._turns.append(rendering)
            return None
        del self._by_request[rendering.request]
        return rendering

    def clear(self) -> None:
        """Forget all bodies."""
        self._by_request.clear()
        self._turns.clear()
