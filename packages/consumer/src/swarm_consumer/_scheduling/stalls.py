"""Partitions that bring nothing although the broker has more: what to do about them. Pure.

    seen                                                    what follows
    nothing came since the last look, the broker has more   remembered
    the same at the next look                               SEEK: the fetch is begun anew where it stands
    the same at the one after                               REMAKE: the client is made anew
    the same again                                          REPORT: the node says so, to be replaced
    the fetch position has moved, or nothing more is there  forgotten

Looks are half a minute apart. A partition is judged by where the client fetches, not by what came: behind the last
record there may be offsets without any (markers of transactions), which the fetch position passes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from swarm_consumer._scheduling.progress import Key

GONE_LOOKS = 4
"""A partition that was not there for so many looks in a row is forgotten: it is another node's."""


class Remedy(Enum):
    """What is done about a stalled partition, one after the other."""

    SEEK = "it is sought anew"
    REMAKE = "its client is made anew"
    REPORT = "the node asks to be replaced"


_LADDER = (Remedy.SEEK, Remedy.REMAKE, Remedy.REPORT)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a silent partition saw: where the client fetches (None: nowhere yet) and the broker's end."""

    fetched: int | None
    end: int


@dataclass(frozen=True, slots=True)
class Stall:
    """A partition that has stalled, and the remedy whose turn it is."""

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
    """What successive looks at the silent partitions of one group saw."""

    def __init__(self) -> None:
        self._suspects: dict[Key, _Suspect] = {}

    def judge(
        self, silent: Mapping[Key, Look], stayed: Collection[Key], now: float, *, had_room: bool = True
    ) -> list[Stall]:
        """Take one look; return the partitions for which something is to be done.

        silent: partitions that could bring something, brought nothing, and whose end the broker named. stayed: all that
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
    """Whether the fetch has come further. A client that was made anew may begin before where the last one stood."""
    return fetched is not None and before is not None and fetched > before
