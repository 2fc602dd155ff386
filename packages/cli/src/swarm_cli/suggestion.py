"""The suggestion for a mistyped name."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def did_you_mean(
    name: str, known: Iterable[str], otherwise: str, show: Callable[[str], str] = str, cutoff: float = 0.6
) -> str:
    """Return ``did you mean X?`` for the known name nearest to a mistyped one, or `otherwise` if none is near.

    `show` is how the name is written in the question.
    """
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {show(near[0])}?" if near else otherwise
