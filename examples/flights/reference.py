"""The tables that every flight is joined with: loaded once, before the fork, and only read after it.

A forked node shares the supervisor's memory page by page until one of them writes. CPython writes to an object whenever
it counts a reference to it, so a page of small objects is copied soon; a page of plain numbers never. The weather, the
largest table, is therefore kept in arrays of doubles that are found by arithmetic; the small tables are dictionaries.
"""

from array import array
from collections.abc import Mapping
from datetime import datetime
from math import isnan, nan
from pathlib import Path

import msgspec

from .geodesy import Vector, unit_vector
from .tables import DATA, rows


class Airport(msgspec.Struct, frozen=True):
    """An airport with its position, also as a unit vector, and its height above the sea."""

    code: str
    name: str
    latitude_deg: float
    longitude_deg: float
    altitude_ft: float
    position: Vector


class RegisteredPlane(msgspec.Struct, frozen=True, gc=False):
    """A plane of the registry."""

    manufacturer: str
    model: str
    seats: int | None
    built: int | None


class Observation(msgspec.Struct, frozen=True, gc=False):
    """One hour's weather in the units of the record; None where the station reported nothing."""

    temperature_f: float | None
    wind_direction_deg: float | None
    wind_mph: float | None
    precipitation_in: float | None
    visibility_mi: float | None
    pressure_hpa: float | None


class WeatherTable:
    """Hourly observations by station and hour, as columns of doubles."""

    columns = ("temp", "wind_dir", "wind_speed", "precip", "visib", "pressure")

    def __init__(self, table: Mapping[tuple[str, datetime], tuple[float | None, ...]]) -> None:
        hours = [hour for _, hour in table]
        self._first = min(hours) if hours else datetime.fromtimestamp(0).astimezone()
        self._hours = (self._slot(max(hours)) if hours else -1) + 1
        self._stations = {station: n for n, station in enumerate(sorted({station for station, _ in table}))}
        size = len(self._stations) * self._hours
        self._known = bytearray(size)
        self._values = [array("d", [nan]) * size for _ in self.columns]
        for (station, hour), cells in table.items():
            index = self._stations[station] * self._hours + self._slot(hour)
            self._known[index] = 1
            for column, cell in zip(self._values, cells, strict=True):
                if cell is not None:
                    column[index] = cell

    def at(self, station: str, hour: datetime) -> Observation | None:
        """Return the observation of this hour, None when the station has none."""
        number, slot = self._stations.get(station), self._slot(hour)
        if number is None or not 0 <= slot < self._hours:
            return None
        index = number * self._hours + slot
        if not self._known[index]:
            return None
        return Observation(*(None if isnan(value) else value for value in (column[index] for column in self._values)))

    def __len__(self) -> int:
        return sum(self._known)

    def _slot(self, hour: datetime) -> int:
        return int((hour - self._first).total_seconds()) // 3600


class Reference(msgspec.Struct, frozen=True):
    """All tables."""

    airports: Mapping[str, Airport]
    planes: Mapping[str, RegisteredPlane]
    weather: WeatherTable
    carriers: Mapping[str, str]


def load(folder: Path = DATA) -> Reference:
    """Read the tables of the folder; raises FileNotFoundError naming a table that is not there."""
    return Reference(
        airports={str(row["faa"]): _airport(row) for row in rows("airports", folder)},
        planes={str(row["tailnum"]): _plane(row) for row in rows("planes", folder)},
        weather=WeatherTable(
            {
                (str(row["origin"]), datetime.fromisoformat(str(row["time_hour"]))): tuple(
                    _number(row[column]) for column in WeatherTable.columns
                )
                for row in rows("weather", folder)
            }
        ),
        carriers={str(row["carrier"]): str(row["name"]) for row in rows("airlines", folder)},
    )


def _airport(row: Mapping[str, str | None]) -> Airport:
    latitude, longitude = float(row["lat"] or nan), float(row["lon"] or nan)
    return Airport(
        code=str(row["faa"]),
        name=str(row["name"]).replace("\\", ""),  # the record has one stray escape: Martha\\'s Vineyard
        latitude_deg=latitude,
        longitude_deg=longitude,
        altitude_ft=float(row["alt"] or nan),
        position=unit_vector(latitude, longitude),
    )


def _plane(row: Mapping[str, str | None]) -> RegisteredPlane:
    return RegisteredPlane(
        manufacturer=str(row["manufacturer"]),
        model=str(row["model"]),
        seats=int(row["seats"]) if row["seats"] else None,
        built=int(row["year"]) if row["year"] else None,
    )


def _number(cell: str | None) -> float | None:
    return None if cell is None else float(cell)
