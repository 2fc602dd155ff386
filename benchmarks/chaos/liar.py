"""A memory that lies: what a node recalls is often an old claim, another incarnation or made up. For the application.

It never says what no check could find out: a position beyond the real one under the very token of the last commit,
because only a memory that the node itself has written can say that. And it never counts deaths that were none: a
record is given up for that alone.
"""

import dataclasses
import random
import secrets
import time
from collections.abc import Iterable
from typing import Any

from swarm_consumer.progress import InHand, ProgressMemory, Remembered, Remembrance, Suspects

Key = tuple[str, int]
FAR = 10**6


class Liar:
    """Passes everything on to a memory, and lies about most of what is recalled."""

    def __init__(self, honest: Remembrance, draw: random.Random) -> None:
        self._honest, self._draw = honest, draw
        self._former: dict[tuple[str, Key], list[Remembered]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    def recall(self, scope: str, keys: Iterable[Key]) -> dict[Key, Remembered]:
        """Return lies, now and then the truth; also about partitions that have no note."""
        wanted = list(keys)
        truth = self._honest.recall(scope, wanted)
        told = {}
        for key in wanted:
            before = self._former.setdefault((scope, key), [])
            note = truth.get(key)
            lie = self.lie(note, before)
            if note is not None:
                before.append(note)
            if lie is not None:
                told[key] = lie
        return told

    def lie(self, note: Remembered | None, before: list[Remembered]) -> Remembered | None:
        """Return what is said instead of a note."""
        draw = self._draw
        match draw.randrange(6):
            case 0:
                return note
            case 1:
                return None
            case 2 if before:
                return draw.choice(before)
            case 3 if note is not None:  # of another incarnation: its offsets mean other records
                return dataclasses.replace(
                    note, token=self._token(), position=draw.randrange(FAR), committed=draw.choice([None, FAR, 0])
                )
            case 4 if note is not None:  # the real claim, with everything wrong that a check can see
                return dataclasses.replace(
                    note,
                    position=None if note.position is None else draw.randrange(note.position + 1),
                    committed=draw.choice([None, FAR, note.committed]),
                    written_ns=draw.choice([0, note.written_ns, time.monotonic_ns() + 10**12]),
                    released=draw.random() < 0.3,
                    complete=draw.random() < 0.7,
                    in_hand=self._in_hand(),
                    suspects=self._suspects(),
                )
            case _:
                return self._made_up(note)

    def _made_up(self, note: Remembered | None) -> Remembered | None:
        if note is None:
            return None
        draw = self._draw
        return dataclasses.replace(
            note,
            life=(draw.randrange(8), draw.randrange(100)),
            token=self._token(),
            position=draw.choice([None, 0, draw.randrange(FAR)]),
            leader_epoch=draw.choice([None, 0, 7]),
            committed=draw.choice([None, 0, draw.randrange(FAR)]),
            written_ns=time.monotonic_ns() - draw.randrange(10**12),
            released=draw.random() < 0.2,
            complete=draw.random() < 0.9,
            in_hand=self._in_hand(),
            suspects=self._suspects(),
            letters=draw.randrange(3),
        )

    def _token(self) -> str:
        return f"swarm:{self._draw.randrange(2**63):x}.{secrets.randbits(64):x}"

    def _in_hand(self) -> InHand | None:
        if self._draw.random() < 0.5:
            return None
        first = self._draw.randrange(5000)
        return InHand(first, first + self._draw.randrange(200), 1, self._draw.random() < 0.5)

    def _suspects(self) -> Suspects | None:
        if self._draw.random() < 0.5:
            return None
        first = self._draw.randrange(5000)
        return Suspects(first, first + self._draw.randrange(50), in_company=self._draw.random() < 0.5)


def install(seed: int) -> None:
    """Let every life of every memory made in this process and its children lie."""
    honest = ProgressMemory.of_life

    def of_life(memory: ProgressMemory, node_id: int, generation: int) -> Remembrance:
        draw = random.Random(f"{seed} {node_id} {generation}")
        return Liar(honest(memory, node_id, generation), draw)

    ProgressMemory.of_life = of_life  # type: ignore[method-assign,assignment]
