"""Great circles and the sun against published values, and the laws that hold for every point."""

from datetime import UTC, datetime
from math import isclose, pi

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from examples.flights import geodesy, sun

latitudes = st.floats(-90.0, 90.0, allow_nan=False)
longitudes = st.floats(-180.0, 180.0, allow_nan=False)
points = st.tuples(latitudes, longitudes)
fractions = st.floats(0.0, 1.0)

JFK = (40.639751, -73.778925)
LAX = (33.942536, -118.408075)


def distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    return geodesy.distance_km(geodesy.unit_vector(*a), geodesy.unit_vector(*b))


def test_a_quarter_of_the_equator_and_pole_to_pole() -> None:
    quarter = geodesy.EARTH_RADIUS_KM * pi / 2
    assert distance((0, 0), (0, 90)) == pytest.approx(quarter, rel=1e-12)
    assert distance((90, 0), (-90, 0)) == pytest.approx(2 * quarter, rel=1e-12)
    assert distance((0, 0), (0, 180)) == pytest.approx(2 * quarter, rel=1e-12)


def test_the_worked_example_of_lax_to_jfk() -> None:
    # Ed Williams, Aviation Formulary: LAX (33°57'N 118°24'W) to JFK (40°38'N 73°47'W): 2144 nm, initial course 66°.
    lax, jfk = (33 + 57 / 60, -118 - 24 / 60), (40 + 38 / 60, -73 - 47 / 60)
    assert geodesy.angle(geodesy.unit_vector(*lax), geodesy.unit_vector(*jfk)) == pytest.approx(0.623585, abs=5e-6)
    assert geodesy.initial_bearing_deg(*lax, *jfk) == pytest.approx(65.8922, abs=1e-3)


@pytest.mark.parametrize(("to", "bearing"), [((10, 0), 0), ((0, 10), 90), ((-10, 0), 180), ((0, -10), 270)])
def test_the_four_directions(to: tuple[float, float], bearing: float) -> None:
    assert geodesy.initial_bearing_deg(0, 0, *to) == pytest.approx(bearing, abs=1e-9)


@given(points, points)
def test_distance_is_symmetric_and_within_half_the_circumference(
    a: tuple[float, float], b: tuple[float, float]
) -> None:
    assert distance(a, b) == distance(b, a)
    assert 0.0 <= distance(a, b) <= geodesy.EARTH_RADIUS_KM * pi * (1 + 1e-12)


@given(points)
def test_a_point_is_at_no_distance_from_itself(a: tuple[float, float]) -> None:
    assert distance(a, a) == pytest.approx(0.0, abs=1e-6)


@given(points, points, points)
def test_no_way_is_shorter_than_the_direct_one(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]
) -> None:
    assert distance(a, c) <= distance(a, b) + distance(b, c) + 1e-6


@given(points, points)
def test_a_bearing_is_in_the_circle(a: tuple[float, float], b: tuple[float, float]) -> None:
    assert 0.0 <= geodesy.initial_bearing_deg(*a, *b) < 360.0


@given(points, points, fractions)
def test_a_point_of_the_way_divides_it(a: tuple[float, float], b: tuple[float, float], fraction: float) -> None:
    start, end = geodesy.unit_vector(*a), geodesy.unit_vector(*b)
    whole = geodesy.angle(start, end)
    assume(1e-3 < whole < pi - 1e-3)
    between = geodesy.along(start, end, fraction)
    assert isclose(sum(x * x for x in between), 1.0, abs_tol=1e-9)
    assert geodesy.angle(start, between) == pytest.approx(fraction * whole, abs=1e-7)
    assert geodesy.angle(between, end) == pytest.approx((1 - fraction) * whole, abs=1e-7)


def elevation(place: tuple[float, float], when: datetime) -> float:
    return geodesy.elevation_deg(geodesy.unit_vector(*place), sun.direction(when.timestamp()))


@pytest.mark.parametrize(
    ("hour", "minute"),
    # US Naval Observatory, New York, 1 January 2013: sunrise 07:20, sunset 16:39 EST.
    [(12, 20), (21, 39)],
)
def test_sunrise_and_sunset_in_new_york(hour: int, minute: int) -> None:
    place = (40 + 43 / 60, -74.0)
    # The sun moves at most 0.25° a minute; the table is rounded to the minute.
    assert elevation(place, datetime(2013, 1, 1, hour, minute, tzinfo=UTC)) == pytest.approx(-0.8333, abs=0.2)


def test_the_sun_at_the_june_solstice_is_overhead_at_the_tropic() -> None:
    when = datetime(2013, 6, 21, 12, 2, tzinfo=UTC)  # noon at 0°: the equation of time is -1 min 50 s
    assert elevation((23.436, 0.0), when) > 89.5
    assert elevation((-66.7, 0.0), when) < 0.2


def test_a_flight_at_noon_is_all_day_and_one_at_midnight_all_night() -> None:
    start, end = geodesy.unit_vector(*JFK), geodesy.unit_vector(*LAX)
    noon = datetime(2013, 1, 1, 16, 0, tzinfo=UTC).timestamp()
    midnight = datetime(2013, 1, 1, 5, 0, tzinfo=UTC).timestamp()
    assert sun.daylight_minutes(start, end, noon, 330) == 330
    assert sun.daylight_minutes(start, end, midnight, 330) == 0


@given(points, points, st.integers(1_350_000_000, 1_400_000_000), st.integers(0, 200))
def test_daylight_never_exceeds_the_flight(
    a: tuple[float, float], b: tuple[float, float], departure: int, minutes: int
) -> None:
    day = sun.daylight_minutes(geodesy.unit_vector(*a), geodesy.unit_vector(*b), departure, minutes)
    assert 0 <= day <= minutes
