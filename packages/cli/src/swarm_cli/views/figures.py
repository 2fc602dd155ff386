"""Figures as people read them. Pure."""

UNKNOWN = "-"


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
    """A whole number with thousands parted."""
    return UNKNOWN if amount is None else f"{amount:,.0f}"


def rate(amount: float | None) -> str:
    """So many a second: one decimal below 10."""
    if amount is None:
        return UNKNOWN
    return f"{amount:.1f}" if 0 < amount < 9.95 else f"{amount:,.0f}"


def percent(share: float | None) -> str:
    """A share of 1 as per cent."""
    return UNKNOWN if share is None else f"{share * 100:.0f}%"


def plural(number: int, noun: str) -> str:
    """1 node, 2 nodes."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
