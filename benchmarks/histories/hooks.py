"""The hooks of random handlers, and the consumer classes that have some of them."""

import contextlib
from collections.abc import Iterator
from typing import Any

from benchmarks.histories.handlers import Boom, Scripted


def _initialized(self: Any) -> None:
    self.world.journal.note("hook initialized", self.place)
    if self.world.chance("initialized_raises", 0.4):
        raise Boom("initialized")


@contextlib.contextmanager
def _wrap(self: Any, action: str) -> Iterator[None]:
    raises = self.world.chance("raise", 0.03)
    if not raises or self.world.has("letters"):  # what consume() has not seen is no dead letter
        yield
    if raises:
        self.world.journal.note("wrap raises", action)
        raise Boom("wrap")


HOOKS: dict[str, Any] = {
    "initialized": _initialized,
    "wrap": _wrap,
    **{name: (lambda self, name=name: self._in_hook(name)) for name in ("tick", "eofed", "revoked", "shutdown")},
}
_classes: dict[frozenset[str], type[Scripted]] = {}


def handler(hooks: frozenset[str]) -> type[Scripted]:
    """Return the consumer class with these hooks."""
    if hooks not in _classes:
        _classes[hooks] = type("Handler", (Scripted,), {name: HOOKS[name] for name in sorted(hooks)})
    return _classes[hooks]
