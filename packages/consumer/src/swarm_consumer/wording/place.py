"""Where the user's code declared something, as file and line for error messages."""

from __future__ import annotations

import os
import re
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_INSIDE = ("swarm_consumer", "confluent_kafka", "contextlib", "functools")
"""Packages whose frames are skipped: the caller is outside of them."""


@dataclass(frozen=True)
class Place:
    """A line of code; ``str()`` is ``file:line``, relative to the working directory if it is below it."""

    file: str
    line: int
    names: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The local names there, to resolve annotations that are strings."""

    def __str__(self) -> str:
        return f"{shown(self.file)}:{self.line}"


def shown(file: str) -> str:
    """Return the file's name as a user would type it: relative if it is below the working directory."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or the working directory is gone
        return file


def caller() -> Place:
    """Return the line of the nearest caller outside of this package and the client library."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_back is not None and _is_inside(frame):
        frame = frame.f_back
    if frame is None:
        return Place("<unknown>", 0)
    local = {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)
    return Place(os.path.abspath(frame.f_code.co_filename), frame.f_lineno, local)


def _is_inside(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    return any(name == package or name.startswith(f"{package}.") for package in _INSIDE)


def place_of(function: Any) -> str:
    """Return ``file:line`` of a function or class, or its name where it has no source (built-in, compiled)."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return str(getattr(function, "__qualname__", type(function).__qualname__))
    return f"{shown(code.co_filename)}:{code.co_firstlineno}"


def place_in(error: BaseException) -> str:
    """Return ``, at file:line`` of the innermost user line in an error's traceback, or an empty string."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_library(frame.filename)]
    return f", at {shown(own[-1].filename)}:{own[-1].lineno}" if own else ""


def _is_library(file: str) -> bool:
    return file.startswith(("<", _STANDARD_LIBRARY)) or _LIBRARIES.search(file) is not None


_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
_LIBRARIES = re.compile(
    r"[\\/](site-packages|dist-packages|swarm_(consumer|cli|supervisor|liveness|health|pidfd))[\\/]"
)
