"""Reading the compressed tables in data/."""

import csv
import io
import lzma
from collections.abc import Iterator
from pathlib import Path

DATA = Path(__file__).parent / "data"
"""The folder of the extract; data/README.md says where it comes from."""


def rows(name: str, folder: Path = DATA) -> Iterator[dict[str, str | None]]:
    """Yield the rows of a table by column name, in file order; NA, the record's mark for a missing value, is None.

    Raises FileNotFoundError when the folder has no such table.
    """
    with lzma.open(folder / f"{name}.csv.xz", "rb") as compressed:
        for row in csv.DictReader(io.TextIOWrapper(compressed, encoding="utf-8", newline="")):
            yield {column: None if value == "NA" else value for column, value in row.items()}
