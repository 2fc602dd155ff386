"""Style names and their control sequences (ECMA-48, select graphic rendition). Pure."""

from __future__ import annotations

STYLES = {
    "bold": "1",
    "dim": "2",
    "head": "7",
    "selected": "7",
    "red": "31",
    "yellow": "33",
    "green": "32",
    "cyan": "36",
}
COLOURS = frozenset({"red", "yellow", "green", "cyan"})
RESET = "\x1b[0m"


def sequence(style: str, coloured: bool) -> str:
    """The sequence that switches on a style like "bold red"; without colours, only the rest of it."""
    codes = ";".join(STYLES[name] for name in style.split() if coloured or name not in COLOURS)
    return f"\x1b[{codes}m" if codes else ""
