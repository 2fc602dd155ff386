"""Plain columns for people and for grep: a header, one line per row, no boxes, never cut to the terminal's width."""

from collections.abc import Iterator, Sequence

from swarm_cli.views.figures import printable

GAP = "  "


def columns(header: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> Iterator[str]:
    """The lines of a table. The columns in `right` are numbers and aligned to the right."""
    texts = [[_cell(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
    for line in [list(header), *texts]:
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(header, line, widths, strict=True)
        ]
        yield GAP.join(cells).rstrip()


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return printable(", ".join(map(str, value))) or "-"
    return f"{value:g}" if isinstance(value, float) else printable(str(value))
