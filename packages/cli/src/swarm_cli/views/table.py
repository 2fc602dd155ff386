"""Tables as aligned plain text. On a terminal they fit its width and have colours; elsewhere nothing is left out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

from swarm_cli.operation import coloured, say
from swarm_cli.views.figures import UNKNOWN, printable
from swarm_cli.views.styles import RESET, sequence

GAP = "  "


class Column(NamedTuple):
    """A column: its title, whether it holds figures (aligned to the right), and its rank when space is short."""

    title: str
    figures: bool = False
    rank: int = 0
    """The highest rank is dropped first on a narrow terminal; 0 always stays."""


Row = Sequence[str]


def show(columns: Sequence[Column], rows: Sequence[Row], styles: Sequence[str] = ()) -> None:
    """Print a table to stdout. `styles` has a name of `styles.STYLES`, or "", for each row."""
    if not sys.stdout.isatty():
        for line in plain_lines(columns, rows):
            say(line)
        return
    import shutil

    for line, row in fitted_lines(columns, rows, shutil.get_terminal_size().columns):
        style = "bold" if row is None else styles[row] if row < len(styles) else ""
        switch = sequence(style, coloured())
        say(f"{switch}{line}{RESET}" if switch else line)


def table_lines(header: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> list[str]:
    """A table of any values as aligned text, nothing left out. The columns in `right` hold figures. Pure."""
    columns = [Column(title, figures=title in right) for title in header]
    return plain_lines(columns, [[_cell(value) for _, value in zip(header, row, strict=True)] for row in rows])


def plain_lines(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """The table as aligned text, nothing left out. Pure."""
    widths = _widths(columns, rows)
    titles = [column.title for column in columns]
    return [_line(columns, cells, widths) for cells in (titles, *rows)]


def fitted_lines(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[tuple[str, int | None]]:
    """The table for a terminal: each line with its row number, None for the title. Pure.

    If it does not fit, a last column of sentences moves below its row, then columns are dropped by rank. Figures are
    never cut.
    """
    kept = list(range(len(columns)))
    below = not columns[-1].figures and _span(columns, rows, kept) > width
    if below:
        kept.pop()
    while _span(columns, rows, kept) > width and any(columns[i].rank for i in kept):
        kept.remove(max(kept, key=lambda i: columns[i].rank))
    shown = [columns[i] for i in kept]
    cells = [[row[i] for i in kept] for row in rows]
    title, *body = plain_lines(shown, cells)
    lines: list[tuple[str, int | None]] = [(title, None)]
    for number, line in enumerate(body):
        lines.append((line, number))
        if below and rows[number][-1]:
            lines.append((f"      {rows[number][-1]}", number))
    return lines


def _widths(columns: Sequence[Column], rows: Sequence[Row]) -> list[int]:
    return [max([len(column.title), *(len(row[i]) for row in rows)]) for i, column in enumerate(columns)]


def _span(columns: Sequence[Column], rows: Sequence[Row], kept: Sequence[int]) -> int:
    widths = _widths(columns, rows)
    return sum(widths[i] + len(GAP) for i in kept) - len(GAP)


def _line(columns: Sequence[Column], cells: Row, widths: Sequence[int]) -> str:
    parts = [
        cell.rjust(width) if column.figures else cell.ljust(width)
        for cell, width, column in zip(cells, widths, columns, strict=True)
    ]
    return GAP.join(parts).rstrip()


def _cell(value: object) -> str:
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return printable(", ".join(map(str, value))) or UNKNOWN
    return f"{value:g}" if isinstance(value, float) else printable(str(value))
