"""A traceback without our own frames: an on-call engineer needs the application's part."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

_OWN_FOLDER = f"{Path(__file__).resolve().parent.parent}/"


def folded(error: BaseException) -> str:
    """Return the traceback as text, with causes. Frames of swarm_consumer are left out and counted.

    An error without other frames keeps them all, because it is our bug.
    """
    made = traceback.TracebackException.from_exception(error, compact=True)
    chain = list(_chain(made))
    left_out = 0
    if any(not _ours(frame) for one in chain for frame in one.stack):
        for one in chain:
            left_out += sum(map(_ours, one.stack))
            one.stack[:] = [frame for frame in one.stack if not _ours(frame)]
    text = "".join(made.format()).rstrip("\n")
    return text + (f"\n({left_out} frames of swarm_consumer left out)" if left_out else "")


def is_ours(filename: str) -> bool:
    """Whether a source file is one of this package."""
    return filename.startswith(_OWN_FOLDER)


def _ours(frame: traceback.FrameSummary) -> bool:
    return is_ours(frame.filename)


def _chain(made: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """Yield an error, its causes, and those of a group's members, each once."""
    waiting, seen = [made], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [other for other in (one.__cause__, one.__context__, *(one.exceptions or ())) if other is not None]
