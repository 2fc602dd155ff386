"""The bounds of a death: what may be repeated, how long a partition may be silent, and what is not judged."""

import mmap
import random
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.canary import Canary
from benchmarks.chaos.deaths import Death, deaths_of, problems, verdicts
from benchmarks.chaos.faults import Injected
from benchmarks.chaos.ledger import Account, Bound, Cause, Ledger, Silence, Span
from benchmarks.chaos.liar import Liar
from benchmarks.chaos.processes import wait_until
from benchmarks.chaos.records import BatchBegun, Continued, Handled, NoteRefused, Numbered, parse
from benchmarks.chaos.run import OTHERS_HEAR_S, Plan
from benchmarks.chaos.schedule import JOIN_S
from benchmarks.chaos.scribble import HITS_A_PAGE, LEAST_BYTES, in_use, mapped, scribble
from swarm_consumer._scheduling.take_over import refusal
from swarm_consumer.progress import Epitaph, InHand, Remembered, Suspects
from swarm_supervisor.events import End

BATCH, RECORDS = 10, 200
DEAD, NEXT = 100, 200


def account(*, back: int, kept: bool = True, refused: bool = False, spoilt: bool = False, held_s: float = 10.0,
            died: bool = True, outage: bool = False) -> Account:  # fmt: skip
    """A process dies in its eleventh batch, after five of its records; the next one goes back so many records."""
    ledger = Ledger(Bound(uncommitted_s=1.5, held=500))
    records = [Numbered("k", offset, 1) for offset in range(RECORDS)]
    for offset, record in enumerate(records):
        ledger.produced(0, offset, record, 0.0)
    step = held_s / 10

    def batch(pid: int, first: int, last: int, at: float, done: int = BATCH) -> None:
        ledger.batch(BatchBegun(at, pid, 0, pid, 0, first, last))
        for offset in range(first, first + done):
            ledger.handled(Handled(at + 0.001, pid, 0, offset, records[offset]))

    for number in range(10):
        batch(DEAD, number * BATCH, number * BATCH + BATCH - 1, 1.0 + number * step)
    died_at = 1.0 + held_s + 0.1
    batch(DEAD, 100, 109, died_at - 0.05, done=5)
    if outage:
        ledger.commits_stop(died_at - 0.5)
        ledger.commits_resume(died_at)
    if died:
        ledger.died(DEAD, died_at, kept=kept)
    if spoilt:
        ledger.spoilt([DEAD])
    if refused:
        ledger.refuses(NoteRefused(died_at + 0.4, NEXT, 0, "the note is older than ten minutes"))
    for first in range(105 - back, RECORDS, BATCH):
        last = min(first + BATCH, RECORDS) - 1
        batch(NEXT, first, last, died_at + 0.5 + first / 1000, done=last - first + 1)
    return ledger.account()


@pytest.mark.parametrize(
    ("made", "cause", "out_of_bounds"),
    [
        (account(back=5), Cause.KEPT, 0),
        (account(back=6), Cause.KEPT, 1),
        (account(back=15), Cause.KEPT, 1),
        (account(back=25, refused=True), Cause.REFUSED, 1),  # work of 2 s before is beyond the commits, too
        (account(back=6, refused=True), Cause.REFUSED, 0),
        (account(back=6, kept=False), Cause.GONE, 0),
        (account(back=6, spoilt=True), Cause.GONE, 0),
        (account(back=25, kept=False), Cause.GONE, 1),
        (account(back=6, held_s=1.0), Cause.YOUNG, 0),
        (account(back=6, outage=True), Cause.YOUNG, 0),
        (account(back=6, died=False), Cause.OTHER, 0),
    ],
)
def test_what_may_be_repeated_follows_from_what_was_left(made: Account, cause: Cause, out_of_bounds: int) -> None:
    (replay,) = made.replays
    assert replay.cause == cause
    assert len(made.out_of_bounds) == out_of_bounds, made.out_of_bounds
    assert not made.lost


def test_a_record_that_was_given_up_is_not_lost_and_must_not_be_handled_too() -> None:
    ledger = Ledger(Bound(1.0, 500))
    for offset in range(3):
        ledger.produced(0, offset, Numbered("k", offset, 1), 0.0)
    ledger.batch(BatchBegun(1.0, 1, 0, 1, 0, 0, 2))
    ledger.handled(Handled(1.0, 1, 0, 0, Numbered("k", 0, 1)))
    ledger.handled(Handled(1.0, 1, 0, 2, Numbered("k", 2, 1)))
    assert [one.offset for one in ledger.account().lost] == [1]
    ledger.lettered(0, 1)
    assert ledger.progress() == (3, 3)
    assert ledger.account().clean
    assert ledger.account().letters == 1
    ledger.lettered(0, 2)
    assert [one.offset for one in ledger.account().corrupted] == [2]


def test_what_a_new_owner_says_of_notes_is_counted() -> None:
    for one in (Continued(1.5, 2, 3, 40, 30), NoteRefused(1.5, 2, 3, "it is old: by ten minutes")):
        assert parse(one.line()) == one
    ledger = Ledger(Bound(1.0, 500))
    ledger.continues(Continued(1.5, 2, 3, 40, 30))
    ledger.refuses(NoteRefused(1.5, 2, 3, "old"))
    made = ledger.account()
    assert (made.continued, made.refusals) == (1, {"old": 1})


# -- silences ----------------------------------------------------------------------------------------------------------


def exited(at: float, **more: Any) -> dict[str, Any]:
    return {
        "event": "NodeExited", "at": at, "node_id": 1, "generation": 2, "pid": DEAD, "code": None, "signal": 9,
        "status": "killed by SIGKILL", "uptime_s": 5.0, "planned": False, "reason": "", "cause": "", "oom": False,
        "killed": False, "severity": 30, **more,
    }  # fmt: skip


def restarting(at: float, delay_s: float, node: int = 1) -> dict[str, Any]:
    return {"event": "NodeRestarting", "at": at, "node_id": node, "delay_s": delay_s, "attempt": 1, "reason": ""}


def test_deaths_are_those_that_gave_nothing_up_each_with_the_delay_of_its_restart() -> None:
    told = [
        exited(1.0), restarting(1.0, 0.5, node=0), restarting(1.0, 2.0),
        exited(5.0, code=0, signal=None, cause="shutdown"),
        exited(6.0, code=None, signal=9, killed=True, cause="silent"),
    ]  # fmt: skip
    assert deaths_of(told) == [Death(1.0, DEAD, 1, End.KILLED, 2.0), Death(6.0, DEAD, 1, End.HUNG, None)]


def fault(kind: str = "node-kill", started: float = 9.9, recovered: float = 14.0) -> Injected:
    return Injected(kind, started, seen_at=started, healed_at=started + 0.1, recovered_at=recovered)


def judge(
    silences: list[tuple[float, float]], faults: list[Injected], slower: float | None = 1.0, *more: Death
) -> list[Any]:
    deaths = [Death(10.0, DEAD, 1, End.KILLED, 2.0), *more]
    found = [Silence(3, Span(start, end)) for start, end in silences]
    return verdicts(deaths, found, faults, join_s=1.5, slowness=lambda start, end: slower)


@pytest.mark.parametrize(
    ("end", "slower", "wrong"),
    [(13.4, 1.0, False), (13.6, 1.0, True), (13.6, 2.0, False), (15.1, 2.0, True)],
)
def test_a_partition_is_back_after_the_delay_and_the_join_on_a_machine_of_this_speed(
    end: float, slower: float, wrong: bool
) -> None:
    found = judge([(9.8, end), (3.0, 9.0)], [fault()], slower)
    assert [one.wrong for one in found] == [wrong]
    assert found[0].silence_s == pytest.approx(end - 10.0)
    assert len(problems(found)) == wrong


@pytest.mark.parametrize(
    ("faults", "slower"),
    [
        ([fault(), fault("broker-stop", 11.0)], 1.0),  # something else as well
        ([fault("broker-kill")], 1.0),  # no sudden death alone
        ([], 1.0),
        ([fault()], None),  # no one knows how slow the machine was
    ],
)
def test_what_cannot_be_judged_is_not_said_to_hold(faults: list[Injected], slower: float | None) -> None:
    (found,) = judge([(9.8, 60.0)], faults, slower)
    assert found.bound_s is None
    assert not found.wrong


def test_a_further_death_begins_the_time_again() -> None:
    later = Death(12.0, DEAD + 1, 1, End.ON_ITS_OWN, 4.0)
    assert [one.wrong for one in judge([(9.8, 17.0)], [fault()], 1.0, later)] == [False, False]
    assert [one.wrong for one in judge([(9.8, 18.0)], [fault()], 1.0, later)] == [True, True]


def test_a_silence_counts_that_begins_with_the_first_record_after_the_death() -> None:
    (found,) = judge([(10.02, 13.6)], [fault()])
    assert found.wrong
    assert found.silence_s == pytest.approx(3.6)
    assert judge([(10.6, 13.6)], [fault()])[0].silence_s is None


def test_no_silence_is_no_figure() -> None:
    (found,) = judge([], [fault()])
    assert found.silence_s is None
    assert found.bound_s == pytest.approx(3.5)


def test_the_canary_says_how_slow_the_machine_was_or_that_it_does_not_know() -> None:
    canary = Canary()
    for at, slowness in ((1.0, 0.9), (2.0, 3.0), (3.0, 5.0)):
        canary.tell(at, slowness)
    assert canary.slowness(0.5, 1.5) == 1.0
    assert canary.slowness(1.5, 3.5) == 4.0
    assert canary.slowness(4.0, 5.0) is None


# -- lies and scribbles ------------------------------------------------------------------------------------------------


class Honest:
    def __init__(self, note: Remembered) -> None:
        self.note = note

    def recall(self, scope: str, keys: Any) -> Any:
        return dict.fromkeys(keys, self.note)

    def handled(self, scope: str) -> int:
        return 7


def test_no_lie_that_is_believed_passes_what_was_not_done() -> None:
    """A position beyond the real one is never told under the very token: that could not be found out by anyone."""
    done, token = 1000, "swarm:1.2"
    note = Remembered(
        life=(1, 2), token=token, position=done, leader_epoch=None, committed=900, written_ns=5, released=False,
        complete=True, in_hand=InHand(1000, 1010, 1, False), suspects=None, letters=0, epitaph=Epitaph(),
        story=Epitaph(),
    )  # fmt: skip
    honest: Any = Honest(note)
    liar = Liar(honest, random.Random(1))
    assert liar.handled("g") == 7
    kinds = set()
    for _ in range(5000):
        told = liar.recall("g", [("t", 0)]).get(("t", 0))
        kinds.add(None if told is None else (told.token == token, told.position))
        if told is None:
            continue
        if refusal(told, 900, token, now_ns=10**18) is None:
            assert told.position is not None
            assert told.position <= done
        for suspects in (told.suspects,):
            assert suspects is None or (isinstance(suspects, Suspects) and suspects.deaths_alone == 0)
    assert len(kinds) > 100


def test_the_mapping_of_notes_is_found_among_those_of_a_process() -> None:
    lines = [
        "7f00-7f10 r--p 00000000 00:0e 1 /usr/lib/libc.so.6",
        "10000000-10001000 rw-s 00000000 00:01 7 /dev/zero (deleted)",
        "20000000-20400000 rw-s 00000000 00:01 8 /dev/zero (deleted)",
    ]
    assert mapped(lines) == (0x20000000, 0x20400000)
    with pytest.raises(LookupError):
        mapped(lines[:2])


def test_only_pages_in_use_are_scribbled_over_and_not_the_first() -> None:
    with mmap.mmap(-1, 2 * LEAST_BYTES) as notes:
        notes[0] = notes[5 * mmap.PAGESIZE] = 1
        lines = Path("/proc/self/maps").read_text().splitlines()
        start, end = mapped(lines)
        assert end - start >= 2 * LEAST_BYTES
        assert in_use(start, end)[:2] == [start, start + 5 * mmap.PAGESIZE]
        assert scribble(random.Random(1)) == HITS_A_PAGE
        assert notes[: mmap.PAGESIZE] == b"\1" + bytes(mmap.PAGESIZE - 1)
        assert notes[5 * mmap.PAGESIZE : 6 * mmap.PAGESIZE].count(0) < mmap.PAGESIZE - HITS_A_PAGE
        assert not any(notes[6 * mmap.PAGESIZE :])


def test_the_canary_works_until_it_is_told_to_end() -> None:
    canary = Canary()
    began = time.monotonic()
    canary.start()
    try:
        assert wait_until(lambda: canary.slowness(began, time.monotonic()), 30.0, 0.05)
    finally:
        canary.close()


@pytest.mark.parametrize(
    ("plan", "away", "static"),
    [
        (Plan(minutes=1, seed=1), JOIN_S, True),
        (Plan(minutes=1, seed=1, memory="off"), JOIN_S, True),  # a static member needs no notes
        (Plan(minutes=1, seed=1, membership="dynamic"), OTHERS_HEAR_S + JOIN_S, False),
        (Plan(minutes=1, seed=1, membership="dynamic", memory="off"), 45.0 + JOIN_S, False),
        (Plan(minutes=1, seed=1, protocol="consumer"), OTHERS_HEAR_S + JOIN_S, False),
        (Plan(minutes=1, seed=1, protocol="consumer", lies=True), 45.0 + JOIN_S, False),
        (Plan(minutes=1, seed=1, static=True), JOIN_S, True),
    ],
)
def test_what_partitions_wait_for_follows_from_the_plan(plan: Plan, away: float, static: bool) -> None:
    assert plan.waits().away == away
    assert plan.static_ids == static
    assert plan.kept == (plan.memory != "off" and not plan.lies)
