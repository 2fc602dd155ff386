"""What a connection asks of the memory that outlives its process. On the owner thread.

The memory is someone else's code. An error of it costs what it could have saved and nothing else: the partition starts
at its committed offset, without a note.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping

from swarm_consumer._connection.contained_place import ContainedPlace
from swarm_consumer._connection.starts import CommittedOffset
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._scheduling.ledger import Key
from swarm_consumer._scheduling.remembrance import (
    Epitaph,
    Place,
    Remembered,
    Remembrance,
    Restoring,
    Suspects,
    is_token,
)
from swarm_consumer._scheduling.suspects import deaths, story, suspects_after
from swarm_consumer._scheduling.take_over import Refusal, refusal, refusal_by_end, suspects_survive, worth_telling
from swarm_consumer.events import ErrorOccurred, SuspectsFound, TakenOver, TakeOverRefused
from swarm_consumer.routing.routes import Route, SubscriptionGroup

WORD_S = 3.0
"""How long an assignment waits until it is known how an owner ended that gave a partition away with work in hand: its
other groups leave first."""
LOOK_S = 0.02
RESTORE_S = 1.0
"""How often a memory may put right what something else has written over it."""


class KeptProgress:
    """The notes of one group's partitions.

    scope: cluster and group. positions: whether positions are noted; not where transactions commit offsets.
    """

    def __init__(self, remembrance: Remembrance, scope: str, bus: Bus, *, positions: bool) -> None:
        self.remembrance = remembrance
        self.scope = scope
        self._bus = bus
        self.keeps_positions = positions
        self._untold: list[ErrorOccurred] = []
        self._restore = remembrance.restore if isinstance(remembrance, Restoring) else None
        self._restore_at = 0.0
        self._own: dict[Key, Place | None] = {}
        """The last note that this process itself opened for each partition."""

    def claim(self, key: Key) -> Place | None:
        """Open the note of a partition that was assigned; None: it goes without."""
        try:
            opened = self.remembrance.claim(self.scope, key, positions=self.keeps_positions)
            report = functools.partial(self._failed, key=key)
            place = None if opened is None else ContainedPlace(opened, report)
            self._own[key] = place
            return place
        except Exception as error:  # noqa: BLE001  see the module
            self._failed(error, key)
            return None

    def handled(self) -> int | None:
        """Return how many runs have succeeded in all processes; None if that is unknown."""
        try:
            return self.remembrance.handled(self.scope)
        except Exception as error:  # noqa: BLE001  see the module
            self._failed(error, None)
            return None

    def suspects(
        self,
        notes: Mapping[Key, Remembered],
        verdicts: Mapping[Key, Refusal | None],
        starting: Mapping[Key, int | None],
        routes: Mapping[Key, Route | None],
    ) -> dict[Key, tuple[Suspects, Epitaph]]:
        """Return what the last owners died with and how they ended, where it is not done yet; report it.

        verdicts: what `positions` decided; starting: where each partition begins.
        """
        handled = self.handled() if notes else None
        suspected: dict[Key, tuple[Suspects, Epitaph]] = {}
        for key, note in notes.items():
            route = routes[key]
            if route is None:
                continue
            suspects = suspects_after(
                note,
                starting[key],
                survives=key not in verdicts or suspects_survive(verdicts[key]),
                hangs_count=route.settings.hangs_count,
                handled=handled,
            )
            if suspects is None:
                continue
            if key not in verdicts:
                # No answer, so they may be other records: careful with them, but accused of nothing.
                suspects = Suspects(suspects.first, suspects.last)
            told = story(note, suspects)
            suspected[key] = suspects, told
            topic, partition = key
            self._bus.emit(
                SuspectsFound(
                    topic=topic,
                    partition=partition,
                    first=suspects.first,
                    last=suspects.last,
                    deaths=deaths(suspects),
                    reason=told.reason,
                )
            )
        return suspected

    def recall(self, keys: Iterable[Key]) -> dict[Key, Remembered]:
        """Return what the last owners left, before any claim of ours hides it.

        A dynamic member that hangs leaves its group moments before its process ends. Without the word of how it ended
        its records would be suspected of nothing, and the next owner would hang with them too.
        """
        wanted = list(keys)
        until = time.monotonic() + WORD_S
        notes = self.look(wanted)
        while any(self._is_unexplained(*one) for one in notes.items()) and time.monotonic() < until:
            time.sleep(LOOK_S)
            notes = self.look(wanted)
        return notes

    def _is_unexplained(self, key: Key, note: Remembered) -> bool:
        """Whether the owner had records in hand, and it may still be said how it ended. This process has not ended.

        Nor has one that said that it would continue, when its handler was too slow for the revocation.
        """
        if note.in_hand is None or note.released or note.runs_on or note.epitaph != Epitaph():
            return False
        own = self._own.get(key)
        return own is None or own.token != note.token

    def look(self, keys: Iterable[Key]) -> dict[Key, Remembered]:
        """Return the newest notes as they are, without a wait for the word of how an owner ended."""
        wanted = set(keys)
        try:
            return {key: note for key, note in self.remembrance.recall(self.scope, wanted).items() if key in wanted}
        except Exception as error:  # noqa: BLE001  see the module
            self._failed(error, None)
            return {}

    def positions(
        self,
        notes: Mapping[Key, Remembered],
        found: Mapping[Key, CommittedOffset],
        ends_of: Callable[[list[Key]], Mapping[Key, int]],
    ) -> tuple[dict[Key, tuple[int, int | None]], list[Key], dict[Key, Refusal | None]]:
        """Return where to continue, with the leader's epoch, by each note that nothing contradicts; report the rest.

        The partitions that are reported come second: their records from the committed offset on are handled again.
        Third is what was decided about each note for whose partition the broker said what is committed.
        ends_of asks the broker for the ends of partitions, once, if there is any note to believe.
        """
        now_ns = time.monotonic_ns()
        usable: dict[Key, tuple[int, int | None]] = {}
        refused: list[Key] = []
        verdicts = {
            key: refusal(note, found[key].offset, found[key].metadata, now_ns)
            for key, note in notes.items()
            if key in found
        }
        if believed := [key for key, why in verdicts.items() if why is None]:
            ends = ends_of(believed)
            verdicts |= {key: refusal_by_end(notes[key], ends.get(key)) for key in believed}
        for key, why in verdicts.items():
            note, committed = notes[key], found[key]
            topic, partition = key
            if why is None:
                assert note.position is not None
                usable[key] = note.position, note.leader_epoch
                self._bus.emit(
                    TakenOver(
                        topic=topic,
                        partition=partition,
                        position=note.position,
                        committed=committed.offset or 0,
                        node_id=note.life[0],
                        generation=note.life[1],
                    )
                )
            elif worth_telling(why, note):
                refused.append(key)
                self._bus.emit(
                    TakeOverRefused(
                        topic=topic,
                        partition=partition,
                        position=note.position,
                        committed=committed.offset,
                        node_id=note.life[0],
                        generation=note.life[1],
                        reason=why.sentence,
                    )
                )
        return usable, refused, verdicts

    def _failed(self, error: BaseException, key: Key | None) -> None:
        topic, partition = key or (None, None)
        self._untold.append(ErrorOccurred(where="kept progress", error=error, topic=topic, partition=partition))

    def see_to(self, now: float) -> None:
        """Do what is due, and report errors."""
        if self._restore is not None and now >= self._restore_at:
            self._restore_at = now + RESTORE_S
            try:
                self._restore()
            except Exception as error:  # noqa: BLE001  see the module
                self._failed(error, None)
                self._restore = None  # said once, not each second
        self.tell()

    def tell(self) -> None:
        """Report the errors. Not where they happen: the connection's lock is held there, and a listener may want it."""
        while self._untold:
            event = self._untold.pop(0)
            self._bus.emit(event)


def kept_progress(
    remembrance: Remembrance | None, group: SubscriptionGroup, bus: Bus, *, positions: bool
) -> KeptProgress | None:
    """Return the part of one subscription group; None without a memory.

    positions: False where transactions commit offsets: what became of an open one is the broker's to know.
    """
    if remembrance is None:
        return None
    servers = group.properties.get("bootstrap.servers")
    scope = f"{servers.value if servers is not None else ''}\0{group.consumer_group}"
    return KeptProgress(remembrance, scope, bus, positions=positions)


def replaceable(committed: CommittedOffset) -> bool:
    """Whether a commit of the same offset with our token would destroy nothing: no metadata of an application."""
    return committed.offset is not None and (not committed.metadata or is_token(committed.metadata))
