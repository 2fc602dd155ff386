"""A partition under one assignment: its start and progress, what blocks it, and its lanes. Plain data.

It has one lane today. The state of the client (fetching, seeking, the pause for memory) and of the assignment (epoch,
revocation) is here; the work, one run at a time, is in the lanes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swarm_consumer._scheduling.lane import Lane, LaneState

if TYPE_CHECKING:
    import confluent_kafka

    from swarm_consumer._scheduling.ledger import Key
    from swarm_consumer._scheduling.remembrance import Place
    from swarm_consumer._scheduling.run import Run
    from swarm_consumer.routing.routes import Route


class Beginning(int):
    """The start of a partition without marks: a target for a seek, but not progress to commit."""


class Partition:
    """One assigned partition."""

    __slots__ = (
        "deadly",
        "eof",
        "epoch",
        "expected",
        "first_offset",
        "flow_paused",
        "going_back",
        "key",
        "lanes",
        "over_since",
        "paused_until",
        "pending_seek",
        "place",
        "revoking",
        "route",
        "seek_at",
        "seek_failures",
        "start",
        "start_unknown",
        "went_back",
    )

    def __init__(self, key: Key, route: Route, epoch: int, now: float) -> None:
        self.key = key
        self.route = route
        self.epoch = epoch
        self.paused_until: float | None = None  # at a handler's wish
        self.pending_seek: Any = None
        self.seek_failures = 0
        self.seek_at = 0.0  # when a failed seek is retried
        self.going_back = False  # at the end of the current run, unmarked messages are handled again
        self.revoking = False
        self.flow_paused = False  # for its memory
        self.over_since: float | None = None  # since when it holds too much without a worker
        self.eof = False  # its end was reached, and eofed() is still to be called
        self.start: int | None = None  # where it began under this assignment, as far as known
        self.start_unknown = False  # the broker did not return the committed offset, so the first record decides
        self.expected: int | None = None  # the next offset the client should give us
        self.first_offset: int | None = None  # of the first record under the current epoch
        self.place: Place | None = None  # its note, which outlives the process
        self.deadly = False  # a handler raised what ends the process: the note says with which records
        self.went_back = False  # the client returned an earlier one, and that is not committed yet
        self.lanes: tuple[Lane, ...] = (Lane(self, now),)

    @property
    def running(self) -> list[Run]:
        """The runs in progress."""
        return [lane.running for lane in self.lanes if lane.running is not None]

    @property
    def unfinished(self) -> bool:
        """Whether a run is in progress, or revoked() is still to be called."""
        return any(lane.running is not None or lane.owes_revoked for lane in self.lanes)

    @property
    def paused(self) -> bool:
        """Whether a lane waits for the end of a pause."""
        return any(lane.state is LaneState.PAUSED for lane in self.lanes)

    @property
    def held(self) -> int:
        """How many records wait to be handed out."""
        return sum(len(lane.backlog.held) for lane in self.lanes)

    @property
    def held_bytes(self) -> int:
        """The size of their values, estimated."""
        return sum(lane.backlog.held_bytes for lane in self.lanes)

    @property
    def seeks(self) -> bool:
        """Whether the client must seek before more is handled."""
        return self.pending_seek is not None

    @property
    def drained(self) -> bool:
        """Whether no message is waiting or being handled."""
        return self.pending_seek is None and all(lane.drained for lane in self.lanes)

    @property
    def caught_up(self) -> bool:
        """Whether everything that came is handled, or the partition is paused without an end."""
        if self.running or self.pending_seek is not None:
            return False
        return self.paused_until == float("inf") or not any(lane.backlog for lane in self.lanes)

    def oldest_unhandled(self, marked: int | None) -> confluent_kafka.Message | None:
        """Return the first received record that is not done; everything before the offset `marked` is done."""
        found = [record for lane in self.lanes if (record := lane.oldest_unhandled(marked)) is not None]
        return min(found, key=lambda record: record.offset() or 0, default=None)
