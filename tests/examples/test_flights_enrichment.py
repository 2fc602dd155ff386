"""Enriching: every flight of the record, the missing values, and the reference pass."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.flights import delays, enrich, records, reference, single_process, source
from examples.flights.records import EnrichedFlight, Flight

ROOT = Path(enrich.__file__).parents[2]


@pytest.fixture(scope="session")
def results(tables: reference.Reference) -> Mapping[str, bytes]:
    return single_process.single_pass(tables)


@pytest.fixture(scope="session")
def enriched(results: Mapping[str, bytes]) -> Mapping[str, EnrichedFlight]:
    return {key: records.decode_enriched(value) for key, value in results.items()}


@pytest.fixture(scope="session")
def flights() -> Mapping[str, Flight]:
    return dict(source.flights())


def test_every_flight_is_enriched_and_none_is_dropped(
    flights: Mapping[str, Flight], enriched: Mapping[str, EnrichedFlight]
) -> None:
    assert list(enriched) == list(flights)
    assert all(key == record.key for key, record in enriched.items())


def test_every_record_encodes_and_decodes(
    flights: Mapping[str, Flight], enriched: Mapping[str, EnrichedFlight], results: Mapping[str, bytes]
) -> None:
    for key, flight in flights.items():
        assert records.decode_flight(records.encode(flight)) == flight
        assert records.encode(enriched[key]) == results[key]


def test_a_record_fits_the_embedded_broker(results: Mapping[str, bytes]) -> None:
    # The embedded broker keeps 5 MiB a partition: all results must fit into 8 partitions, with room for repeats.
    assert sum(len(value) for value in results.values()) / 8 < 3.5 * 2**20
    assert max(len(value) for value in results.values()) < 1200


def test_the_first_flight_of_the_record(enriched: Mapping[str, EnrichedFlight]) -> None:
    first = enriched["2013-01-01/UA1545/EWR"]
    assert (first.carrier_name, first.origin_name) == ("United Air Lines Inc.", "Newark Liberty Intl")
    assert first.dest_name == "George Bush Intercontinental"
    assert first.scheduled_departure == datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
    assert (first.dep_delay_min, first.arr_delay_min, first.made_up_min, first.late) == (2, 11, -9, False)
    assert first.distance_km == pytest.approx(1400 * 1.609344, rel=0.005)
    assert first.initial_bearing_deg is not None
    assert 235 < first.initial_bearing_deg < 250  # south-west
    assert first.speed_kmh == pytest.approx(595, abs=5)
    assert first.plane == records.Plane(manufacturer="BOEING", model="737-824", seats=149, age_years=14)
    assert first.weather is not None
    assert first.weather.temperature_c == 3.9
    assert first.daylight is not None
    assert first.daylight.sun_at_departure_deg < -18  # 5:17 in January
    assert first.daylight.day_min + first.daylight.night_min == 227


def test_computed_distances_agree_with_the_record(
    flights: Mapping[str, Flight], enriched: Mapping[str, EnrichedFlight]
) -> None:
    # Sphere against the Bureau's own table of whole miles: less than 1 % or 2 miles apart on every route.
    for key, record in enriched.items():
        if record.distance_source == "great circle":
            assert record.distance_km == pytest.approx(flights[key].distance * 1.609344, rel=0.01, abs=3.3), key


def test_airports_without_a_position_keep_the_distance_of_the_record(
    flights: Mapping[str, Flight], enriched: Mapping[str, EnrichedFlight]
) -> None:
    unknown = {key: record for key, record in enriched.items() if record.distance_source == "record"}
    expected = Counter(flight.dest for flight in flights.values() if flight.dest in {"BQN", "PSE", "SJU", "STT"})
    assert expected.total() == 680
    assert Counter(record.dest for record in unknown.values()) == expected
    for key, record in unknown.items():
        assert record.distance_km == round(flights[key].distance * 1.609344, 3)
        assert record.dest_name is None
        assert record.initial_bearing_deg is None
        assert record.daylight is None
        assert record.origin_name is not None


def test_outcomes(enriched: Mapping[str, EnrichedFlight]) -> None:
    assert Counter(record.outcome for record in enriched.values()) == {"flown": 26398, "cancelled": 521, "diverted": 85}
    for record in enriched.values():
        if record.outcome != "flown":
            assert record.speed_kmh is None
            assert record.daylight is None
            assert record.late is None
        if record.outcome == "cancelled":
            assert record.dep_delay_min is None


def test_flights_in_an_hour_without_an_observation_have_no_weather(enriched: Mapping[str, EnrichedFlight]) -> None:
    missing = Counter(
        (record.origin, record.scheduled_departure.replace(minute=0).isoformat())
        for record in enriched.values()
        if record.weather is None
    )
    assert missing == {
        ("EWR", "2013-01-01T17:00:00+00:00"): 22,
        ("JFK", "2013-01-01T17:00:00+00:00"): 17,
        ("LGA", "2013-01-06T11:00:00+00:00"): 13,
    }


def test_wind_parts_are_those_of_the_wind(enriched: Mapping[str, EnrichedFlight]) -> None:
    seen = 0
    for record in enriched.values():
        weather = record.weather
        if weather is None or weather.headwind_kmh is None or weather.crosswind_kmh is None:
            continue
        seen += 1
        assert weather.wind_kmh is not None
        assert (weather.headwind_kmh**2 + weather.crosswind_kmh**2) ** 0.5 == pytest.approx(weather.wind_kmh, abs=0.2)
    assert seen > 25_000


def test_density_altitude_in_the_standard_atmosphere_is_the_altitude() -> None:
    assert enrich.density_altitude_m(0.0, 15.0, 1013.25) == pytest.approx(0.0, abs=1e-9)
    assert enrich.density_altitude_m(5000.0, 15.0 - 1.98 * 5, 1013.25) == pytest.approx(1524.0, abs=1e-6)


optional_minutes = st.none() | st.integers(-60, 1500)
any_flight = st.builds(
    Flight,
    year=st.integers(1990, 2030),
    month=st.integers(1, 12),
    day=st.integers(1, 28),
    dep_time=st.none() | st.integers(0, 2400),
    sched_dep_time=st.integers(0, 2400),
    dep_delay=optional_minutes,
    arr_time=st.none() | st.integers(0, 2400),
    sched_arr_time=st.integers(0, 2400),
    arr_delay=optional_minutes,
    carrier=st.sampled_from(["UA", "AA", "??"]),
    flight=st.integers(0, 9999),
    tailnum=st.none() | st.sampled_from(["N14228", "N0"]),
    origin=st.sampled_from(["EWR", "JFK", "SJU", "???"]),
    dest=st.sampled_from(["IAH", "EWR", "SJU", "???"]),
    air_time=st.none() | st.integers(0, 700),
    distance=st.integers(0, 5000),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    time_hour=st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)).map(lambda when: when.replace(tzinfo=UTC)),  # noqa: DTZ001
)


@given(flight=any_flight)
def test_no_combination_of_missing_values_fails(tables: reference.Reference, flight: Flight) -> None:
    record = enrich.enrich(flight, tables)
    value = records.encode(record)
    assert records.decode_enriched(value) == record
    assert records.encode(enrich.enrich(flight, tables)) == value


def test_a_record_of_a_wrong_kind_is_refused_with_its_path() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.dep_delay"):
        records.decode_flight(records.encode(next(source.flights())[1]).replace(b'"dep_delay":2', b'"dep_delay":"2"'))


@pytest.mark.timeout(180)
def test_two_processes_compute_the_same_bytes(results: Mapping[str, bytes]) -> None:
    # Another hash seed, so that an order taken from a set or dictionary would show.
    done = subprocess.run(
        [sys.executable, "-m", "examples.flights.single_process"],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        timeout=150,
        check=True,
    )
    assert done.stdout.startswith("27,004 flights in ")
    assert done.stdout.split()[-1] == single_process.digest(dict(results))


def test_delays_by_carrier(flights: Mapping[str, Flight], enriched: Mapping[str, EnrichedFlight]) -> None:
    table = delays.by_carrier(enriched.values())
    assert list(table) == sorted({flight.carrier for flight in flights.values()})
    assert sum(row.flights for row in table.values()) == 27_004
    assert sum(row.cancelled for row in table.values()) == 521
    united = sorted(f.dep_delay for f in flights.values() if f.carrier == "UA" and f.dep_delay is not None)
    spread = table["UA"].departure
    assert spread is not None
    assert spread.count == len(united)
    assert spread.mean_min == sum(united) / len(united)
    middle = len(united) // 2
    assert spread.median_min == (united[middle] if len(united) % 2 else (united[middle - 1] + united[middle]) / 2)


def test_delays_by_carrier_and_hour_add_up_to_those_by_carrier(enriched: Mapping[str, EnrichedFlight]) -> None:
    by_hour, by_carrier = delays.by_carrier_and_hour(enriched.values()), delays.by_carrier(enriched.values())
    for carrier, row in by_carrier.items():
        hours = [part for (name, _), part in by_hour.items() if name == carrier]
        assert sum(part.flights for part in hours) == row.flights
        assert sum(part.late for part in hours) == row.late
        assert sum(part.arrival.count for part in hours if part.arrival) == (row.arrival.count if row.arrival else 0)


def test_a_group_without_departures_has_no_spread(enriched: Mapping[str, EnrichedFlight]) -> None:
    cancelled = [record for record in enriched.values() if record.outcome == "cancelled"]
    table = delays.by_carrier(cancelled)
    assert all(row.departure is None and row.arrival is None and row.flights == row.cancelled for row in table.values())


@given(st.lists(st.integers(-100, 2000), min_size=1), st.floats(0, 1))
def test_a_quantile_lies_between_its_neighbours(values: list[int], fraction: float) -> None:
    ordered = sorted(values)
    assert ordered[0] <= delays.quantile(ordered, fraction) <= ordered[-1]
    assert delays.quantile(ordered, 0.0) == ordered[0]
    assert delays.quantile(ordered, 1.0) == ordered[-1]


def test_there_is_no_quantile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        delays.quantile([], 0.5)
