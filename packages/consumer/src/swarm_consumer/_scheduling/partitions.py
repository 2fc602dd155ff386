"""All partitions of a connection: which lanes may be worked on now, and what happens afterwards. Pure.

`lane.py` has the table of a lane's states. A lane is in the workers' queue exactly while READY: the functions return
those that the caller has to queue. Nothing here is thread-safe: the caller holds the lock of the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from swarm_consumer._scheduling import run_ends, suspicion
from swarm_consumer._scheduling.lane import Lane, LaneState
from swarm_consumer._scheduling.ledger import Key, Ledger
from swarm_consumer._scheduling.offset_runs import consecutive
from swarm_consumer._scheduling.partition import Beginning, Partition
from swarm_consumer._scheduling.run import Outcome, Run

if TYPE_CHECKING:
    import confluent_kafka

    from swarm_consumer._scheduling.remembrance import Place
    from swarm_consumer.routing.routes import Route


def _unknown() -> None:
    return None


class Partitions:
    """All partitions of one connection, with the ledger of what is done."""

    def __init__(self, ledger: Ledger, max_poll_interval_s: float = 300.0) -> None:
        self.ledger = ledger
        self.by_key: dict[Key, Partition] = {}
        self.held_total = 0
        self.held_bytes = 0
        self.frozen = False  # quiet or stopping: nothing is taken
        self.claim: Callable[[Key], Place | None] | None = None
        """Opens the note of a partition that was assigned; without it, nothing outlives the process."""
        self.handled: Callable[[], int | None] = _unknown
        """How many runs of this group have succeeded, in all processes that share the notes."""
        self._max_poll_interval_s = max_poll_interval_s
        self._former: dict[Key, Partition] = {}
        """Partitions taken away during a run or before revoked() was called: their next assignment waits for them.

        At most one of each, because a later assignment starts nothing before it is done.
        """

    def assign(self, key: Key, route: Route, now: float) -> Partition:
        """Open a partition that was assigned."""
        self.close(key)
        place = None if self.claim is None else self.claim(key)
        partition = self.by_key[key] = Partition(key, route, self.ledger.assign(key, place), now)
        partition.place = place
        return partition

    def begin(self, partition: Partition, start: int, leader_epoch: int | None = None, *, commit: bool) -> None:
        """Note where an assigned partition starts; with `commit` that is progress to commit."""
        partition.start = partition.expected = start
        if commit:
            partition.epoch = self.ledger.restart(partition.key, start, leader_epoch)

    def close(self, key: Key, *, tell: bool = False) -> Partition | None:
        """Close a partition that is no longer ours; forget what it held. The ledger is the caller's.

        With `tell` its consumers are owed a call of revoked(), unless it was called: during a run its outcome says
        when, otherwise the caller queues the hook now.
        """
        partition = self.by_key.pop(key, None)
        if partition is None:
            return None
        self.drop(partition)
        waited = key in self._former  # for an earlier assignment; nothing of this one has started
        for lane in partition.lanes:
            lane.owes_revoked = tell and not waited and not lane.told_revoked and lane.wants("revoked")
            lane.state = LaneState.CLOSED
        if partition.unfinished:
            self._former[key] = partition
        return partition

    def receive(self, partition: Partition, records: list[confluent_kafka.Message]) -> list[Lane]:
        """Add records in order and return the lanes to queue. The list becomes the partition's own."""
        first = records[0].offset()
        expected = partition.expected
        if partition.start_unknown or (expected is not None and first is not None and first < expected):
            # The client went back on its own: an offset reset, because the log is shorter than what
            # was committed, sought or received. Messages received before are void, and a running batch must not
            # mark offsets that now mean other messages.
            unhandled = None if partition.start_unknown else self.unhandled(partition)
            if unhandled is not None and first is not None and unhandled < first:
                self._seek_behind(partition, unhandled)
                return []
            partition.epoch = self.ledger.restart(partition.key, first)
            partition.went_back = True
            if not partition.start_unknown:
                suspicion.forget(partition)
            partition.start_unknown = False
            self._void(partition)
        last = records[-1].offset()
        if partition.first_offset is None:
            partition.first_offset = first
        partition.expected = None if last is None else last + 1
        (lane,) = partition.lanes  # with more than one, records would be divided here
        self.held_total += len(records)
        self.held_bytes += lane.backlog.add(records)
        return [lane] if self._ready(lane) else []

    def unhandled(self, partition: Partition) -> int | None:
        """Where the records begin that came and are not done, or would begin; None if none came."""
        found = self.ledger.resume_at(partition.key)
        return partition.first_offset if found is None else found

    def _seek_behind(self, partition: Partition, unhandled: int) -> None:
        """Have the client return to what is not done: it has begun again beyond that, at the end of a log that was cut.

        So it does under "latest". The records before that end are as they were.
        """
        marked = self.ledger.position(partition.key) is not None
        partition.epoch = self.ledger.restart(partition.key, unhandled if marked else None)
        partition.went_back = marked
        partition.pending_seek = unhandled if marked else Beginning(unhandled)
        partition.seek_at = 0.0
        partition.expected = None
        suspicion.forget(partition)
        self._void(partition)

    def take(self, lane: Lane, now: float, *, by_itself: bool = False) -> Run | None:
        """Start the next run of a READY lane; None if there is nothing left to run.

        by_itself: nothing else runs in this process, nor will before the run has ended.
        """
        if lane.state is not LaneState.READY:
            return None
        key, backlog = lane.key, lane.backlog
        if self.frozen or lane.partition.revoking or key in self._former:  # whose end queues it
            lane.state = LaneState.IDLE
            return None
        held, held_bytes = len(backlog.held), backlog.held_bytes
        known = backlog.suspects
        portion = backlog.next(self.ledger.position(key) if backlog.retry is not None else None)
        if backlog.suspects is not known:
            suspicion.changed(lane)
        self.held_total += len(backlog.held) - held
        self.held_bytes += backlog.held_bytes - held_bytes
        if portion is None:
            lane.state = LaneState.IDLE
            return None
        run = lane.running = Run(lane, "consume", portion.records, now, self._max_poll_interval_s)
        run.alone, run.again, run.by_itself = portion.alone, portion.again, by_itself
        if portion.suspect:
            run.suspects = backlog.suspects
            run.judgement = suspicion.judgement(run, self.handled)
        if run.first_offset is not None and run.last_offset is not None:
            end, runs = run.last_offset + 1, None
            if end - run.first_offset != len(run.records):  # compacted, or written in transactions
                runs = consecutive(record.offset() or 0 for record in run.records)
            self.ledger.deliver(key, run.epoch, run.first_offset, end, runs)
        lane.state = LaneState.RUNNING
        if lane.initialized:
            suspicion.given(run)
        return run

    def begin_hook(self, lane: Lane, action: str, now: float) -> Run | None:
        """Start a run of a hook; None while the partition is running, and for an obsolete hook."""
        former = self._former.get(lane.key)
        if lane.running is not None or (former is not None and former is not lane.partition):
            return None
        closed = lane.state is LaneState.CLOSED
        if (closed and action in ("tick", "eofed")) or (action == "revoked" and lane.told_revoked):
            return None  # it was queued before the partition was taken away, or twice
        if closed:
            self._former[lane.key] = lane.partition
        if action == "revoked":
            lane.told_revoked, lane.owes_revoked = True, False
        run = lane.running = Run(lane, action, [], now, self._max_poll_interval_s)
        run.resume_state = lane.state if lane.blocked else None
        if lane.state is not LaneState.CLOSED:
            lane.state = LaneState.RUNNING
        return run

    def finish(self, run: Run, failed: bool, now: float, *, diverted: bool = False) -> Outcome:
        """End a run and return its outcome.

        Success marks the whole batch, unless marking is manual, the handler requested a seek, or it has seen
        that it should leave. Failure keeps unmarked messages for the next attempt, after the back-off.
        """
        lane, key = run.lane, run.lane.key
        lane.running = None
        if run.deadly:
            lane.partition.deadly = True
        if self._former.get(key) is lane.partition and not lane.partition.unfinished:
            del self._former[key]
        place = lane.partition.place if run.noted and not run.deadly else None
        if lane.state is LaneState.CLOSED or self.by_key.get(key) is not lane.partition:
            if place is not None:  # it has survived, so it is not to blame for what this process may die of
                place.end(handled=False)
                place.settle()
            follower = self.by_key.get(key)
            ready = () if follower is None else tuple(one for one in follower.lanes if self._ready(one))
            return Outcome(queue=ready, stale=True, owes_revoked=lane.owes_revoked)
        lane.state = LaneState.IDLE
        if run.resume_state is LaneState.WAITING or (
            run.resume_state is LaneState.PAUSED and lane.partition.paused_until is not None  # a tick may resume it
        ):
            lane.state = run.resume_state
        stale = not self.ledger.owns(key, run.epoch)
        if place is not None:
            place.end(handled=not (failed or diverted))
            if stale:
                place.settle()
        if stale or run.action != "consume":
            return Outcome(queue=self._queued(lane), stale=stale)
        suspects, letters = lane.backlog.suspects, lane.dead_letter_count.consecutive
        outcome = run_ends.settle(run, self.ledger, now, failed=failed, diverted=diverted)
        if place is not None:
            place.settle()
        if lane.backlog.suspects is not suspects:
            suspicion.changed(lane)
        if lane.dead_letter_count.consecutive != letters and lane.partition.place is not None:
            lane.partition.place.letters(lane.dead_letter_count.consecutive)
        if run.seek is not None and not failed:
            self._drop_held(lane.partition)
        if not self._ready(lane):
            return outcome
        return Outcome((lane,)) if outcome is run_ends.DONE else outcome._replace(queue=(lane,))

    def wake(self, now: float) -> list[Lane]:
        """Return the lanes to queue because their back-off or pause is over."""
        woken: list[Lane] = []
        for partition in self.by_key.values():
            for lane in partition.lanes:
                if lane.state is LaneState.WAITING and now >= lane.backlog.wakes_at:
                    lane.state = LaneState.IDLE
                    woken += self._queued(lane)
            if partition.paused_until is not None and now >= partition.paused_until and partition.paused:
                woken += self.resume(partition)
        return woken

    def next_wake(self) -> float | None:
        """When `wake` has something to do next; None if nothing waits for a time."""
        times = [
            lane.backlog.wakes_at if lane.state is LaneState.WAITING else partition.paused_until
            for partition in self.by_key.values()
            for lane in partition.lanes
            if lane.blocked
        ]
        finite = [at for at in times if at is not None]
        return min(finite) if finite else None

    def pause(self, partition: Partition, until: float) -> None:
        """Hand out no more messages of a partition before `until`."""
        partition.paused_until = until
        for lane in partition.lanes:
            if lane.state in (LaneState.IDLE, LaneState.READY):
                lane.state = LaneState.PAUSED

    def resume(self, partition: Partition) -> list[Lane]:
        """End a pause and return the lanes to queue."""
        partition.paused_until = None
        resumed: list[Lane] = []
        for lane in partition.lanes:
            if lane.state is LaneState.PAUSED:
                lane.state = LaneState.IDLE
                resumed += self._queued(lane)
        return resumed

    def sought(self, partition: Partition, position: int | None) -> None:
        """Start again after a seek: messages received before are void."""
        self._void(partition)
        partition.expected = position  # beyond the end the client goes back, which `receive` must see
        partition.pending_seek = None
        partition.seek_failures = 0
        partition.epoch = self.ledger.restart(partition.key, position)

    def put_off(self, lane: Lane) -> list[Lane]:
        """Take a lane out of the queue that no worker could begin; return it if it has to go back."""
        if lane.state is LaneState.READY:
            lane.state = LaneState.IDLE
        return list(self._queued(lane))

    def thaw(self) -> list[Lane]:
        """End a freeze and return the lanes to queue."""
        self.frozen = False
        return [lane for partition in self.by_key.values() for lane in partition.lanes if self._ready(lane)]

    def running(self) -> list[Run]:
        """Return the current runs, including those that outlived their assignment."""
        partitions = [*self.by_key.values(), *self._former.values()]
        return [run for partition in partitions for run in partition.running]

    def owing(self, key: Key) -> Lane | None:
        """Return a lane of an earlier assignment whose revoked() is due and may be called now."""
        former = self._former.get(key)
        lanes = () if former is None else former.lanes
        return next((lane for lane in lanes if lane.owes_revoked and lane.running is None), None)

    @property
    def has_former(self) -> bool:
        """Whether a partition waits for the end of an earlier assignment."""
        return bool(self._former)

    @property
    def at_work(self) -> bool:
        """Whether anything runs or is waiting for a call, including past assignments."""
        return bool(self._former) or any(partition.running for partition in self.by_key.values())

    @property
    def caught_up(self) -> bool:
        """Whether everything that came is handled, except in partitions that are paused without an end."""
        return all(partition.caught_up for partition in self.by_key.values())

    def is_free(self, lane: Lane) -> bool:
        """Whether nothing of a lane is running, nor of an earlier assignment of its partition."""
        return lane.running is None and lane.key not in self._former

    def may_start(self, lane: Lane) -> bool:
        """Whether a run of a lane may start now, if it has something to do."""
        return self.is_free(lane) and not (self.frozen or lane.partition.revoking)

    def drop(self, partition: Partition) -> None:
        """Drop all waiting messages of a partition."""
        self._drop_held(partition)
        for lane in partition.lanes:
            lane.backlog.drop()

    # ------------------------------------------------------------------------------------------------------------

    def _queued(self, lane: Lane) -> tuple[Lane, ...]:
        return (lane,) if self._ready(lane) else ()

    def _ready(self, lane: Lane) -> bool:
        """Make an idle lane READY if it has something to do."""
        partition = lane.partition
        if lane.state is not LaneState.IDLE or self.frozen or partition.revoking or partition.pending_seek is not None:
            return False
        former = self._former.get(lane.key)
        if former is not None and former.running:
            return False  # one that only waits for revoked(): the next run of this lane calls it first
        if partition.paused_until is not None:
            lane.state = LaneState.PAUSED
            return False
        if not lane.backlog:
            return False
        lane.state = LaneState.READY
        return True

    def _void(self, partition: Partition) -> None:
        self._drop_held(partition)
        for lane in partition.lanes:
            lane.backlog.clear()
        partition.first_offset = None

    def _drop_held(self, partition: Partition) -> None:
        """Drop the new messages of a partition."""
        self.held_total -= partition.held
        self.held_bytes -= partition.held_bytes
        for lane in partition.lanes:
            lane.backlog.drop_held()
