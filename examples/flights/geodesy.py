"""Great circles on the sphere: pure arithmetic on points given in degrees.

A point is also used as a unit vector (x to 0° N 0° E, y to 0° N 90° E, z to the north pole): with vectors, distance and
the points in between stay accurate for near and for opposite points.
"""

from math import acos, asin, atan2, cos, degrees, radians, sin, sqrt

EARTH_RADIUS_KM = 6371.0088
"""Mean radius (2a + b) / 3 of the GRS 80 ellipsoid, as adopted by the IUGG (Moritz 2000)."""

KM_PER_MILE = 1.609344
"""The international mile, exact by definition."""

Vector = tuple[float, float, float]


def unit_vector(latitude_deg: float, longitude_deg: float) -> Vector:
    """Return the point as a unit vector from the centre of the sphere."""
    latitude, longitude = radians(latitude_deg), radians(longitude_deg)
    return cos(latitude) * cos(longitude), cos(latitude) * sin(longitude), sin(latitude)


def angle(a: Vector, b: Vector) -> float:
    """Return the angle between two unit vectors in radians, from their cross and dot product."""
    across = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    along = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return atan2(sqrt(across[0] ** 2 + across[1] ** 2 + across[2] ** 2), along)


def distance_km(a: Vector, b: Vector) -> float:
    """Return the great-circle distance in kilometres."""
    return EARTH_RADIUS_KM * angle(a, b)


def initial_bearing_deg(
    latitude_a_deg: float, longitude_a_deg: float, latitude_b_deg: float, longitude_b_deg: float
) -> float:
    """Return the course at the first point towards the second, clockwise from north, 0 <= bearing < 360."""
    latitude_a, latitude_b = radians(latitude_a_deg), radians(latitude_b_deg)
    eastward = radians(longitude_b_deg - longitude_a_deg)
    east = sin(eastward) * cos(latitude_b)
    north = cos(latitude_a) * sin(latitude_b) - sin(latitude_a) * cos(latitude_b) * cos(eastward)
    bearing = degrees(atan2(east, north)) % 360.0
    return 0.0 if bearing == 360.0 else bearing  # a tiny negative angle modulo 360 rounds to 360 itself


def along(a: Vector, b: Vector, fraction: float) -> Vector:
    """Return the point at this fraction (0 to 1) of the great circle from a to b.

    Two points less than a micrometre apart, or exactly opposite, have no one great circle: the result is a.
    """
    whole = acos(max(-1.0, min(1.0, a[0] * b[0] + a[1] * b[1] + a[2] * b[2])))
    scale = sin(whole)
    if scale < 1e-13:
        return a
    p, q = sin((1.0 - fraction) * whole) / scale, sin(fraction * whole) / scale
    return p * a[0] + q * b[0], p * a[1] + q * b[1], p * a[2] + q * b[2]


def elevation_deg(place: Vector, direction: Vector) -> float:
    """Return how high a far object in this direction stands over the horizon of the place, -90 to 90."""
    return degrees(
        asin(max(-1.0, min(1.0, place[0] * direction[0] + place[1] * direction[1] + place[2] * direction[2])))
    )
