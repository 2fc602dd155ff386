"""Delay statistics over enriched flights: pure aggregation of the output, whoever computed each record."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

import msgspec

from .records import EnrichedFlight

Group = TypeVar("Group", bound=Hashable)


class Spread(msgspec.Struct, frozen=True, gc=False):
    """How one kind of delay is spread over the flights that have it, in minutes."""

    count: int
    mean_min: float
    median_min: float
    p90_min: float


class Delays(msgspec.Struct, frozen=True, gc=False):
    """The delays of one group of flights; a spread is None where no flight of the group has that delay."""

    flights: int
    cancelled: int
    late: int
    departure: Spread | None
    arrival: Spread | None


def by_carrier(flights: Iterable[EnrichedFlight]) -> dict[str, Delays]:
    """Return the delays of each carrier, in the order of the carrier codes."""
    return _grouped(flights, lambda flight: flight.carrier)


def by_carrier_and_hour(flights: Iterable[EnrichedFlight]) -> dict[tuple[str, int], Delays]:
    """Return the delays of each carrier in each local hour of scheduled departure, in that order."""
    return _grouped(flights, lambda flight: (flight.carrier, flight.scheduled_hour))


def quantile(ordered: list[int], fraction: float) -> float:
    """Return the quantile (0 to 1) of values in ascending order, linear between neighbours; ValueError if empty."""
    if not ordered:
        raise ValueError("There is no quantile of no values.")
    place = fraction * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _grouped(flights: Iterable[EnrichedFlight], group: Callable[[EnrichedFlight], Group]) -> dict[Group, Delays]:
    groups: defaultdict[Group, list[EnrichedFlight]] = defaultdict(list)
    for flight in flights:
        groups[group(flight)].append(flight)
    return {name: _delays(groups[name]) for name in sorted(groups)}  # type: ignore[type-var]  # str or (str, int)


def _delays(flights: list[EnrichedFlight]) -> Delays:
    return Delays(
        flights=len(flights),
        cancelled=sum(flight.outcome == "cancelled" for flight in flights),
        late=sum(flight.late is True for flight in flights),
        departure=_spread([flight.dep_delay_min for flight in flights if flight.dep_delay_min is not None]),
        arrival=_spread([flight.arr_delay_min for flight in flights if flight.arr_delay_min is not None]),
    )


def _spread(minutes: list[int]) -> Spread | None:
    if not minutes:
        return None
    minutes.sort()
    return Spread(
        count=len(minutes),
        mean_min=sum(minutes) / len(minutes),
        median_min=quantile(minutes, 0.5),
        p90_min=quantile(minutes, 0.9),
    )
