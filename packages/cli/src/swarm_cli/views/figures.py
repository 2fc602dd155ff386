"""Figures as people read them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

UNKNOWN = "-"


class Sum(NamedTuple):
    """A sum of figures, some of which may be unknown."""

    known: float
    counted: int
    """How many of them are known."""
    unknown: int

    @classmethod
    def of(cls, figures: Iterable[float | None]) -> Sum:
        """Add up what is known."""
        all_of = list(figures)
        known = [figure for figure in all_of if figure is not None]
        return cls(sum(known), len(known), len(all_of) - len(known))


def duration(seconds: float | None) -> str:
    """Two units at most: 0.3 s, 12 s, 3 m 05 s, 2 h 07 m, 4 d 03 h."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def megabytes(amount: float | None) -> str:
    """MB of 2^20 bytes, with one decimal below 100."""
    if amount is None:
        return UNKNOWN
    return f"{amount:.1f}" if amount < 99.95 else f"{amount:,.0f}"


def count(amount: float | None) -> str:
    """A whole number with thousands separators."""
    return UNKNOWN if amount is None else f"{amount:,.0f}"


def brief(amount: float | None) -> str:
    """A figure in at most 7 characters: 0.4, 12,345, 123k, 4.57M, 12.3G."""
    if amount is None:
        return UNKNOWN
    if 0 < amount < 9.95 and amount != int(amount):
        return f"{amount:.1f}"
    if amount < 99_999.5:
        return f"{amount:,.0f}"
    for unit in ("k", "M", "G"):
        amount /= 1000
        if amount < 999.5:
            return f"{amount:.0f}{unit}" if unit == "k" or amount >= 99.95 else f"{amount:.3g}{unit}"
    return f"{amount / 1000:,.0f}T"


def percent(share: float | None) -> str:
    """A share of 1 in per cent."""
    return UNKNOWN if share is None else f"{share * 100:.0f}%"


def plural(number: int, noun: str) -> str:
    """1 node, 2 nodes."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable(text: str, *, lines: bool = False) -> str:
    """The text without control characters: a node may send any text, and a terminal obeys escape sequences.

    Line ends are kept with `lines`, else they become spaces.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or (lines and one == "\n") else " " if one in "\n\t\r" else "\N{REPLACEMENT CHARACTER}"
        for one in text
    )


def summed(total: Sum, show: Callable[[float | None], str] = count) -> str:
    """A sum: "-" if nothing is known, "≥12" if a part is not known, so that the gap is visible."""
    if not total.counted:
        return UNKNOWN
    return f"≥{show(total.known)}" if total.unknown else show(total.known)
