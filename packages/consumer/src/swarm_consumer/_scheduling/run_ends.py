"""What follows the end of a run: progress, the next attempt, a dead letter, a seek. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarm_consumer._scheduling.lane import LaneState
from swarm_consumer._scheduling.run import Outcome

if TYPE_CHECKING:
    import confluent_kafka

    from swarm_consumer._scheduling.ledger import Ledger
    from swarm_consumer._scheduling.run import Run

DONE = Outcome()
"""Nothing to report: the batch is done, or marking is manual."""


def divertible(run: Run, ledger: Ledger) -> confluent_kafka.Message | None:
    """After a failure: return the message to dead-letter now, or None if it is retried.

    A single message that has used up its attempts is returned; a longer run is first handed out message by message.
    """
    lane = run.lane
    limits = lane.route.settings.dead_letters
    if limits is None or len(run.records) != 1 or run.action != "consume" or not run.reached:
        return None
    if not ledger.owns(lane.key, run.epoch) or lane.state is LaneState.CLOSED:
        return None
    record = run.records[0]
    if lane.backlog.failures_with(record.offset()) <= limits.max_retries:
        return None
    return None if lane.dead_letter_count.refusal(limits) else record


def letter_moves(run: Run, ledger: Ledger) -> bool:
    """Whether a dead letter moves the offset past its message.

    With manual marking it does so only if nothing before it waits for a mark.
    """
    if not run.lane.route.settings.manual_marking or run.first_offset is None:
        return True
    return ledger.all_done_before(run.lane.key, run.epoch, run.first_offset)


def settle(run: Run, ledger: Ledger, now: float, *, failed: bool, diverted: bool) -> Outcome:
    """Record the end of a batch of the current epoch and return its outcome."""
    lane = run.lane
    duration = now - run.started
    if duration > 0:
        rate = len(run.records) / duration
        lane.rate = 0.7 * lane.rate + 0.3 * rate if lane.rate else rate
    if diverted:
        limits = lane.route.settings.dead_letters
        limited = limits is not None and limits.max_consecutive is not None
        # Without a limit of the application's, there is one for deaths alone.
        lane.dead_letter_count.dead_lettered(in_a_row=limited or run.judgement is not None)
        lane.backlog.succeeded(alone=True)
        if run.judgement is not None:  # the death in company of the others in its range is explained
            lane.backlog.suspects = None
        return _passed(run, ledger, mark=letter_moves(run, ledger))
    if run.judgement is not None:
        lane.state = LaneState.WAITING
        return Outcome(retry_in_s=lane.backlog.park(run.records, now), first_unmarked=run.first_offset)
    if failed:
        return _failed(run, ledger, now)
    lane.dead_letter_count.succeeded(len(run.records))
    return _succeeded(run, ledger)


def _succeeded(run: Run, ledger: Ledger) -> Outcome:
    lane, backlog = run.lane, run.lane.backlog
    backlog.succeeded(alone=run.alone)
    if run.seek is not None:
        lane.partition.pending_seek = run.seek
        backlog.failures = 0
        backlog.isolated = False
        return DONE
    return _passed(run, ledger, mark=not run.marks_only and not lane.route.settings.manual_marking)


def _passed(run: Run, ledger: Ledger, *, mark: bool) -> Outcome:
    """Continue after a run's messages; with `mark` they are done."""
    assert run.first_offset is not None
    assert run.last_offset is not None
    if mark:
        leader_epoch = run.records[-1].leader_epoch()
        ledger.complete(run.lane.key, run.epoch, run.first_offset, run.last_offset + 1, leader_epoch)
    if run.alone:
        run.lane.backlog.leave_isolation()
    if run.suspects is not None:
        run.lane.backlog.clear_suspects_before(run.last_offset + 1)
    return DONE


def _failed(run: Run, ledger: Ledger, now: float) -> Outcome:
    lane, backlog = run.lane, run.lane.backlog
    position = ledger.position(lane.key)
    remaining = run.records
    if position is not None:
        remaining = [record for record in remaining if record.offset() >= position]  # type: ignore[operator]
    first = remaining[0].offset() if remaining else (run.last_offset or 0) + 1
    assert first is not None
    backlog.put_back(remaining, first)
    limits = lane.route.settings.dead_letters
    refusal = None
    if limits is not None and remaining and run.reached and backlog.failures > limits.max_retries:
        if not run.alone and len(run.records) > 1:
            backlog.isolated = True
            return Outcome(isolating=True, first_unmarked=first)
        refusal = lane.dead_letter_count.refusal(limits)
    delay = backlog.wait(now)
    lane.state = LaneState.WAITING
    return Outcome(retry_in_s=delay, first_unmarked=first, refusal=refusal)
