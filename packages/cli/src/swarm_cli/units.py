"""Amounts with a unit, as people write them: "30s", "2m", "150MB". Pure."""

import re

import typer

_AMOUNT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|nan)\s*([a-z]*)\s*", re.IGNORECASE | re.ASCII)
SECONDS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
MEGABYTES = {"k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0**2}
"""Of 2^20 bytes, like every MB here; with or without "B" or "iB" behind."""


def seconds(text: str) -> float:
    """Seconds, of a number alone or with ms, s, m, h or d. Raises BadParameter with what may be given."""
    number, unit = _parts(text, "seconds as a number, or with a unit, like 30, 30s, 500ms or 2m")
    factor = SECONDS.get(unit or "s")
    if factor is None:
        raise typer.BadParameter(f"{text!r} has no unit of time: give ms, s, m, h or d, like 30s.")
    return number * factor


def megabytes(text: str) -> float:
    """MB of 2^20 bytes, of a number alone or with kB, MB, GB or TB. Raises BadParameter with what may be given."""
    number, unit = _parts(text, "megabytes as a number, or with a unit, like 150, 150MB or 1.5GB")
    factor = MEGABYTES.get(re.sub(r"i?b$", "", unit) if unit else "m")
    if factor is None:
        raise typer.BadParameter(f"{text!r} has no unit of memory: give kB, MB, GB or TB, like 150MB.")
    return number * factor


def number(text: str) -> float:
    """A number alone. Raises BadParameter."""
    value, unit = _parts(text, "a number, like 0.8")
    if unit:
        raise typer.BadParameter(f"{text!r} is no number: give one alone, like 0.8.")
    return value


def _parts(text: str, wanted: str) -> tuple[float, str]:
    found = _AMOUNT.fullmatch(str(text))
    if found is None:
        raise typer.BadParameter(f"{text!r} is no amount: give {wanted}.")
    return float(found[1]), found[2].lower()
