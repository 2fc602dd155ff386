"""Checks the target of a supervisor."""

from __future__ import annotations

import functools
from typing import Any

from swarm_supervisor._containment import name_of
from swarm_supervisor.settings import SettingsError

_UNFINISHED = {0x20: "a generator", 0x80: "an async function", 0x200: "an async generator"}  # inspect.CO_*


def check_target(target: Any) -> None:
    """`SettingsError` for anything but a plain function."""
    if not callable(target):
        raise SettingsError(f"the target must be callable, not {target!r}")
    if (kind := _unfinished(target)) is not None:
        raise SettingsError(
            f"the target {name_of(target)} is {kind}, and calling it does not run it: give a plain function that runs "
            "it, such as lambda node: asyncio.run(main(node))"
        )


def _unfinished(target: Any) -> str | None:
    while isinstance(target, functools.partial):
        target = target.func
    code = getattr(target, "__code__", None) or getattr(getattr(target, "__call__", None), "__code__", None)  # noqa: B004
    flags = getattr(code, "co_flags", 0)  # importing inspect would cost more than all the rest
    return next((kind for flag, kind in _UNFINISHED.items() if flags & flag), None)
