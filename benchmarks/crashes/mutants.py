"""Faults put in on purpose: a rule of the decision taken away, a fault of what writes the notes, a memory that lies."""

from __future__ import annotations

import ast
import contextlib
import inspect
import random
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

from swarm_consumer._scheduling import take_over
from swarm_consumer._scheduling.ledger import Key, Ledger
from swarm_consumer._scheduling.remembrance import CLAIM_PREFIX, Member, Place, Remembered, Remembrance
from swarm_consumer._scheduling.take_over import Refusal


class _Without(ast.NodeTransformer):
    def __init__(self, rules: Collection[str]) -> None:
        self._rules = rules
        self.taken: set[str] = set()

    def visit_If(self, node: ast.If) -> ast.AST | None:
        named = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)} & set(self._rules)
        self.taken |= named
        return None if named else node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        named = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)} & set(self._rules)
        self.taken |= named
        return ast.Return(ast.Constant(None)) if named else node


def without(*rules: Refusal, of: Callable[..., Any] = take_over.refusal) -> Any:
    """The real decision, with the `if` of each of these rules taken out of its source."""
    tree = ast.parse(inspect.getsource(of))
    names = {rule.name for rule in rules}
    taking = _Without(names)
    tree = ast.fix_missing_locations(taking.visit(tree))
    if taking.taken != names:
        raise LookupError(f"no rule in the decision for {names - taking.taken}")
    scope: dict[str, Any] = dict(vars(take_over))
    exec(compile(tree, "take_over without a rule", "exec"), scope)
    return scope[of.__name__]


def _twice_as_far(original: Callable[..., Any]) -> Callable[..., Any]:
    def move(self: Ledger, key: Any, entry: Any, reached: tuple[int, int | None]) -> None:
        original(self, key, entry, reached)
        if entry.place is not None:
            entry.place.move(reached[0] + 1, reached[1])

    return move


def _not_renewed(original: Callable[..., Any]) -> Callable[..., Any]:
    def restart(self: Ledger, key: Key, *where: Any) -> int:
        place = self._entries[key].place
        self._entries[key].place = None
        epoch: int = original(self, key, *where)
        self._entries[key].place = place
        return epoch

    return restart


def _as_delivered(original: Callable[..., Any]) -> Callable[..., Any]:
    def deliver(self: Ledger, key: Any, epoch: int, first: int, next_offset: int, runs: Any = None) -> Any:
        taken = original(self, key, epoch, first, next_offset, runs)
        entry = self._entries.get(key)
        if taken and entry is not None and entry.place is not None:
            entry.place.move(next_offset, None)
        return taken

    return deliver


def _never_moved(original: Callable[..., Any]) -> Callable[..., Any]:
    def move(self: Ledger, key: Any, entry: Any, reached: Any) -> None:
        place, entry.place = entry.place, None
        original(self, key, entry, reached)
        entry.place = place

    return move


WRITERS: dict[str, tuple[str, Callable[[Callable[..., Any]], Callable[..., Any]]]] = {
    "one offset too many is noted": ("_move", _twice_as_far),
    "what is handed out is noted as done": ("deliver", _as_delivered),
    "a seek keeps the claim": ("restart", _not_renewed),
    "no position is noted": ("_move", _never_moved),
    "no commit is noted": ("taken", lambda _: lambda *_: None),
}
"""Faults of the ledger, as it writes notes."""


@contextlib.contextmanager
def writing(fault: str) -> Iterator[None]:
    """While this lasts, the ledger has this fault."""
    name, mutant = WRITERS[fault]
    original = getattr(Ledger, name)
    setattr(Ledger, name, mutant(original))
    try:
        yield
    finally:
        setattr(Ledger, name, original)


class _Deceptive:
    """A `Remembrance` that is false in what it recalls alone."""

    def __init__(self, memory: Remembrance) -> None:
        self._memory = memory

    def claim(self, scope: str, key: Key, *, positions: bool = True) -> Place | None:
        """The true one."""
        return self._memory.claim(scope, key, positions=positions)

    def handled(self, scope: str) -> int | None:
        """The true number."""
        return self._memory.handled(scope)

    def joined(self, member: Member) -> None:
        """Nothing to lie about."""

    def departed(self) -> list[Member]:
        """No one."""
        return []


class Forgetful(_Deceptive):
    """A memory that never recalls anything."""

    def recall(self, scope: str, keys: Iterable[Key]) -> dict[Key, Remembered]:
        """Nothing."""
        return {}


_everything: dict[random.Random, list[Remembered]] = {}


def _seen_by(rng: random.Random) -> list[Remembered]:
    """What all memories of one history have recalled."""
    if rng not in _everything:
        _everything.clear()
        _everything[rng] = []
    return _everything[rng]


class Liar(_Deceptive):
    """A memory that recalls anything it has ever seen, and what it has not.

    Beside the token of a claim it never says a position that the claim has not had, unless it `makes_up`, nor another
    leader's epoch. Whether the two belong together only the memory itself can say, which has a checksum for that.
    """

    def __init__(self, memory: Remembrance, rng: random.Random, *, makes_up: bool) -> None:
        super().__init__(memory)
        self._rng, self._makes_up = rng, makes_up
        self._seen = _seen_by(rng)

    def claim(self, scope: str, key: Key, *, positions: bool = True) -> Place | None:
        """The true one, and everything is kept that was true before it."""
        self._seen += self._memory.recall(scope, [key]).values()
        return self._memory.claim(scope, key, positions=positions)

    def recall(self, scope: str, keys: Iterable[Key]) -> dict[Key, Remembered]:
        """Something else."""
        pick, keys = self._rng.random, list(keys)
        self._seen += self._memory.recall(scope, keys).values()
        if not self._seen:
            return {}
        note = self._seen[int(pick() * len(self._seen))]
        if pick() < 0.3:  # a claim that never was
            note = replace(note, token=f"{CLAIM_PREFIX}{int(pick() * 10**6)}", position=int(pick() * 60))
        if pick() < 0.3:
            note = replace(note, released=False, complete=True)
        if pick() < 0.3:
            note = replace(note, committed=(None, 0, int(pick() * 60))[int(pick() * 3)])
        if pick() < 0.3:
            note = replace(note, written_ns=int(pick() * 2 * note.written_ns))
        if pick() < 0.2 and note.position is not None:
            note = replace(note, position=int(pick() * note.position))
        if self._makes_up and note.position is not None:
            note = replace(note, position=note.position + int(pick() * 9))
        return dict.fromkeys(keys, note)
