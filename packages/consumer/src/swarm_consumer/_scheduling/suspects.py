"""Suspects: records that a process died with. Which of them is to blame, and what becomes of it. Pure.

    end of the process    what it had in hand becomes
    UNKNOWN, IN_ORDER     nothing
    SUSPECT               suspects: they are handed out one at a time, with nothing beside them
    COUNTS                suspects, and the death counts
    HUNG                  as COUNTS where hangs count, otherwise as SUSPECT

A death in company (several records were in hand, or other work ran in the process) counts once for all of a range. A
death with one record, alone in its process, counts for that record: the *culprit*. A record that survives its turn is
cleared. So a range of innocent records costs one pass in single file, and no death.

A culprit with enough deaths is given up: it gets a dead letter, or its partition is parked. But a fault of everything
must never empty a topic. So none is given up unless other records were handled after the first of its deaths and before
the attempt that was the last: then it did what others did not. And never too many in a row. Otherwise the culprit
waits, while others are handled if they can be, and then it is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from swarm_consumer._scheduling.remembrance import Epitaph, InHand, Remembered, Suspects, Verdict

NEAR = 1000
"""Suspects are one range. Those further away than this, after a seek, are no longer suspected."""
LETTERS_IN_A_ROW = 10
"""At most this many dead letters of a partition in a row because of deaths, where `max_consecutive` does not say."""


def suspects_after(
    note: Remembered,
    start: int | None,
    *,
    survives: bool,
    hangs_count: bool,
    handled: int | None,
) -> Suspects | None:
    """Return what is suspected of a partition that was assigned, after the newest note about it.

    start: where the partition begins; None if that is unknown. survives: the note is about the present records of the
    topic. hangs_count: a hang counts as a death. handled: what `Remembrance.handled` says now.

    Deaths of an earlier supervisor's processes (their life has no name here) do not count: its code may have been
    another. Their suspects stay.
    """
    if not survives:
        return None
    found = note.suspects
    if found is not None and found.life is None:
        found = Suspects(found.first, found.last)
    verdict = note.epitaph.verdict
    if note.in_hand is not None and not note.released and verdict >= Verdict.SUSPECT:
        counts = verdict is Verdict.COUNTS or (verdict is Verdict.HUNG and hangs_count)
        found = _blamed(found, note.in_hand, note.life if counts else None, handled)
    return found if found is None or start is None else past(found, start)


def _blamed(known: Suspects | None, in_hand: InHand, life: tuple[int, int] | None, handled: int | None) -> Suspects:
    """Add what a process had in hand when it died; life: of the process, if its death counts."""
    first, last = in_hand.first, in_hand.last
    hull = Suspects(first, last)
    if known is not None and max(first, known.first) - min(last, known.last) > NEAR:
        known = None  # all between would go in single file, too; one of the far ones shows at its next death
    if known is not None:
        hull = replace(known, first=min(known.first, first), last=max(known.last, last))
    if life is None:
        return hull
    if not in_hand.alone or first != last:
        # The company of this death may have been wider than that of an earlier one: it is the same single count.
        evidence = handled if hull.evidence is None else hull.evidence
        return replace(hull, in_company=True, evidence=evidence, life=life)
    shared = known is not None and known.in_company and known.first <= first <= known.last
    again = known is not None and known.culprit == first
    return replace(
        hull,
        in_company=shared,
        culprit=first,
        deaths_alone=1 + (known.deaths_alone if again and known is not None else 0),
        evidence=hull.evidence if (shared or again) and hull.evidence is not None else handled,
        witnessed=hull.witnessed and (shared or again),
        life=life,
    )


def past(suspects: Suspects, offset: int) -> Suspects | None:
    """Return what is still suspected when everything before `offset` is done; None if nothing is."""
    if offset <= suspects.first:
        return suspects
    if offset > suspects.last:
        return None
    if suspects.culprit is None or suspects.culprit >= offset:
        return replace(suspects, first=offset)
    return replace(
        suspects,
        first=offset,
        culprit=None,
        deaths_alone=0,
        evidence=suspects.evidence if suspects.in_company else None,
        witnessed=suspects.witnessed and suspects.in_company,
    )


def story(note: Remembered, suspects: Suspects) -> Epitaph:
    """Return how the process ended whose death is why there are suspects."""
    return note.story if suspects.life not in (None, note.life) else note.epitaph


def deaths(suspects: Suspects) -> int:
    """How many deaths count for the culprit, or for each of the range if there is none yet."""
    return suspects.deaths_alone + suspects.in_company


class Sentence(Enum):
    """What to do with a suspect that is next."""

    TRY = auto()
    """Hand it out, alone."""
    GIVE_UP = auto()
    """It has killed often enough while others could be handled: a dead letter, or its partition is parked."""
    WAIT = auto()
    """It may be a fault of everything: let others go first, then try it again."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A sentence and the reason for it."""

    sentence: Sentence
    reason: str = ""


TRIED = Judgement(Sentence.TRY)


def witnessed(suspects: Suspects, handled: int | None) -> bool:
    """Whether other records were handled since the first death that counts; handled: as `Remembrance` says it now."""
    return handled is not None and suspects.evidence is not None and handled > suspects.evidence


def judge(
    suspects: Suspects, offset: int, *, most_deaths: int, handled: int | None, in_a_row: int, most_in_a_row: int | None
) -> Judgement:
    """Return what to do with the suspect at `offset`.

    handled: what `Remembrance.handled` says now. in_a_row: the dead letters of the partition in a row, of which
    `most_in_a_row` are allowed; None: no limit is set.
    """
    if offset != suspects.culprit or deaths(suspects) < most_deaths - 1:
        return TRIED
    if deaths(suspects) < most_deaths or not suspects.witnessed:
        if witnessed(suspects, handled):
            return TRIED
        return Judgement(Sentence.WAIT, "no other message was handled since its first death: others go first")
    limit = LETTERS_IN_A_ROW if most_in_a_row is None else most_in_a_row
    if in_a_row >= limit:
        return Judgement(Sentence.WAIT, f"{in_a_row} dead letters in a row are the limit: everything may be at fault")
    return Judgement(Sentence.GIVE_UP)
