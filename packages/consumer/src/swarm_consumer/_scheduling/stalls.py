"""Stalled partitions, which deliver nothing although the broker has more: what to do about them. Pure.

    seen                                                    what follows
    nothing came since the last look, the broker has more   noted
    the same at the next look                               SEEK: the fetch is restarted at its position
    the same at the one after                               REMAKE: the client is recreated
    the same again                                          REPORT: the node reports it, to be replaced
    the fetch position has moved, or there is nothing more  forgotten

Looks are half a minute apart. A partition is judged by the client's fetch position, not by its records: after the last
record there may be offsets without any (markers of transactions), which the fetch position passes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from swarm_consumer._scheduling.ledger import Key

GONE_LOOKS = 4
"""A partition that was missing for this many looks in a row is forgotten: another node has it."""


class Remedy(Enum):
    """The remedies for a stalled partition, in order."""

    SEEK = "the partition is fetched again"
    REMAKE = "its client is recreated"
    REPORT = "the node asks to be replaced"


_LADDER = (Remedy.SEEK, Remedy.REMAKE, Remedy.REPORT)


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a silent partition: the client's fetch position (None: none yet) and the broker's end."""

    fetched: int | None
    end: int


@dataclass(frozen=True, slots=True)
class Stall:
    """A stalled partition and its next remedy."""

    key: Key
    offset: int | None
    end: int
    since: float
    remedy: Remedy


@dataclass(slots=True)
class _Suspect:
    fetched: int | None
    since: float
    looks: int = 0
    absent: int = 0


class StallWatch:
    """The history of looks at the silent partitions of one group."""

    def __init__(self) -> None:
        self._suspects: dict[Key, _Suspect] = {}

    def judge(
        self, silent: Mapping[Key, Look], stayed: Collection[Key], now: float, *, had_room: bool = True
    ) -> list[Stall]:
        """Take one look; return the partitions that need a remedy.

        silent: partitions that could deliver something but did not, with a known end. stayed: all that
        have been assigned since the last look. had_room: the client's queue was empty for a while since then; if it
        never was, the client had reason not to fetch.
        """
        for key, suspect in list(self._suspects.items()):
            suspect.absent = 0 if key in stayed else suspect.absent + 1
            if suspect.absent >= GONE_LOOKS or (key in stayed and key not in silent):
                del self._suspects[key]
        stalls = []
        for key, look in silent.items():
            known = self._suspects.get(key)
            if look.fetched is not None and look.fetched >= look.end:
                self._suspects.pop(key, None)
            elif known is None or _moved(known.fetched, look.fetched):
                self._suspects[key] = _Suspect(look.fetched, now)
            elif had_room:
                remedy = _LADDER[min(known.looks, len(_LADDER) - 1)]
                known.looks += 1
                stalls.append(Stall(key, known.fetched, look.end, known.since, remedy))
        return stalls


def _moved(before: int | None, fetched: int | None) -> bool:
    """Whether the fetch has advanced. A recreated client may start before the position of the last one."""
    return fetched is not None and before is not None and fetched > before
