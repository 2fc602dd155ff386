"""Epitaphs: what the supervisor writes about each end of a process, and which ends are no crash."""

from __future__ import annotations

import os
import signal

import pytest

from swarm_cli.epitaphs import EXCUSED_ALONE, MOST_EXCUSED, MOST_ONCE, Epitaphs, stack_of_handlers, verdict_of
from swarm_consumer.progress import Epitaph, InHand, ProgressMemory, Suspects, Verdict
from swarm_health import Status
from swarm_supervisor.events import End, NodeExited, NodeStopping, StacksDumped

TABLE = [
    (End.GRACEFUL, "shutdown", 0, Verdict.IN_ORDER),
    (End.GRACEFUL, "replaced", 0, Verdict.IN_ORDER),
    (End.GRACEFUL, "aborted", 0, Verdict.IN_ORDER),
    (End.GRACEFUL, "memory", Status.MEMORY, Verdict.IN_ORDER),
    (End.GRACEFUL, "unhealthy", Status.CONSUMING, Verdict.IN_ORDER),
    (End.OVERRAN, "shutdown", 0, Verdict.IN_ORDER),
    (End.OVERRAN, "scaled down", 0, Verdict.IN_ORDER),
    (End.OVERRAN, "replaced", 0, Verdict.IN_ORDER),
    (End.OVERRAN, "operator", 0, Verdict.IN_ORDER),
    (End.OVERRAN, "memory", Status.MEMORY, Verdict.SUSPECT),
    (End.OVERRAN, "replaced", Status.MEMORY, Verdict.SUSPECT),  # a spare takes over from a node over its limit
    (End.HUNG, "silent", -1, Verdict.HUNG),
    (End.HUNG, "unhealthy", Status.CONSUMING, Verdict.HUNG),
    (End.HUNG, "unhealthy", Status.POLLING, Verdict.SUSPECT),
    (End.HUNG, "unhealthy", Status.STABILITY, Verdict.SUSPECT),
    (End.HUNG, "unhealthy", 77, Verdict.SUSPECT),
    (End.ON_ITS_OWN, "", 0, Verdict.COUNTS),
    (End.ON_ITS_OWN, "shutdown", 0, Verdict.COUNTS),
    (End.KILLED, "", 0, Verdict.SUSPECT),
    (End.OUT_OF_MEMORY, "", 0, Verdict.COUNTS),
    (End.UNKNOWN, "", 0, Verdict.SUSPECT),
]


@pytest.mark.parametrize(("end", "cause", "status", "verdict"), TABLE)
def test_what_an_end_says(end, cause, status, verdict):
    assert verdict_of(end, cause, status) is verdict


def test_every_end_has_its_row():
    assert {end for end, *_ in TABLE} == set(End)


class Memory:
    """What the listener writes, and what it finds in hand."""

    def __init__(self):
        self.written, self.notes = {}, []

    def epitaph(self, node_id, generation, epitaph):
        self.written[node_id, generation] = epitaph

    def in_hand(self, node_id, generation):
        return self.notes


class Bench:
    def __init__(self):
        self.memory, self.excused = Memory(), []
        self.epitaphs = Epitaphs(self.memory, lambda *given: self.excused.append(given))
        self.generation = 0

    def ends(self, *, notes=(), code=None, by=signal.SIGSEGV, status=None, stack="", planned=False, **fields):
        """One life; whether its end was excused."""
        self.generation += 1
        life = {"at": 0.0, "node_id": 4, "generation": self.generation, "pid": 1}
        before = len(self.excused)
        self.memory.notes = list(notes)
        if status is not None:
            self.epitaphs.stopping(NodeStopping(**life, status=status, reason="x", uptime_s=1.0))
        if stack:
            self.epitaphs.dumped(StacksDumped(**life, text=stack))
        text = f"exit code {code}" if code is not None else f"killed by {signal.Signals(by).name}"
        by = None if code is not None else int(by)
        given = {"uptime_s": 1.0, "planned": planned, "reason": "", **fields}
        self.epitaphs.exited(NodeExited(**life, code=code, signal=by, status=text, **given))
        return len(self.excused) > before

    @property
    def last(self):
        return self.memory.written[4, self.generation]


def test_an_end_is_written_with_its_reason():
    bench = Bench()
    bench.ends()
    assert bench.last == Epitaph(Verdict.COUNTS, "killed by SIGSEGV")
    bench.ends(code=7, reason="it said so")
    assert bench.last == Epitaph(Verdict.COUNTS, "exit code 7: it said so")
    bench.ends(by=signal.SIGKILL, oom=True)
    assert bench.last.verdict is Verdict.COUNTS
    bench.ends(by=signal.SIGKILL)
    assert bench.last.verdict is Verdict.SUSPECT


DUMP = """Thread 0x1 (most recent call first):
  File "/a/owner.py", line 3 in poll
  File "/a/threading.py", line 4 in run

Thread 0x2 (most recent call first):
  File "/mine/app.py", line 7 in parse
  File "/mine/app.py", line 9 in consume
  File "/a/execution.py", line 11 in _reach
  File "/a/workers.py", line 12 in _work
"""


def test_a_hang_has_the_stack_of_its_handler():
    bench = Bench()
    bench.ends(by=signal.SIGKILL, cause="silent", killed=True, status=-1, stack=DUMP)
    assert bench.last.verdict is Verdict.HUNG
    assert bench.last.stack.splitlines() == DUMP.splitlines()[4:7]
    bench.ends(code=4, cause="unhealthy", status=Status.CONSUMING, stack="no handler here")
    assert bench.last == Epitaph(Verdict.HUNG, "exit code 4", "no handler here")
    bench.ends(stack=DUMP)
    assert bench.last.stack == ""
    assert not bench.epitaphs._stacks
    assert not bench.epitaphs._status


def test_two_handlers_are_both_shown():
    twice = f"{DUMP}\n{DUMP}"
    assert stack_of_handlers(twice).count("in consume") == 2
    assert "_work" not in stack_of_handlers(twice)


def alone(offset, deaths_alone=0):
    suspects = Suspects(offset, offset, culprit=offset if deaths_alone else None, deaths_alone=deaths_alone)
    return InHand(offset, offset, 1, alone=True), suspects


COMPANY = InHand(0, 99, 1, alone=False), None


def test_deaths_of_one_message_alone_are_excused_at_first():
    bench = Bench()
    found = [bench.ends(notes=[alone(5, before)]) for before in range(5)]
    assert found == [True] * EXCUSED_ALONE + [False] * (5 - EXCUSED_ALONE)


def test_hangs_that_do_not_count_are_not_excused_for_ever():
    bench = Bench()
    hang = {"cause": "unhealthy", "status": Status.CONSUMING, "by": signal.SIGKILL, "killed": True}
    found = [bench.ends(notes=[alone(5)], **hang) for _ in range(6)]
    assert found == [True] * EXCUSED_ALONE + [False] * (6 - EXCUSED_ALONE)
    assert bench.ends(notes=[alone(6)], **hang), "another message"


def test_a_program_that_dies_after_a_time_whatever_is_in_hand_is_a_crash_loop():
    """What was in hand is handed out alone, one message after another, and each is the first death of its message."""
    bench = Bench()
    bench.ends(notes=[COMPANY])
    found = [bench.ends(notes=[alone(offset)]) for offset in range(0, 60, 3)]
    assert found == [True] * MOST_ONCE + [False] * (20 - MOST_ONCE)
    assert bench.ends(notes=[alone(57, 1)]), "this one has done it twice"
    assert bench.ends(notes=[alone(58)])


def test_what_is_known_of_excuses_has_a_bound():
    bench = Bench()
    for offset in range(MOST_EXCUSED + 5):
        assert bench.ends(notes=[alone(offset)])
        assert bench.ends(notes=[alone(offset, 1)])
    assert len(bench.epitaphs._excused) == MOST_EXCUSED
    assert (4, MOST_EXCUSED + 4) in bench.epitaphs._excused


def test_each_message_that_was_found_explains_one_more_death_in_company():
    bench = Bench()
    assert not bench.ends(notes=[COMPANY]), "the first one may be anything"
    for offset in (5, 55, 70):
        assert bench.ends(notes=[alone(offset)])
        assert bench.ends(notes=[alone(offset, 1)])
        assert bench.ends(notes=[COMPANY, COMPANY])
    assert not bench.ends(notes=[COMPANY])


@pytest.mark.parametrize(
    "fields",
    [
        {"notes": []},  # a tick, a thread of its own
        {"notes": [alone(5)], "by": signal.SIGKILL},
        {"notes": [alone(5)], "code": 0, "cause": "shutdown", "planned": True},
        {"notes": [(InHand(0, 3, 1, alone=True), None)]},
        {"notes": [alone(5), COMPANY]},
    ],
)
def test_other_ends_are_not_excused(fields):
    assert not Bench().ends(**fields)


def test_a_crash_of_a_hook_every_time_is_a_crash_loop_however_many_messages_are_in_hand():
    bench = Bench()
    assert not any(bench.ends(notes=[COMPANY]) for _ in range(10))


def test_what_a_life_had_in_hand_is_read_from_its_memory():
    memory = ProgressMemory(2, partitions=8)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            life = memory.of_life(1, 3)
            first, second = (life.claim("scope", ("flights", number)) for number in (0, 1))
            first.suspect(Suspects(5, 9, in_company=True, life=(0, 1)))
            first.begin(5, 5, 1, alone=True)
            second.begin(0, 9, 1, alone=False)
            second.end(handled=True)
            second.settle()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert memory.in_hand(1, 3) == [(InHand(5, 5, 1, alone=True), Suspects(5, 9, in_company=True, life=(0, 1)))]
    assert memory.in_hand(1, 2) == memory.in_hand(0, 3) == memory.in_hand(99, 1) == []
    memory.close()
