"""Tables: aligned plain text where the output is no terminal, folded and coloured to the width of one."""

from collections.abc import Sequence
from typing import NamedTuple

from swarm_cli.operation import coloured, say


class Column(NamedTuple):
    """A column: its title, and whether it holds figures, which are aligned to the right."""

    title: str
    figures: bool = False


Row = Sequence[str]
Styles = Sequence[str | None]


def show(columns: Sequence[Column], rows: Sequence[Row], styles: Styles = ()) -> None:
    """Print a table to stdout. `styles` has the rich style of each row, or nothing."""
    import sys

    if not sys.stdout.isatty():
        for line in plain_lines(columns, rows):
            say(line)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # The last column holds sentences: it alone is folded, so that figures stay whole.
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for number, column in enumerate(columns):
        last = number == len(columns) - 1
        table.add_column(
            column.title,
            justify="right" if column.figures else "left",
            no_wrap=not last,
            overflow="fold" if last else "ellipsis",
        )
    for number, row in enumerate(rows):
        table.add_row(*(Text(cell) for cell in row), style=styles[number] if number < len(styles) else None)
    Console(no_color=not coloured(), highlight=False).print(table)


def plain_lines(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """The table as aligned text, two blanks between columns, nothing cut. Pure."""
    widths = [max(len(column.title), *(len(row[i]) for row in rows), 0) for i, column in enumerate(columns)]
    lines = []
    for cells in ([column.title for column in columns], *rows):
        parts = [
            cell.rjust(width) if column.figures else cell.ljust(width)
            for cell, width, column in zip(cells, widths, columns, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return lines
