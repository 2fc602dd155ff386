"""A request: a path and a query, with bounds on everything. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import unquote_to_bytes

MAX_PARAMETERS = 16
MAX_CHARACTERS = 256
"""The longest encoded parameter, name and value together."""
MAX_SHOWN = 80
"""How much of a client's input an error repeats."""
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,9})?")

_Parsed = TypeVar("_Parsed", int, float)

Query = tuple[tuple[str, str], ...]
"""Decoded names and values, in the order of the query."""


class RefusedError(Exception):
    """A request that is refused with a 4xx status. The message is one sentence for the client."""

    def __init__(self, status: int, reason: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers


class BadRequestError(RefusedError):
    """A request whose query is bad (status 400)."""

    def __init__(self, reason: str) -> None:
        super().__init__(400, reason)


@dataclass(frozen=True, slots=True)
class Request:
    """What an endpoint is asked for."""

    path: str
    query: Query = ()

    def value(self, name: str) -> str | None:
        """The value of a parameter: "" if it was sent without one, None if it was not sent.

        Raises BadRequestError when it was sent more than once.
        """
        values = [value for key, value in self.query if key == name]
        if len(values) > 1:
            raise BadRequestError(f"the query has {name} {len(values)} times: give it once")
        return values[0] if values else None

    def integer(self, name: str) -> int | None:
        """The value of a parameter as an integer; None if it was not sent.

        Raises BadRequestError when it is not an integer or was sent more than once.
        """
        return self._parsed(name, int, _INTEGER, "an integer of at most 18 digits", "3")

    def number(self, name: str) -> float | None:
        """The value of a parameter as a number; None if it was not sent.

        Raises BadRequestError when it is not a number or was sent more than once.
        """
        return self._parsed(name, float, _NUMBER, "a number in digits", "1.5")

    def _parsed(
        self, name: str, parse: Callable[[str], _Parsed], form: re.Pattern[str], kind: str, example: str
    ) -> _Parsed | None:
        value = self.value(name)
        if value is None:
            return None
        if form.fullmatch(value) is None:
            raise BadRequestError(f"{name} is {_shown(value)}: give {kind}, like {name}={example}")
        return parse(value)

    def only(self, names: Collection[str]) -> Request:
        """The same request with no other query parameters than these."""
        return Request(self.path, tuple(pair for pair in self.query if pair[0] in names))


def parse_query(text: bytes) -> Query:
    """Decode a query, the part of a request's target after the "?".

    Raises BadRequestError for too many parameters, a parameter that is too long or has no name, and a broken encoding.
    """
    pieces = [piece for piece in text.split(b"&") if piece]
    if len(pieces) > MAX_PARAMETERS:
        raise BadRequestError(f"the query has {len(pieces)} parameters: the most is {MAX_PARAMETERS}")
    return tuple(_parameter(piece) for piece in pieces)


def _parameter(piece: bytes) -> tuple[str, str]:
    if len(piece) > MAX_CHARACTERS:
        raise BadRequestError(
            f"the query parameter {_shown(piece)} has {len(piece)} characters: the most is {MAX_CHARACTERS}"
        )
    broken = _BROKEN_ESCAPE.search(piece)
    if broken is not None:
        raise BadRequestError(
            f"the query has a broken percent-encoding, {_shown(broken[0])}: write a percent sign as %25"
        )
    name, _, value = piece.replace(b"+", b" ").partition(b"=")
    try:
        decoded = unquote_to_bytes(name).decode(), unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise BadRequestError(f"the query parameter {_shown(piece)} does not decode to UTF-8") from None
    if not decoded[0]:
        raise BadRequestError(f"the query parameter {_shown(piece)} has no name: write name=value")
    return decoded


def _shown(sent: str | bytes) -> str:
    """A client's input for an error: quoted, in ASCII without control characters, and cut."""
    text = sent.decode("ascii", "replace") if isinstance(sent, bytes) else sent
    return ascii(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "...")
