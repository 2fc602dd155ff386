"""Where a group shall continue to read: positions as text, and the offsets they mean. Pure: it asks no cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from swarm_consumer.errors import AdminError

Word = Literal["earliest", "latest", "offset", "relative", "time"]
FORMS = "earliest, latest, an offset, +N or -N, or a time with its zone like 2026-11-21T06:00Z"


@dataclass(frozen=True)
class Position:
    """A place in a partition. `number`: the offset, the step, or milliseconds since 1970, depending on `word`."""

    word: Word
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that a text means: "earliest", "latest", "17", "+5", "-5", "2026-11-21T06:00Z".

        Raises AdminError ("position"), naming all forms, for a text that means none.
        """
        if text in ("earliest", "latest"):
            return cls("earliest" if text == "earliest" else "latest")
        if re.fullmatch(r"[0-9]{1,18}", text):
            return cls("offset", int(text))
        if re.fullmatch(r"[+-][0-9]{1,18}", text):
            return cls("relative", int(text))
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise AdminError(f"{text!r} is not a position: give {FORMS}.", "position") from None
        if moment.tzinfo is None:
            full = text if ":" in text else f"{text[:10]}T00:00"
            raise AdminError(f"{text!r} has no time zone: write {full}Z for UTC, or an offset like +01:00.", "position")
        milliseconds = round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
        if milliseconds < 0:
            raise AdminError(f"{text!r} is before 1970, and there are no such records.", "position")
        return cls("time", milliseconds)


@dataclass(frozen=True, kw_only=True)
class PartitionOffsets:
    """The offsets of one partition: what a group has committed (None: nothing), the first that exists, and the end."""

    topic: str
    partition: int
    committed: int | None
    start: int
    end: int

    def moved_to(self, position: Position, at_time: int | None = None) -> Move:
        """Return the move of the group to a position; `at_time`: the first offset at or after its time, None for none.

        An offset that does not exist becomes the nearest one that does. Raises AdminError ("position") for a step
        from where nothing is committed.
        """
        note = ""
        match position.word:
            case "earliest":
                wanted = self.start
            case "latest":
                wanted = self.end
            case "offset":
                wanted = position.number
            case "relative":
                if self.committed is None:
                    where = f"{self.topic}[{self.partition}]"
                    raise AdminError(
                        f"{where} has no committed offset to go {position.number:+d} from: give an offset, earliest or "
                        "latest.",
                        "position",
                    )
                wanted = self.committed + position.number
            case "time":
                wanted = self.end if at_time is None else at_time
                note = "no record after that time" if at_time is None else ""
        after = min(max(wanted, self.start), self.end)
        if after != wanted:
            note = f"{wanted} does not exist"
        return Move(topic=self.topic, partition=self.partition, before=self.committed, after=after, note=note)


@dataclass(frozen=True, kw_only=True)
class Move:
    """The committed offset of a partition, before and after; `note` says why it is not exactly what was asked for."""

    topic: str
    partition: int
    before: int | None
    after: int
    note: str = ""

    @property
    def changes(self) -> bool:
        """Whether the committed offset changes."""
        return self.before != self.after
