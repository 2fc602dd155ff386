"""One flight in, one enriched flight out: a pure function over the reference tables.

The same flight gives the same bytes in every process of one machine: nothing depends on a clock, on chance, on the
order of flights or on what was computed before. Results are rounded, so the records stay short.
"""

from datetime import timedelta
from math import cos, radians, sin

from .geodesy import KM_PER_MILE, distance_km, elevation_deg, initial_bearing_deg
from .records import Daylight, DepartureWeather, EnrichedFlight, Flight, Plane
from .reference import Airport, Observation, Reference, RegisteredPlane
from .sun import daylight_minutes, direction

LATE_MIN = 15
"""The Bureau of Transportation Statistics counts a flight as late from 15 minutes after its schedule."""

_M_PER_FOOT = 0.3048
_MM_PER_INCH = 25.4


def enrich(flight: Flight, reference: Reference) -> EnrichedFlight:
    """Join the flight with the tables and compute its route, daylight and delays.

    Missing values stay missing: a flight is enriched by what is known, and never left out.
    """
    origin, dest = reference.airports.get(flight.origin), reference.airports.get(flight.dest)
    plane = reference.planes.get(flight.tailnum) if flight.tailnum is not None else None
    observation = reference.weather.at(flight.origin, flight.time_hour)
    bearing = None
    if origin is not None and dest is not None:
        bearing = initial_bearing_deg(origin.latitude_deg, origin.longitude_deg, dest.latitude_deg, dest.longitude_deg)
        distance = distance_km(origin.position, dest.position)
    else:
        distance = flight.distance * KM_PER_MILE
    both = flight.dep_delay is not None and flight.arr_delay is not None
    return EnrichedFlight(
        key=flight.key,
        carrier=flight.carrier,
        carrier_name=reference.carriers.get(flight.carrier),
        flight=flight.flight,
        origin=flight.origin,
        origin_name=None if origin is None else origin.name,
        dest=flight.dest,
        dest_name=None if dest is None else dest.name,
        scheduled_departure=flight.time_hour + timedelta(minutes=flight.minute),
        scheduled_hour=flight.hour,
        outcome="cancelled" if flight.dep_time is None else "diverted" if flight.air_time is None else "flown",
        dep_delay_min=flight.dep_delay,
        arr_delay_min=flight.arr_delay,
        made_up_min=(flight.dep_delay or 0) - (flight.arr_delay or 0) if both else None,
        late=None if flight.arr_delay is None else flight.arr_delay >= LATE_MIN,
        distance_km=round(distance, 3),
        distance_source="record" if bearing is None else "great circle",
        initial_bearing_deg=None if bearing is None else round(bearing, 3) % 360.0,
        speed_kmh=round(60.0 * distance / flight.air_time, 1) if flight.air_time else None,
        daylight=_daylight(flight, origin, dest),
        weather=None if observation is None else _weather(observation, origin, bearing),
        plane=None if plane is None else _plane(plane, flight.year),
    )


def _daylight(flight: Flight, origin: Airport | None, dest: Airport | None) -> Daylight | None:
    """Follow the flight minute by minute; the record has no taxi times, so the way starts at the actual departure."""
    if origin is None or dest is None or flight.dep_delay is None or not flight.air_time:
        return None
    departure = flight.time_hour.timestamp() + 60.0 * (flight.minute + flight.dep_delay)
    arrival = departure + 60.0 * flight.air_time
    day = daylight_minutes(origin.position, dest.position, departure, flight.air_time)
    return Daylight(
        day_min=day,
        night_min=flight.air_time - day,
        sun_at_departure_deg=round(elevation_deg(origin.position, direction(departure)), 2),
        sun_at_arrival_deg=round(elevation_deg(dest.position, direction(arrival)), 2),
    )


def _weather(observation: Observation, origin: Airport | None, bearing_deg: float | None) -> DepartureWeather:
    celsius = None if observation.temperature_f is None else (observation.temperature_f - 32.0) / 1.8
    wind = None if observation.wind_mph is None else observation.wind_mph * KM_PER_MILE
    head = cross = None
    if wind is not None and bearing_deg is not None and observation.wind_direction_deg is not None:
        off = radians(observation.wind_direction_deg - bearing_deg)  # the direction is where the wind comes from
        head, cross = wind * cos(off), wind * sin(off)
    density = None
    if origin is not None and celsius is not None and observation.pressure_hpa is not None:
        density = density_altitude_m(origin.altitude_ft, celsius, observation.pressure_hpa)
    return DepartureWeather(
        temperature_c=_rounded(celsius, 1),
        wind_kmh=_rounded(wind, 1),
        headwind_kmh=_rounded(head, 1),
        crosswind_kmh=_rounded(cross, 1),
        precipitation_mm=_rounded(_times(observation.precipitation_in, _MM_PER_INCH), 2),
        visibility_km=_rounded(_times(observation.visibility_mi, KM_PER_MILE), 2),
        pressure_hpa=observation.pressure_hpa,
        density_altitude_m=_rounded(density, 0),
    )


def density_altitude_m(altitude_ft: float, temperature_c: float, pressure_hpa: float) -> float:
    """Return the height in metres at which the standard atmosphere is as thin as the air at this airport.

    The pilot's rule: 27 ft a hPa from 1013.25 at sea level, then 118.8 ft a degree above the standard temperature.
    """
    pressure_altitude_ft = altitude_ft + 27.0 * (1013.25 - pressure_hpa)
    standard_c = 15.0 - 1.98 * pressure_altitude_ft / 1000.0
    return (pressure_altitude_ft + 118.8 * (temperature_c - standard_c)) * _M_PER_FOOT


def _plane(plane: RegisteredPlane, year: int) -> Plane:
    return Plane(
        manufacturer=plane.manufacturer,
        model=plane.model,
        seats=plane.seats,
        age_years=None if plane.built is None else year - plane.built,
    )


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits) + 0.0  # + 0.0: no negative zero in the record
