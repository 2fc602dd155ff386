"""What a life does with records: it fetches them, hands them to its handler, and marks what that has done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.crashes.broker import Request
from benchmarks.crashes.log import KEY, PASSED
from swarm_consumer._scheduling.lane import Lane
from swarm_consumer._scheduling.partition import Beginning, Partition
from swarm_consumer._scheduling.run import Run

if TYPE_CHECKING:
    from benchmarks.crashes.life import Life


NEVER = -1
"""Before any record was handled."""


def fetch(life: Life, partition: Partition) -> None:
    """Receive some records, as the client would."""
    log = life.broker.log
    if life.fetched is not log:
        life.fetched = log
        if life.at <= log.end:  # nothing shows the client that these are other records
            life.broker.counts["exposed: a client continues in a new topic"] += log.excuse(life.at)
            life.at_epoch = None
    if not log.holds(life.at, life.at_epoch):
        begin_by_policy(life)
    elif life.at_epoch is None and life.cuts != log.cuts:
        life.broker.counts["exposed: cut, without an epoch"] += log.excuse(life.at)
    records = log.records[life.at : life.at + 1 + int(life.rng() * 5)]
    if not records:
        return
    first, life.at, life.at_epoch = life.at, life.at + len(records), records[-1].leader_epoch()
    if life.log is not log:
        life.crossed = first, life.log
        life.log, life.cuts, life.again = log, log.cuts, None
    life.new_here = False
    life.partitions.receive(partition, records)  # type: ignore[arg-type]
    if partition.went_back:
        partition.went_back = False
        life.cuts = log.cuts
        if life.again is not None:  # what was wanted again was of a log that is no more
            life.again = life.again[0], NEVER
        life.commit_now()


def begin_by_policy(life: Life) -> None:
    """Start where auto.offset.reset says: the log has lost its end, so the position of the client means nothing."""
    log, found = life.broker.log, life.found
    if not life.history.has("latest"):
        life.at, life.at_epoch = 0, None
        return
    if life.new_here and life.placed is not None and life.at > log.end and life.decided_cuts == log.cuts:
        by_commit = found is not None and found.log is log and log.holds(found.offset, found.epoch)
        if by_commit and (hole := log.hole(log.end)) is not None:
            life.history.broken(f"a note beyond the end has its owner pass record {hole}")
    life.broker.counts["exposed: cut, under latest"] += log.excuse(log.end, PASSED)
    life.at, life.at_epoch = log.end, None


def take(life: Life, lane: Lane) -> None:
    """Start the next run."""
    life.run = life.partitions.take(lane, life.history.now_s)
    life.worked = 0
    if life.run is not None and life.history.manual:
        life.given.update((record.offset(), record) for record in life.run.records)


def handle(life: Life, run: Run) -> None:
    """Let a handler do a part of its batch, or end it."""
    history, rng, records = life.history, life.rng, run.records
    if rng() < 0.6 and life.worked < len(records):
        until = min(len(records), life.worked + 1 + int(rng() * 3))
        work(life, records, until)
        return
    if life.worked and history.has("partial") and rng() < 0.4:
        mark(life, run, records[int(rng() * life.worked)])
        return
    failed = diverted = False
    if history.transactions and rng() < 0.7:
        if not transact(life, run):
            return
    elif history.has("fail") and rng() < 0.2:
        failed = True
    elif history.has("letters") and len(records) == 1 and rng() < 0.3:
        failed = diverted = True
        work(life, records, 1)
    else:
        if life.worked < len(records):
            work(life, records, len(records))
            return  # a kill may come before its end is noted
        if history.has("seek") and rng() < 0.3:
            run.seek = int(rng() * (life.broker.log.end + 3))
    life.run = None
    life.partitions.finish(run, failed, history.now_s, diverted=diverted)


def work(life: Life, records: list[Any], until: int) -> None:
    for record in records[life.worked : until]:
        life.broker.log.handled(record, life.history.now)
    life.worked = until


def mark(life: Life, run: Run, record: object) -> None:
    metadata = "page 7" if life.history.has("metadata") and life.rng() < 0.5 else None
    ledger = life.partitions.ledger
    ledger.mark(KEY, run.epoch, record.offset() + 1, metadata, record.leader_epoch())  # type: ignore[attr-defined]


def mark_by_hand(life: Life, partition: Partition) -> None:
    """With manual marking: what a handler has seen before is done when it says so.

    It has the records that it was given, which the log may have lost since.
    """
    entry = life.partitions.ledger._entries[KEY]
    if entry.begun is None or entry.delivered is None:
        return
    until = entry.begun + int(life.rng() * (entry.delivered - entry.begun)) + 1
    if until <= entry.delivered and until - 1 in life.given:
        for offset in range(entry.begun, until):
            if offset in life.given:
                life.log.handled(life.given[offset], life.history.now)
        life.partitions.ledger.mark(KEY, partition.epoch, until, None, life.given[until - 1].leader_epoch())


def transact(life: Life, run: Run) -> bool:
    """Commit the run's position in a transaction, once no commit outside of one is under way."""
    work(life, run.records, len(run.records))
    ledger, turns, record = life.partitions.ledger, life.turns, run.records[-1]
    if not ledger.owns(KEY, run.epoch):
        return True
    turns.moved((one.topic, one.partition) for one in ledger.take_committable())
    if turns.wanted([KEY]) or turns.under_way(KEY):
        turns.at_once([KEY], life.history.now_s)
        life.commit()
        return False
    ledger.plain_marks_arrived(KEY)
    if life.member is not life.broker.owner:
        return True
    offset, epoch = (record.offset() or 0) + 1, record.leader_epoch()
    life.broker.take(Request(life.member, life.kept(offset, None, epoch), frozenset(), life.again))
    life.again = None
    if life.rng() < 0.2:
        life.history.kill(life)  # the broker has committed, and no one here knows
        return False
    ledger.committed(KEY, run.epoch, offset, None, epoch)
    return True


def seek(life: Life, partition: Partition) -> None:
    target, log = partition.pending_seek, life.broker.log
    place = (log.end if life.history.has("latest") else 0) if target > log.end else int(target)
    life.at, life.at_epoch = place, None
    life.log = life.fetched = log
    life.crossed = -1, log
    if not isinstance(target, Beginning):  # back to a beginning of before a cut, the client sees nothing of it
        life.cuts = log.cuts
        life.again = place, life.history.now
        if life.member is life.broker.owner:
            log.excuse(place)
    life.partitions.sought(partition, None if isinstance(target, Beginning) else place)
    life.commit_now()
