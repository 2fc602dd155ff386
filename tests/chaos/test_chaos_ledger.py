"""The ledger is proven before it is believed: it must flag whoever drops, doubles, reorders or replays too much.

A small model of a swarm (nodes that take batches from a partition, commit now and then, die, stand still) feeds it;
an honest one must come out clean under every fault of its nodes, a dishonest one must not.
"""

import random
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.chaos.ledger import Account, Bound, Ledger
from benchmarks.chaos.records import BatchBegun, Handled, Misbehaved, Numbered, decode, encode, parse

BATCH = 10
COMMIT_S = 1.0
BOUND = Bound(uncommitted_s=COMMIT_S + 0.5, held=3 * BATCH)

Handler = Callable[[list[int]], Iterable[int]]
"""What a handler makes of the offsets of a batch: those that it handles, in its order."""


def honest(offsets: list[int]) -> Iterable[int]:
    return offsets


@dataclass
class Node:
    pid: int
    position: int
    batch: list[int] = field(default_factory=list)
    done: int = 0


class Model:
    """One partition with two keys, its broker, and the nodes that handle it."""

    def __init__(self, records: int, handler: Handler = honest) -> None:
        self.ledger = Ledger(BOUND)
        self.handler = handler
        self.now = 0.0
        self.committed = 0
        self.committed_at = 0.0
        self.pids = 100
        self.records = [self._numbered(offset) for offset in range(records)]
        for offset, record in enumerate(self.records):
            self.ledger.produced(0, offset, record, 0.0)
        self.owner = self.start()

    @staticmethod
    def _numbered(offset: int) -> Numbered:
        return decode(encode(f"k{offset % 2}", offset // 2, b"filling"))

    def start(self) -> Node:
        """A new owner: it goes on at what is committed."""
        self.pids += 1
        self.owner = Node(self.pids, self.committed)
        return self.owner

    def begin(self, node: Node) -> bool:
        offsets = list(range(node.position, min(node.position + BATCH, len(self.records))))
        if not offsets:
            return False
        self.now += 0.01
        self.ledger.batch(BatchBegun(self.now, node.pid, 0, node.pid, 0, offsets[0], offsets[-1]))
        node.batch, node.done = list(self.handler(offsets)), 0
        return True

    def handle(self, node: Node, most: int = 1 << 30) -> None:
        """Handle so many of the batch; store it and perhaps commit when it is done."""
        while node.done < len(node.batch) and most > 0:
            offset = node.batch[node.done]
            node.done += 1
            most -= 1
            self.now += 0.01
            self.ledger.handled(Handled(self.now, node.pid, 0, offset, self.records[offset]))
        if node.done == len(node.batch):
            node.position = min(node.position - node.position % BATCH + BATCH, len(self.records))
            node.batch = []
            if node is self.owner and self.now - self.committed_at >= COMMIT_S:
                self.commit(node.position)

    def commit(self, offset: int) -> None:
        self.committed, self.committed_at = offset, self.now
        self.ledger.committed(0, offset, self.now)

    def fail_batch(self, node: Node) -> None:
        """The handler raised: the batch comes again."""
        node.batch = []

    def finish(self) -> Account:
        while self.begin(self.owner):
            self.handle(self.owner)
        return self.ledger.account()


def test_an_honest_handler_is_clean() -> None:
    account = Model(300).finish()
    assert account.clean
    assert (account.produced, account.handled, account.duplicates, account.times) == (300, 300, 0, {1: 300})


def drops(offsets: list[int]) -> Iterable[int]:
    return [offset for offset in offsets if offset != 42]


def doubles(offsets: list[int]) -> Iterable[int]:
    return [offset for offset in offsets for _ in range(2 if offset == 42 else 1)]


def reverses(offsets: list[int]) -> Iterable[int]:
    return reversed(offsets) if 42 in offsets else offsets


def swaps_over_batches(offsets: list[int]) -> Iterable[int]:
    """A record of this batch is handled in the next one."""
    kept = [offset for offset in offsets if offset != 42]
    return [42, *kept] if offsets[0] == 50 else kept


def test_a_handler_that_drops_is_flagged() -> None:
    account = Model(300, drops).finish()
    assert [(one.partition, one.offset) for one in account.lost] == [(0, 42)]
    assert not account.reordered
    assert not account.out_of_bounds


def test_a_handler_that_doubles_is_flagged() -> None:
    account = Model(300, doubles).finish()
    assert account.duplicates == 1
    assert [one.offset for one in account.out_of_bounds] == [42]
    assert not account.lost
    assert not account.reordered


def test_a_handler_that_reverses_a_batch_is_flagged() -> None:
    account = Model(300, reverses).finish()
    assert {one.offset for one in account.reordered} >= {40, 41, 42, 46, 47}
    assert not account.lost


def test_a_handler_that_puts_a_record_off_is_flagged() -> None:
    account = Model(300, swaps_over_batches).finish()
    assert [one.offset for one in account.reordered] == [42]
    assert "after k0 24" in str(account.reordered[0])
    assert not account.lost


def test_a_changed_record_is_flagged() -> None:
    model = Model(30)
    model.records[7] = Numbered("k1", 3, zlib.crc32(b"something else"))
    account = model.finish()
    assert [one.offset for one in account.corrupted] == [7]


def test_a_replay_from_the_last_commit_is_within_bounds() -> None:
    model = Model(300)
    for _ in range(17):  # a batch takes 0.11 s: the last commit is 0.77 s old
        model.begin(model.owner)
        model.handle(model.owner)
    model.begin(model.owner)
    model.handle(model.owner, 5)
    assert 0 < model.committed < 170
    again = 175 - model.committed
    model.start()
    account = model.finish()
    assert account.clean
    assert account.duplicates == again
    assert [(replay.first, replay.records, replay.late) for replay in account.replays] == [
        (model.ledger.account().replays[0].first, again, False)
    ]


def test_a_replay_of_what_was_seen_committed_is_flagged() -> None:
    model = Model(300)
    for _ in range(20):
        model.begin(model.owner)
        model.handle(model.owner)
    model.commit(200)
    model.start().position = 190
    account = model.finish()
    assert len(account.out_of_bounds) == 1
    assert "200 was committed" in str(account.out_of_bounds[0])


def test_a_replay_of_old_work_is_flagged_though_no_commit_was_seen() -> None:
    """Commits that never come: everything is done again, which is more than was in flight."""
    model = Model(600)
    model.committed_at = 1e9
    for _ in range(30):
        model.begin(model.owner)
        model.handle(model.owner)
    model.start()
    account = model.finish()
    assert len(account.out_of_bounds) == 1
    assert "commits come every" in str(account.out_of_bounds[0])


def test_a_replay_of_old_work_is_excused_while_nothing_could_be_committed() -> None:
    model = Model(600)
    model.committed_at = 1e9
    model.ledger.commits_stop(0.0)
    for _ in range(30):
        model.begin(model.owner)
        model.handle(model.owner)
    model.ledger.commits_resume(model.now)
    model.start()
    assert model.finish().clean


def test_a_commit_that_goes_back_is_flagged() -> None:
    model = Model(100)
    model.ledger.committed(0, 50, 1.0)
    model.ledger.committed(0, 40, 2.0)
    assert "went back from 50 to 40" in str(model.finish().out_of_bounds[0])


def test_the_rest_of_a_batch_in_flight_is_a_duplicate_within_bounds() -> None:
    """A stopped node goes on after its partition was given to another one."""
    model = Model(300)
    stopped = model.owner
    model.begin(stopped)
    model.handle(stopped, 4)
    owner = model.start()
    for _ in range(3):
        model.begin(owner)
        model.handle(owner)
    model.handle(stopped)
    account = model.finish()
    assert account.clean
    assert account.duplicates == 4 + 6
    assert [replay.late for replay in account.replays] == [False, True]


def test_a_former_owner_that_goes_on_and_on_is_flagged() -> None:
    model = Model(300)
    former = model.owner
    model.begin(former)
    model.handle(former)
    owner = model.start()
    for _ in range(20):
        model.begin(owner)
        model.handle(owner)
    for _ in range(6):
        model.begin(former)
        model.handle(former)
    account = model.finish()
    assert any("former owner" in str(one) for one in account.out_of_bounds)


def test_a_silence_is_counted_from_the_moment_when_there_was_something_to_handle() -> None:
    ledger = Ledger(BOUND)
    record = [Numbered("k", number, 1) for number in range(3)]
    for offset, (produced, handled) in enumerate(((0.0, 0.5), (5.0, 9.0), (9.0, 9.5))):
        ledger.produced(0, offset, record[offset], produced)
        ledger.handled(Handled(handled, 1, 0, offset, record[offset]))
    silence, *_ = ledger.account().silences  # the longest first
    assert (silence.partition, silence.span.start, silence.span.end) == (0, 5.0, 9.0)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_whatever_happens_to_honest_nodes_the_account_is_clean(seed: int, dishonest: bool) -> None:
    """Kills, failures and hand-overs to and from stopped nodes, at random: only a dishonest handler is flagged."""
    draw = random.Random(seed)
    model = Model(draw.randrange(100, 400), drops if dishonest else honest)
    stopped: list[Node] = []
    for _ in range(draw.randrange(60)):
        node = model.owner
        if not node.batch and not model.begin(node):
            break
        model.handle(node, draw.randrange(1, 2 * BATCH))
        what = draw.random()
        if what < 0.1:
            model.start()
        elif what < 0.2:
            model.fail_batch(node)
        elif what < 0.3 and node.batch:
            stopped.append(node)
            model.start()
        elif what < 0.4 and stopped:
            model.handle(stopped.pop())
    account = model.finish()
    assert [one.offset for one in account.lost] == ([42] if dishonest else [])
    assert not account.reordered
    assert not account.corrupted
    assert not account.out_of_bounds


def test_lines_of_the_log_survive_the_way_there_and_back() -> None:
    entries = [
        BatchBegun(1.25, 7, 0, 3, 5, 100, 199),
        Handled(1.5, 7, 5, 100, decode(encode("k1", 3, b"x"))),
        Misbehaved(2.0, 7, 0, "long=15"),
    ]
    assert [parse(entry.line()) for entry in entries] == entries
    for bad in ("", "R 1 2", "Q 1 2 3", "B 1 2 3 4 5 6 x"):
        with pytest.raises(ValueError, match=r"not a line|invalid literal"):
            parse(bad)


@pytest.mark.parametrize(("outage", "at", "clean"), [(False, 11.0, True), (False, 12.0, False), (True, 12.0, True)])
def test_a_commit_goes_back_to_lately_finished_work_at_most(outage: bool, at: float, clean: bool) -> None:
    ledger = Ledger(BOUND)
    for offset in range(4):
        record = Model._numbered(offset)
        ledger.produced(0, offset, record, 0.0)
        ledger.batch(BatchBegun(10.0 + offset / 10, 1, 0, 1, 0, offset, offset))
        ledger.handled(Handled(10.0 + offset / 10, 1, 0, offset, record))
    if outage:
        ledger.commits_stop(10.4)
        ledger.commits_resume(11.9)
    ledger.committed(0, 4, at - 0.1)
    ledger.committed(0, 1, at)
    assert ledger.account().clean == clean


@pytest.mark.parametrize(
    ("after_s", "then", "clean", "stale"),
    [
        (1.0, [4, 6], True, 1),  # it had not read all of its log
        (1.0, [1, 4], True, 1),  # asked twice meanwhile
        (1.0, [2], False, 0),  # nothing shows that the last commit is still there
        (1.0, [], False, 0),
        (60.0, [4], False, 0),  # it has been up for long
    ],
)
def test_only_a_broker_that_has_just_started_may_name_an_early_commit(
    after_s: float, then: list[int], clean: bool, stale: int
) -> None:
    ledger = Ledger(BOUND)
    for offset in range(6):
        record = Model._numbered(offset)
        ledger.produced(0, offset, record, 0.0)
        ledger.batch(BatchBegun(1.0 + offset, 1, 0, 1, 0, offset, offset))
        ledger.handled(Handled(1.0 + offset, 1, 0, offset, record))
    ledger.committed(0, 4, 90.0)
    ledger.broker_started(100.0)
    ledger.committed(0, 1, 100.0 + after_s)
    for number, offset in enumerate(then):
        ledger.committed(0, offset, 100.5 + after_s + number)
    account = ledger.account()
    assert (account.clean, account.stale_answers) == (clean, stale)
