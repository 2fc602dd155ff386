"""What goes wrong in a history, and who else is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.crashes.broker import Kept
from benchmarks.crashes.life import Life, Stage
from benchmarks.crashes.mapped import Mapped
from swarm_consumer._scheduling.remembrance import CLAIM_PREFIX

if TYPE_CHECKING:
    from benchmarks.crashes.history import History

MINUTES_11 = 660 * 10**9


def some_life(history: History) -> Life | None:
    owner = history.owner
    if owner is not None and not owner.dead and history.rng.random() < 0.8:
        return owner
    return history.lives[int(history.rng.random() * 2)]


def kill(history: History) -> None:
    if (life := some_life(history)) is not None:
        history.kill(life)


def stop(history: History) -> None:
    life = some_life(history)
    if life is not None:
        life.stopped = not life.stopped
    for one in history.lives:
        if one is not None and one.stopped and history.rng.random() < 0.3:
            one.stopped = False


def revoke(history: History) -> None:
    if history.owner is not None and history.owner.stage is Stage.OPEN:
        history.owner.wants_to_leave = True


def expire(history: History) -> None:
    """A session ends although its member lives; it learns that later."""
    if history.owner is not None:
        history.broker.owner = None


def is_empty(history: History) -> bool:
    """Whether the group has no member; dead and stopped ones are dropped. At times the swarm is killed for it."""
    if history.outside is not None:
        return False
    if history.rng.random() < 0.3:
        all_die(history)
    if history.broker.owner is not None and (history.owner is None or history.owner.dead or history.owner.stopped):
        history.broker.owner = None
    return history.broker.owner is None


def reset(history: History) -> None:
    if is_empty(history):
        target = int(history.rng.random() * (history.broker.log.end + 1))
        history.broker.reset(target, history.now, (None, "")[int(history.rng.random() * 2)])


def reset_keeps_metadata(history: History) -> None:
    """With a tool that writes back what it has read, to below what the last owner has seen, whichever machine it was.

    Back to where the group stands already would be no change at the broker, and nobody could see it.
    """
    notes = [note for memory in (history.notes, history.elsewhere) if (note := memory.newest()) is not None]
    seen, kept = min((note.committed or 0 for note in notes), default=0), history.broker.committed
    if kept is not None and seen and is_empty(history):
        target = int(history.rng.random() * seen)
        if target <= history.broker.log.end:
            history.broker.reset(target, history.now, kept.metadata)


def outsider(history: History) -> None:
    if is_empty(history):
        kept = history.broker.committed
        start = 0 if kept is None or not history.broker.log.holds(kept.offset, kept.epoch) else kept.offset
        history.broker.start_at(start, None if kept is None else kept.epoch, kept)
        history.outside, history.broker.owner, history.owner = [start], object(), None


def outside_step(history: History, at: list[int]) -> None:
    broker, pick = history.broker, history.rng.random
    log = broker.log
    metadata = (None, "", "outside", f"{CLAIM_PREFIX}other")[int(pick() * 4)]
    if at[0] > log.end:
        at[0] = 0
    if pick() < 0.3:
        history.outside, broker.owner = None, None
    elif pick() < 0.2:
        at[0] = int(pick() * (log.end + 1))  # forwards or back
        broker.reset(at[0], history.now, metadata)
    else:
        until = min(log.end, at[0] + int(pick() * 4))
        log.excuse(at[0])  # it may have met a new topic without knowing
        for record in log.records[at[0] : until]:
            log.handled(record, history.now)
        at[0] = until
        if pick() < 0.6:
            epoch = log.records[until - 1].leader_epoch() if until else None
            broker.keep(Kept(until, metadata, epoch, log, log.cuts))


def recreate(history: History) -> None:
    history.broker.recreate(int(history.rng.random() * 30))
    if not history.has("late"):
        history.broker.forget()


def late(history: History) -> None:
    """The broker drops the offsets of a topic that is gone."""
    kept = history.broker.committed
    if kept is not None and kept.log is not history.broker.log:
        history.broker.forget()


def cut(history: History) -> None:
    log = history.broker.log
    log.cut(int(history.rng.random() * (log.end + 1)))
    log.append(int(history.rng.random() * 8))


def revert(history: History) -> None:
    """The broker loses its last commit."""
    broker = history.broker
    if broker.earlier:
        broker.committed = broker.earlier.pop()
        if broker.committed.log is broker.log:
            broker.log.wanted_no_more()
            broker.log.excuse(broker.committed.offset)


def full(history: History) -> None:
    history.notes.full = not history.notes.full


def gap(history: History) -> None:
    history.now += MINUTES_11


def reboot(history: History) -> None:
    all_die(history)
    history.now = 10**9
    if isinstance(history.notes, Mapped) or history.rng.random() < 0.5:
        history.notes.wipe()


def scribble(history: History) -> None:
    history.notes.scribble()


def supervisor(history: History) -> None:
    all_die(history)
    history.generations = [0, 0]
    if history.rng.random() < 0.5:  # the memory was not in a file
        history.notes.wipe()
    else:
        history.notes.another_supervisor()


def all_die(history: History) -> None:
    for life in history.lives:
        if life is not None:
            history.kill(life)


FAULTS: dict[str, Callable[[History], None]] = {
    one.__name__.replace("_", " "): one
    for one in (
        kill, stop, revoke, expire, reset, reset_keeps_metadata, outsider, recreate, late, cut, revert, full, gap,
        reboot, scribble, supervisor,
    )
}  # fmt: skip
"""Features that are events; the others are how lives and the network behave."""
