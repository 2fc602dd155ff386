"""Where the sun stands, and how much of a path lies in daylight: pure arithmetic."""

from math import cos, radians, sin

from .geodesy import Vector, along

J2000 = 946728000
"""2000-01-01 12:00 UTC as a Unix time: the epoch of the formulas."""

SUNRISE_SINE = sin(radians(-0.8333))
"""Sunrise and sunset: the sun's centre 50' below the horizon (34' refraction, 16' radius), the almanac's definition."""


def direction(unix_time_s: float) -> Vector:
    """Return the direction of the sun as a unit vector that turns with the earth.

    The low-precision formula of the Astronomical Almanac: within 0.01° from 1950 to 2050.
    """
    days = (unix_time_s - J2000) / 86400.0
    anomaly = radians(357.528 + 0.9856003 * days)
    longitude = radians(280.460 + 0.9856474 * days + 1.915 * sin(anomaly) + 0.020 * sin(2.0 * anomaly))
    obliquity = radians(23.439 - 0.0000004 * days)
    x, y, z = cos(longitude), cos(obliquity) * sin(longitude), sin(obliquity) * sin(longitude)
    sidereal = radians((280.46062 + 360.98564737 * days) % 360.0)
    turn_x, turn_y = cos(sidereal), sin(sidereal)
    return x * turn_x + y * turn_y, y * turn_x - x * turn_y, z


def daylight_minutes(start: Vector, end: Vector, departure_s: float, duration_min: int) -> int:
    """Return in how many minutes of the way the sun is up at the point then passed, at constant speed.

    Each minute is judged at its middle, for an observer on the ground. At altitude the sun is seen
    some minutes longer.
    """
    day = 0
    for minute in range(duration_min):
        middle = minute + 0.5
        place = along(start, end, middle / duration_min)
        sun = direction(departure_s + 60.0 * middle)
        if place[0] * sun[0] + place[1] * sun[1] + place[2] * sun[2] > SUNRISE_SINE:
            day += 1
    return day
