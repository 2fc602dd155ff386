"""Whether a new owner may continue from the position that the last one noted, not from the committed offset. Pure.

A note is believed only where nothing contradicts it, because a wrong position passes records that no handler was given,
and a refusal only repeats some. `Refusal` has every reason, in the order in which they are checked: first those that
contradict the note as a whole, then those under which nothing is repeated that was noted as done, then the others.

Three rules are not decisions, so they are kept elsewhere: the newest claim hides older notes (`Remembrance.recall`), a
note belongs to one cluster and group (its scope), and positions are not noted where transactions commit the offsets, or
where a position has metadata of the application (it is None then).
"""

from __future__ import annotations

from enum import Enum

from swarm_consumer._scheduling.remembrance import Remembered, is_token

FRESH_NS = 600 * 10**9
"""An older note is not believed: ten minutes are longer than any restart."""


class Refusal(Enum):
    """Why a noted position is not used: the sentence, whether it is told, whether the records may be the same.

    told: records that were noted as done are handled again, so an event says why. The others are the normal case.
    same_records: False if the offsets of the note may mean other records now. Then what is suspected is dropped too.
    """

    #              sentence, told, same_records
    OTHER_BOOT = "the note is from the future: the machine was started again since", True, False
    COMMIT_GONE = "the commits that the last owner has seen are gone: the topic or the group may be new", True, False
    WENT_BACK = (
        "the committed offset went back since the last owner saw it: a reset, or a new topic",
        True,
        False,
    )
    RELEASED = "the last owner gave the partition up gracefully", False, True
    NO_POSITION = (
        "the last owner noted no position, or none that another owner may rely on",
        False,
        True,
    )
    AS_FAR = "the committed offset is as far", False, True
    INCOMPLETE = "a newer note may be missing, because the memory for notes was full or damaged", True, True
    NO_COMMIT_SEEN = "the last owner has seen no commit of its own: the note may be of an earlier topic", True, True
    APPLICATION_METADATA = "the committed offset has metadata of an application: it may be of another owner", True, True
    OTHER_COMMIT = "someone else has committed since: another process, or a reset of the offset", True, True
    TOO_OLD = "the note is older than ten minutes", True, True
    BEYOND_END = "the partition ends before the noted position: it was cut since", True, False
    END_UNKNOWN = "the broker did not say where the partition ends: it may have been cut since", True, True

    def __init__(self, sentence: str, told: bool, same_records: bool) -> None:
        self.sentence = sentence
        self.told = told
        self.same_records = same_records


def refusal(note: Remembered, committed: int | None, metadata: str | None, now_ns: int) -> Refusal | None:
    """Return why a partition must not start at `note.position`; None if it may.

    committed, metadata: what the broker answers now, after the partition was assigned; None if nothing is committed.
    now_ns: monotonic nanoseconds.
    """
    if note.written_ns > now_ns:
        return Refusal.OTHER_BOOT
    if note.committed is not None and committed is None:
        return Refusal.COMMIT_GONE
    if note.committed is not None and committed is not None and committed < note.committed:
        return Refusal.WENT_BACK
    if note.released:
        return Refusal.RELEASED
    if note.position is None:
        return Refusal.NO_POSITION
    if committed is not None and committed >= note.position:
        return Refusal.AS_FAR
    if not note.complete:
        return Refusal.INCOMPLETE
    if note.committed is None:
        return Refusal.NO_COMMIT_SEEN
    if metadata != note.token:
        return Refusal.APPLICATION_METADATA if metadata and not is_token(metadata) else Refusal.OTHER_COMMIT
    if now_ns - note.written_ns > FRESH_NS:
        return Refusal.TOO_OLD
    return None


def refusal_by_end(note: Remembered, end: int | None) -> Refusal | None:
    """Return why a position that is believed otherwise must not be used, as the log has this end; None if it may.

    A log loses its end in an unclean election. Beyond the end a client starts where its policy says, and "latest" would
    pass what has come since. The leader's epoch shows a cut from which the log has grown again.
    """
    if end is None:
        return Refusal.END_UNKNOWN
    return Refusal.BEYOND_END if note.position is not None and note.position > end else None


def worth_telling(why: Refusal, note: Remembered) -> bool:
    """Whether an event should say that a note was refused: something noted as done is handled again."""
    return why.told and note.position is not None


def suspects_survive(why: Refusal | None) -> bool:
    """Whether the suspects and the records in hand of a note still mean the same records.

    Those before the start of the new owner are done and dropped in any case.
    """
    return why is None or why.same_records
