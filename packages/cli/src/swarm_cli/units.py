"""Amounts with a unit, as people write them: "30s", "2m", "150MB". Pure."""

from __future__ import annotations

import re

import typer

_AMOUNT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|nan)\s*([a-z]*)\s*", re.IGNORECASE | re.ASCII)
SECONDS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
MEGABYTES = {"k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0**2}
"""1 MB is 2^20 bytes, as everywhere here; "B" or "iB" may follow."""


def seconds(text: str) -> float:
    """Seconds, from a plain number or one with ms, s, m, h or d. Raises BadParameter with the valid forms."""
    number, unit = _parts(text, "seconds as a number, or with a unit, like 30, 30s, 500ms or 2m")
    factor = SECONDS.get(unit or "s")
    if factor is None:
        raise typer.BadParameter(f"{text!r} has no unit of time: give ms, s, m, h or d, like 30s.")
    return number * factor


def megabytes(text: str) -> float:
    """MB of 2^20 bytes, from a plain number or one with kB, MB, GB or TB. Raises BadParameter with the valid forms."""
    number, unit = _parts(text, "megabytes as a number, or with a unit, like 150, 150MB or 1.5GB")
    factor = MEGABYTES.get(re.sub(r"i?b$", "", unit) if unit else "m")
    if factor is None:
        raise typer.BadParameter(f"{text!r} has no unit of memory: give kB, MB, GB or TB, like 150MB.")
    return number * factor


def number(text: str) -> float:
    """A plain number. Raises BadParameter."""
    value, unit = _parts(text, "a number, like 0.8")
    if unit:
        raise typer.BadParameter(f"{text!r} is not a number: give a plain number, like 0.8.")
    return value


def _parts(text: str, wanted: str) -> tuple[float, str]:
    found = _AMOUNT.fullmatch(str(text))
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a valid amount: give {wanted}.")
    return float(found[1]), found[2].lower()
