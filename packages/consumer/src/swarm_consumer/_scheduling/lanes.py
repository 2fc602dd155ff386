"""All lanes of a subscription group: which may be worked on now, and what happens afterwards. Pure.

A lane holds the waiting messages, the failed batch that waits for its next attempt, and the single run in progress;
`lane.py` has the table of its states. It is in the workers' queue exactly while READY: the functions return
whether the caller must queue it. Nothing here is thread-safe: the caller holds the lock of the group.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from swarm_consumer._scheduling.lane import Lane, LaneState, Outcome, Run, size_of
from swarm_consumer._scheduling.progress import Key, Ledger

if TYPE_CHECKING:
    import confluent_kafka

    from swarm_consumer.routing.routes import Route

_QUEUE = Outcome(queue=True)
_REST = Outcome(queue=False)


class Lanes:
    """All lanes of one subscription group, with the ledger of what is done."""

    def __init__(self, ledger: Ledger, max_poll_interval_s: float = 300.0) -> None:
        self.ledger = ledger
        self.by_key: dict[Key, Lane] = {}
        self.held_total = 0
        self.held_bytes = 0
        self.frozen = False  # quiet or stopping: nothing is taken
        self._max_poll_interval_s = max_poll_interval_s
        self._former: dict[Key, Lane] = {}
        """Lanes that were taken away during a run or before revoked() was called: the partition waits for them.

        At most one per partition, because a later assignment starts nothing before it is done.
        """

    def assign(self, key: Key, route: Route, now: float) -> Lane:
        """Open a lane for a partition that was assigned."""
        self.close(key)
        lane = self.by_key[key] = Lane(key, route, self.ledger.assign(key), now)
        return lane

    def begin(self, lane: Lane, start: int, *, commit: bool) -> None:
        """Note where an assigned partition starts; with `commit` that is progress to be committed."""
        lane.start = lane.expected = start
        if commit:
            lane.epoch = self.ledger.restart(lane.key, start)

    def close(self, key: Key, *, tell: bool = False) -> Lane | None:
        """Close the lane of a partition that is no longer ours and drop its messages. The caller updates the ledger.

        With `tell` its consumer must get a call of revoked(), unless it had one: during a run the outcome
        says when, otherwise the caller queues the hook now.
        """
        lane = self.by_key.pop(key, None)
        if lane is None:
            return None
        self.drop_held(lane)
        lane.retry = None
        waited = key in self._former  # for an earlier assignment; nothing of this one has started
        lane.owes_revoked = tell and not waited and not lane.told_revoked and lane.wants("revoked")
        if lane.running is not None or lane.owes_revoked:
            self._former[key] = lane
        lane.state = LaneState.CLOSED
        return lane

    def receive(self, lane: Lane, records: list[confluent_kafka.Message]) -> bool:
        """Add messages in order; return whether to queue the lane. The lane takes over the list."""
        first = records[0].offset()
        if lane.start_unknown or (lane.expected is not None and first is not None and first < lane.expected):
            # The client went back on its own: an offset reset, because the log is shorter than what
            # was committed, sought or received. Messages received before are void, and a running batch must not
            # mark offsets that now mean other messages.
            lane.epoch = self.ledger.restart(lane.key, first)
            lane.went_back = True
            lane.start_unknown = False
            self._void(lane)
        last = records[-1].offset()
        if lane.first_offset is None:
            lane.first_offset = first
        lane.expected = None if last is None else last + 1
        if lane.held:
            lane.held.extend(records)
        else:
            lane.held = records
        self.held_total += len(records)
        size = size_of(records)
        lane.held_bytes += size
        self.held_bytes += size
        return self._ready(lane)

    def take(self, lane: Lane, now: float) -> Run | None:
        """Start the next run of a READY lane; None if there is nothing left to run."""
        if lane.state is not LaneState.READY:
            return None
        if self.frozen or lane.revoking or lane.key in self._former:  # whose end queues it
            lane.state = LaneState.IDLE
            return None
        alone, again = False, lane.retry is not None
        position = self.ledger.position(lane.key) if lane.retry is not None else None
        if lane.retry is not None and position is not None:
            # Marked since it failed: by a hook, or by a transaction whose commit was answered late.
            lane.retry = [record for record in lane.retry if record.offset() >= position] or None  # type: ignore[operator]
        if lane.retry is not None:
            if lane.isolated:
                alone = True
                records = [lane.retry.pop(0)]
                lane.retry = lane.retry or None
            else:
                records, lane.retry = lane.retry, None
        else:
            limit = lane.route.settings.max_messages
            held = lane.held
            left = lane.held_bytes * max(0, len(held) - limit) // max(1, len(held))
            self.held_bytes -= lane.held_bytes - left
            lane.held_bytes = left
            if len(held) <= limit:
                records, lane.held = held, []
            else:
                records = held[:limit]
                del held[:limit]
            self.held_total -= len(records)
        if not records:
            lane.state = LaneState.IDLE
            return None
        run = lane.running = Run(lane, "consume", records, now, self._max_poll_interval_s)
        run.alone, run.again = alone, again
        if run.last_offset is not None:
            self.ledger.deliver(lane.key, lane.epoch, run.last_offset + 1, run.first_offset)
        lane.state = LaneState.RUNNING
        return run

    def begin_hook(self, lane: Lane, action: str, now: float) -> Run | None:
        """Start a run of a hook; None while the partition is running, and for an obsolete hook."""
        former = self._former.get(lane.key)
        if lane.running is not None or (former is not None and former is not lane):
            return None
        closed = lane.state is LaneState.CLOSED
        if (closed and action in ("tick", "eofed")) or (action == "revoked" and lane.told_revoked):
            return None  # it was queued before the partition was taken away, or twice
        if closed:
            self._former[lane.key] = lane
        if action == "revoked":
            lane.told_revoked, lane.owes_revoked = True, False
        run = lane.running = Run(lane, action, [], now, self._max_poll_interval_s)
        run.resume_state = lane.state if lane.blocked else None
        if lane.state is not LaneState.CLOSED:
            lane.state = LaneState.RUNNING
        return run

    def divertible(self, run: Run) -> confluent_kafka.Message | None:
        """After a failure: return the message to dead-letter now, or None if it is retried.

        A single message that has used up its attempts is returned; a longer run is first handed out message by message.
        """
        lane = run.lane
        limits = lane.route.settings.dead_letters
        if limits is None or len(run.records) != 1 or run.action != "consume" or not run.reached:
            return None
        if not self.ledger.owns(lane.key, run.epoch) or self.by_key.get(lane.key) is not lane:
            return None
        record = run.records[0]
        if self._failures_with(lane, record.offset()) <= limits.max_retries:
            return None
        return None if lane.dead_letter_count.refusal(limits) else record

    def letter_moves(self, run: Run) -> bool:
        """Whether a dead letter moves the offset past its message.

        With manual marking it does so only if nothing before it waits for a mark.
        """
        if not run.lane.route.settings.manual_marking or run.first_offset is None:
            return True
        return self.ledger.all_done_before(run.lane.key, run.epoch, run.first_offset)

    def finish(self, run: Run, failed: bool, now: float, *, diverted: bool = False) -> Outcome:
        """End a run and return its outcome.

        Success marks the whole batch, unless marking is manual, the handler requested a seek, or it has seen
        that it should leave. Failure keeps unmarked messages for the next attempt, after the back-off.
        """
        lane = run.lane
        lane.running = None
        if lane.owes_revoked:
            follower = self.by_key.get(lane.key)
            return Outcome(queue=follower is not None and self._ready(follower), stale=True, owes_revoked=True)
        if self._former.get(lane.key) is lane:
            del self._former[lane.key]
        if lane.state is LaneState.CLOSED or self.by_key.get(lane.key) is not lane:
            follower = self.by_key.get(lane.key)
            return Outcome(queue=follower is not None and self._ready(follower), stale=True)
        lane.state = LaneState.IDLE
        if run.resume_state is LaneState.WAITING or (
            run.resume_state is LaneState.PAUSED and lane.paused_until is not None  # a tick may have resumed it
        ):
            lane.state = run.resume_state
        if not self.ledger.owns(lane.key, run.epoch):
            return Outcome(queue=self._ready(lane), stale=True)
        if run.action != "consume":
            return Outcome(queue=self._ready(lane))
        duration = now - run.started
        if duration > 0:
            lane.rate = (
                0.7 * lane.rate + 0.3 * (len(run.records) / duration) if lane.rate else len(run.records) / duration
            )
        if diverted:
            lane.dead_letter_count.dead_lettered()
            if lane.route.settings.dead_letters is not None and lane.route.settings.dead_letters.independent:
                lane.failures = 0
            return self._passed(lane, run, mark=self.letter_moves(run))
        if not failed:
            lane.dead_letter_count.succeeded(len(run.records))
            return self._succeeded(lane, run)
        return self._failed(lane, run, now)

    def wake(self, now: float) -> list[Lane]:
        """Return the lanes to queue because their back-off or pause is over."""
        woken = []
        for lane in self.by_key.values():
            if lane.state is LaneState.WAITING and now >= lane.retry_at:
                lane.state = LaneState.IDLE
                if self._ready(lane):
                    woken.append(lane)
            elif lane.state is LaneState.PAUSED and lane.paused_until is not None and now >= lane.paused_until:
                lane.paused_until = None
                lane.state = LaneState.IDLE
                if self._ready(lane):
                    woken.append(lane)
        return woken

    def next_wake(self) -> float | None:
        """When `wake` has something to do next; None if nothing waits for a time."""
        times = [
            lane.retry_at if lane.state is LaneState.WAITING else lane.paused_until
            for lane in self.by_key.values()
            if lane.blocked
        ]
        finite = [at for at in times if at is not None]
        return min(finite) if finite else None

    def pause(self, lane: Lane, until: float) -> None:
        """Hand out no more messages of this lane before `until`."""
        lane.paused_until = until
        if lane.state in (LaneState.IDLE, LaneState.READY):
            lane.state = LaneState.PAUSED

    def resume(self, lane: Lane) -> bool:
        """End a pause; return whether to queue the lane."""
        lane.paused_until = None
        if lane.state is LaneState.PAUSED:
            lane.state = LaneState.IDLE
            return self._ready(lane)
        return False

    def sought(self, lane: Lane, position: int | None) -> None:
        """Start again after a seek: messages received before are void."""
        self._void(lane)
        lane.expected = position  # beyond the end the client goes back, which `receive` must see
        lane.pending_seek = None
        lane.seek_failures = 0
        lane.epoch = self.ledger.restart(lane.key, position)

    def thaw(self) -> list[Lane]:
        """End a freeze; return the lanes to be queued."""
        self.frozen = False
        return [lane for lane in self.by_key.values() if self._ready(lane)]

    def running(self) -> list[Run]:
        """Return the runs in progress, also those that outlived their assignment."""
        runs = [lane.running for lane in self.by_key.values() if lane.running is not None]
        return runs + [lane.running for lane in self._former.values() if lane.running is not None]

    def owing(self, key: Key) -> Lane | None:
        """Return the earlier lane of a partition whose revoked() is due and may be called now."""
        former = self._former.get(key)
        return former if former is not None and former.running is None else None

    @property
    def at_work(self) -> bool:
        """Whether anything runs or is waiting for a call, including past assignments."""
        return bool(self._former) or any(lane.running is not None for lane in self.by_key.values())

    @property
    def caught_up(self) -> bool:
        """Whether everything that came is handled, except in lanes that are paused without an end."""
        return not any(map(_unfinished, self.by_key.values()))

    def is_free(self, lane: Lane) -> bool:
        """Whether nothing of the partition is running, under this or an earlier assignment."""
        return lane.running is None and lane.key not in self._former

    def busy(self, keys: Iterable[Key]) -> bool:
        """Whether one of these partitions is running under its current assignment."""
        return any((lane := self.by_key.get(key)) is not None and lane.running is not None for key in keys)

    # ------------------------------------------------------------------------------------------------------------

    def _ready(self, lane: Lane) -> bool:
        """Make an idle lane READY if it has something to do."""
        if lane.state is not LaneState.IDLE or self.frozen or lane.revoking or lane.pending_seek is not None:
            return False
        former = self._former.get(lane.key)
        if former is not None and former.running is not None:
            return False  # one that only waits for revoked(): the next run of this lane calls it first
        if lane.paused_until is not None:
            lane.state = LaneState.PAUSED
            return False
        if lane.retry is None and not lane.held:
            return False
        lane.state = LaneState.READY
        return True

    def _succeeded(self, lane: Lane, run: Run) -> Outcome:
        limits = lane.route.settings.dead_letters
        if not run.alone or (limits is not None and limits.independent):
            lane.failures = 0
        if run.seek is not None:
            lane.pending_seek = run.seek
            lane.failures = 0
            lane.isolated = False
            self.drop_held(lane)
            return _REST
        if run.marks_only or lane.route.settings.manual_marking:
            if run.alone and lane.retry is None:
                lane.isolated = False
                lane.failures = 0
            return _QUEUE if self._ready(lane) else _REST
        return self._passed(lane, run)

    def _passed(self, lane: Lane, run: Run, *, mark: bool = True) -> Outcome:
        """Mark a run's messages as done, and continue after them."""
        assert run.last_offset is not None
        if mark:
            self.ledger.mark(lane.key, run.epoch, run.last_offset + 1, leader_epoch=run.records[-1].leader_epoch())
        if run.alone and lane.retry is None:
            lane.isolated = False
            lane.failures = 0
        return _QUEUE if self._ready(lane) else _REST

    def _failed(self, lane: Lane, run: Run, now: float) -> Outcome:
        position = self.ledger.position(lane.key)
        remaining = run.records
        if position is not None:
            remaining = [record for record in remaining if record.offset() >= position]  # type: ignore[operator]
        first = remaining[0].offset() if remaining else (run.last_offset or 0) + 1
        lane.failures = self._failures_with(lane, first)
        lane.failing_offset = first
        lane.retry = (remaining + (lane.retry or [])) or None
        limits = lane.route.settings.dead_letters
        refusal = None
        if limits is not None and remaining and run.reached and lane.failures > limits.max_retries:
            if not run.alone and len(run.records) > 1:
                lane.isolated = True
                return Outcome(queue=self._ready(lane), isolating=True, first_unmarked=first)
            refusal = lane.dead_letter_count.refusal(limits)
        delay = lane.backoff.delay_s(lane.failures)
        lane.retry_at = now + delay
        lane.state = LaneState.WAITING
        return Outcome(queue=False, retry_in_s=delay, first_unmarked=first, refusal=refusal)

    @staticmethod
    def _failures_with(lane: Lane, first: int | None) -> int:
        """Return the number of failures in a row, including this one; independent messages start at one each."""
        limits = lane.route.settings.dead_letters
        if limits is not None and limits.independent and first != lane.failing_offset:
            return 1
        return lane.failures + 1

    def _void(self, lane: Lane) -> None:
        self.drop_held(lane)
        lane.retry = None
        lane.failures = 0
        lane.isolated = False
        lane.first_offset = None

    def drop_held(self, lane: Lane) -> None:
        """Drop the messages of a lane."""
        self.held_total -= len(lane.held)
        self.held_bytes -= lane.held_bytes
        lane.held, lane.held_bytes = [], 0


def _unfinished(lane: Lane) -> bool:
    waits_for_ever = lane.paused_until == float("inf")
    return (
        lane.running is not None
        or lane.pending_seek is not None
        or (not waits_for_ever and (bool(lane.held) or lane.retry is not None))
    )
