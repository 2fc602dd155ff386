"""What is suspected of a partition at work, and what its note says of it for the next owner. Pure.

`suspects.py` has the decisions. The caller holds the lock of the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from swarm_consumer._scheduling.suspects import Judgement, Sentence, judge, witnessed

if TYPE_CHECKING:
    from swarm_consumer._scheduling.lane import Lane
    from swarm_consumer._scheduling.partition import Partition
    from swarm_consumer._scheduling.remembrance import Epitaph, Suspects
    from swarm_consumer._scheduling.run import Run

HANG_S = 600.0
"""Suspects with a longer consuming_ttl have others beside them before that ends."""
STOP_S = 15.0
"""How long after a consuming_ttl the order to stop may come."""


def accuse(partition: Partition, suspects: Suspects, story: Epitaph) -> None:
    """Note, before anything of an assigned partition runs, what a process died with, and how it ended."""
    for lane in partition.lanes:
        lane.backlog.suspects, lane.backlog.story = suspects, story
        changed(lane)


def forget(partition: Partition) -> None:
    """Note that the offsets of a partition mean other records now."""
    for lane in partition.lanes:
        if lane.backlog.suspects is not None:
            lane.backlog.suspects = None
            changed(lane)


def changed(lane: Lane) -> None:
    """Write into the note what is suspected now."""
    if lane.partition.place is not None:
        lane.partition.place.suspect(lane.backlog.suspects)


def continue_letters(partition: Partition, in_a_row: int) -> None:
    """Continue the last owner's count of dead letters in a row."""
    for lane in partition.lanes:
        lane.dead_letter_count.consecutive = in_a_row
    if partition.place is not None:
        partition.place.letters(in_a_row)


def given(run: Run) -> None:
    """Note what a handler is about to be given. Its constructor and initialized() are through by then."""
    place = run.lane.partition.place
    if place is None or run.judgement is not None or run.first_offset is None or run.last_offset is None:
        return
    place.begin(run.first_offset, run.last_offset, run.attempt, alone=run.by_itself)
    run.noted = True


def in_company(lane: Lane) -> None:
    """Note that the present run of a lane is no longer the only one of its process."""
    run = lane.running
    if run is not None and run.by_itself:
        run.by_itself = False
        if run.noted:
            given(run)


def alone_s(run: Run, least_s: float) -> float:
    """How long a suspect may keep others out: `least_s`, or long enough to be found stuck where hangs count."""
    if run.lane.route.settings.hangs_count and run.ttl_s is not None and run.ttl_s <= HANG_S:
        return max(least_s, run.ttl_s + STOP_S)
    return least_s


def blame_nothing(runs: Iterable[Run]) -> None:
    """Note that none of these is in hand: the process ends for a reason of its own.

    But for a run whose handler raised what ends the process.
    """
    for run in runs:
        place = run.lane.partition.place
        if place is not None and run.noted and not run.deadly:
            place.end(handled=False)
            place.settle()


def is_to_be_alone(lane: Lane, handled: Callable[[], int | None]) -> bool:
    """Whether the next run of a lane hands a suspect out: not one before the suspects, nor one that is given up."""
    suspects, offset = lane.backlog.suspects, lane.backlog.next_offset
    if suspects is None or offset is None or not suspects.first <= offset <= suspects.last:
        return False
    if offset != suspects.culprit:
        return True
    return _judged(lane, suspects, offset, handled()).sentence is not Sentence.GIVE_UP


def _judged(lane: Lane, suspects: Suspects, offset: int, handled: int | None) -> Judgement:
    """Return what to do with the suspect at `offset`, within the limits of dead letters."""
    count, letters = lane.dead_letter_count, lane.route.settings.dead_letters
    found = judge(
        suspects,
        offset,
        most_deaths=lane.route.settings.most_deaths,
        handled=handled,
        in_a_row=count.consecutive,
        most_in_a_row=letters.max_consecutive if letters is not None else None,
    )
    if found.sentence is Sentence.GIVE_UP and letters is not None and (why := count.refusal(letters)):
        return Judgement(Sentence.WAIT, why)
    return found


def judgement(run: Run, handled: Callable[[], int | None]) -> Judgement | None:
    """Return why a suspect is not handed out. None if it is: then its note says whether others were handled before."""
    lane, suspects = run.lane, run.suspects
    if suspects is None or suspects.evidence is None or run.first_offset is None:
        return None
    number = handled()
    found = _judged(lane, suspects, run.first_offset, number)
    # A culprit that has waited is tried again: what hit everything may be over.
    if found.sentence is Sentence.GIVE_UP or (found.sentence is Sentence.WAIT and not lane.backlog.parkings):
        return found
    if (seen := witnessed(suspects, number)) != suspects.witnessed:
        run.suspects = lane.backlog.suspects = replace(suspects, witnessed=seen)
        changed(lane)
    return None
