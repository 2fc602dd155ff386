"""Where a group is to go on reading: the words of `--to`, and the offsets that they mean. Pure: it asks nobody."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from swarm_cli.errors import UsageError

Word = Literal["earliest", "latest", "offset", "relative", "time"]
FORMS = "earliest, latest, an offset, +N or -N, or a time with its zone like 2026-11-21T06:00Z"


@dataclass(frozen=True)
class Position:
    """What `--to` says. `number`: the offset, how far to go, or milliseconds since 1970, as `word` has it."""

    word: Word
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One partition as it is: the offset that the group has committed, and the range of offsets that are there."""

    topic: str
    partition: int
    committed: int | None
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Move:
    """What becomes of a partition's committed offset; `note` says where the wish could not be met."""

    topic: str
    partition: int
    before: int | None
    after: int
    note: str = ""

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return self.before != self.after


def parsed(text: str) -> Position:
    """The position that a text means. Raises UsageError with all forms for one that means none."""
    if text in ("earliest", "latest"):
        return Position("earliest" if text == "earliest" else "latest")
    if re.fullmatch(r"[0-9]{1,18}", text):
        return Position("offset", int(text))
    if re.fullmatch(r"[+-][0-9]{1,18}", text):
        return Position("relative", int(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no position: give {FORMS}.") from None
    if moment.tzinfo is None:
        full = text if ":" in text else f"{text[:10]}T00:00"
        raise UsageError(f"{text!r} has no time zone: write {full}Z for UTC, or an offset like +01:00.")
    milliseconds = round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    if milliseconds < 0:
        raise UsageError(f"{text!r} lies before 1970, and no record does.")
    return Position("time", milliseconds)


def moved(partition: Partition, position: Position, at_time: int | None = None) -> Move:
    """The move of a partition to a position; `at_time`: its first offset at or after the time, None for none.

    An offset outside of what is there becomes the nearest one that is. Raises UsageError for a step from nowhere.
    """
    note = ""
    match position.word:
        case "earliest":
            wanted = partition.start
        case "latest":
            wanted = partition.end
        case "offset":
            wanted = position.number
        case "relative":
            if partition.committed is None:
                where = f"{partition.topic}[{partition.partition}]"
                raise UsageError(
                    f"{where} has no committed offset to go {position.number:+d} from: give an offset, earliest or "
                    "latest."
                )
            wanted = partition.committed + position.number
        case "time":
            wanted = partition.end if at_time is None else at_time
            note = "no record so late" if at_time is None else ""
    after = min(max(wanted, partition.start), partition.end)
    if after != wanted:
        note = f"{wanted} is not there"
    return Move(
        topic=partition.topic, partition=partition.partition, before=partition.committed, after=after, note=note
    )
