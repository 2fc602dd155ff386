"""The input: the flights of the record, in its order, each with its key."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from .records import Flight
from .tables import DATA, rows

FLIGHTS = 27_004
"""How many flights the extract has."""


def flights(folder: Path = DATA) -> Iterator[tuple[str, Flight]]:
    """Yield (key, flight) for every flight of the record; no key occurs twice.

    Raises FileNotFoundError when the folder has no flights table, msgspec.ValidationError for a cell of a wrong kind.
    """
    for row in rows("flights", folder):
        flight = msgspec.convert(row, Flight, strict=False)  # strict=False: a cell is text and may hold a number
        yield flight.key, flight
