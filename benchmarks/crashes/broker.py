"""A broker with one partition and one group: its log, its committed offset, who owns it, and what is under way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.crashes.log import Log
from swarm_consumer._scheduling.commit_turns import Places


class Broken(AssertionError):
    """A history broke a promise."""


class Kept(NamedTuple):
    """What is committed."""

    offset: int
    metadata: str | None
    epoch: int | None
    log: Log
    """The incarnation that the committer meant. A real broker knows only names."""
    cuts: int


@dataclass(slots=True)
class Request:
    """A commit under way."""

    member: object
    kept: Kept
    places: Places
    again: tuple[int, int] | None = None
    """A handler sought to this offset at this time."""
    epoch: int = 0
    """Of the partition in the life that sent it."""


class Broker:
    """Commits are taken from the owner alone, as generations and member ids ensure."""

    def __init__(self) -> None:
        self.log = Log()
        self.committed: Kept | None = None
        self.earlier: list[Kept] = []
        self.owner: object | None = None
        self.counts: Counter[str] = Counter()

    def take(self, request: Request) -> bool:
        """Take a commit or refuse it."""
        if request.member is not self.owner:
            self.counts["commit fenced"] += 1
            return False
        kept = request.kept
        if request.again is not None and kept.log is self.log:
            self.log.excuse(request.again[0])
            if kept.cuts == self.log.cuts:  # a wish is of the records that were there, and an answer may be late
                self.log.wanted_again(*request.again)
        self._judge(kept)
        self.keep(kept)
        return True

    def keep(self, kept: Kept) -> None:
        """Replace what is committed."""
        if self.committed is not None:
            self.earlier.append(self.committed)
        self.committed = kept

    def _judge(self, kept: Kept) -> None:
        log = self.log
        if kept.log is not log:
            # The partition was recreated under its owner, and the broker knows no better.
            self.counts["exposed: a commit for the earlier topic"] += 1
        elif log.holds(kept.offset, kept.epoch) and (hole := log.hole(kept.offset)) is not None:
            if kept.epoch is None and kept.cuts != log.cuts:
                self.counts["exposed: cut, without an epoch"] += log.excuse(kept.offset)
            else:
                raise Broken(f"offset {kept.offset} is committed, and record {hole} was given to no handler")

    def start_at(self, offset: int, epoch: int | None, kept: Kept | None) -> None:
        """Judge the start of an owner: nothing before it may be open."""
        log = self.log
        if not log.holds(offset, epoch) or (hole := log.hole(offset)) is None:
            return  # otherwise the client goes back to the beginning
        if kept is not None and kept.log is not log:
            self.counts["exposed: the commit is of the earlier topic"] += 1
            if offset > kept.offset:
                self.counts["exposed: more than by the commit alone"] += 1
            log.excuse(offset)
        elif epoch is None and kept is not None and kept.cuts != log.cuts:
            self.counts["exposed: cut, without an epoch"] += log.excuse(offset)
        else:
            at = None if kept is None else kept.offset
            raise Broken(f"an owner starts at {offset} (committed: {at}), and record {hole} was given to no handler")

    # -- others --------------------------------------------------------------------------------------------------

    def reset(self, offset: int, now: int, metadata: str | None) -> None:
        """An administrator moves the committed offset, or a consumer elsewhere goes back."""
        self.log.excuse(offset)
        self.log.wanted_again(offset, now)
        self.keep(Kept(offset, metadata, None, self.log, self.log.cuts))

    def recreate(self, records: int) -> None:
        """Delete the topic and make it again. `forget` drops its committed offset, at once or later."""
        self.log = Log()
        self.log.append(records)

    def forget(self) -> None:
        """Drop the committed offset."""
        self.committed = None
        self.earlier.clear()
