"""The two record types: the flight as it is produced to Kafka, and the flight as the application enriches it.

Both travel as JSON. A missing value of the public record (NA there) is None here; nothing is guessed.
"""

from datetime import datetime
from typing import Literal

import msgspec


class Flight(msgspec.Struct, frozen=True, gc=False):
    """One departure of the public record, its columns unchanged.

    Times are local clock times as hhmm; delays and air time are minutes; the distance is in statute miles. A cancelled
    flight has no departure, a diverted one no arrival.
    """

    year: int
    month: int
    day: int
    dep_time: int | None
    sched_dep_time: int
    dep_delay: int | None
    arr_time: int | None
    sched_arr_time: int
    arr_delay: int | None
    carrier: str
    flight: int
    tailnum: str | None
    origin: str
    dest: str
    air_time: int | None
    distance: int
    hour: int
    minute: int
    time_hour: datetime
    """The hour of the scheduled departure, UTC."""

    @property
    def key(self) -> str:
        """The record key: unique in the file (a test counts them) and stable."""
        return f"{self.year:04}-{self.month:02}-{self.day:02}/{self.carrier}{self.flight}/{self.origin}"


class DepartureWeather(msgspec.Struct, frozen=True, gc=False):
    """The hourly observation at the origin, in metric units, and what it means for the runway heading of the route."""

    temperature_c: float | None
    wind_kmh: float | None
    headwind_kmh: float | None
    """Part of the wind against the initial course; negative is a tail wind. None when wind or course is unknown."""
    crosswind_kmh: float | None
    """Part of the wind across the initial course; positive comes from the right."""
    precipitation_mm: float | None
    visibility_km: float | None
    pressure_hpa: float | None
    density_altitude_m: float | None


class Plane(msgspec.Struct, frozen=True, gc=False):
    """What the aircraft registry says about the plane."""

    manufacturer: str
    model: str
    seats: int | None
    age_years: int | None


class Daylight(msgspec.Struct, frozen=True, gc=False):
    """How much of the flight was in daylight, along the great circle, for an observer at ground level."""

    day_min: int
    night_min: int
    sun_at_departure_deg: float
    sun_at_arrival_deg: float


class EnrichedFlight(msgspec.Struct, frozen=True, gc=False):
    """One flight with all that the reference tables and the arithmetic add to it."""

    key: str
    carrier: str
    carrier_name: str | None
    flight: int
    origin: str
    origin_name: str | None
    dest: str
    dest_name: str | None
    scheduled_departure: datetime
    scheduled_hour: int
    """Local hour of the scheduled departure, 0 to 23: with carrier the group of the delay statistics."""
    outcome: Literal["flown", "diverted", "cancelled"]
    """Cancelled: no departure. Diverted: departed, but the record has no air time."""
    dep_delay_min: int | None
    arr_delay_min: int | None
    made_up_min: int | None
    """Departure delay less arrival delay: what the flight gained on the way."""
    late: bool | None
    """Arrived 15 minutes or more after the schedule, the definition of the Bureau of Transportation Statistics."""
    distance_km: float
    distance_source: Literal["great circle", "record"]
    """Whether the distance is computed, or taken from the record because an airport has no known position."""
    initial_bearing_deg: float | None
    speed_kmh: float | None
    daylight: Daylight | None
    weather: DepartureWeather | None
    plane: Plane | None


_encoder = msgspec.json.Encoder()
_flight_decoder = msgspec.json.Decoder(Flight)
_enriched_decoder = msgspec.json.Decoder(EnrichedFlight)


def encode(record: Flight | EnrichedFlight) -> bytes:
    """Encode a record as JSON; equal records give equal bytes."""
    return _encoder.encode(record)


def decode_flight(value: bytes) -> Flight:
    """Decode what encode made of a flight; raises msgspec.DecodeError with the path of what is wrong."""
    return _flight_decoder.decode(value)


def decode_enriched(value: bytes) -> EnrichedFlight:
    """Decode what encode made of an enriched flight; raises msgspec.DecodeError with the path of what is wrong."""
    return _enriched_decoder.decode(value)
