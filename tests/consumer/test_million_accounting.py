"""How the million-message benchmark counts: it must see what it is there to see. Pure."""

from array import array

import pytest

from benchmarks.consumer_million import COMMIT_INTERVAL_S, GRACE_S, HEAD, ROW, Outage, judge, read_log

KEYS = [array("q", [0, 2, 4]), array("q", [1, 3])]
ALL = [(10.0, 0, 0, 0), (10.0, 0, 1, 2), (20.0, 0, 2, 4), (10.0, 1, 0, 1), (20.0, 1, 1, 3)]
COMMITTED = {0: 3, 1: 2}
KILLED = Outage("kill -9", 10.5, 10.6)


def test_everything_once_is_right():
    verdict = judge(KEYS, iter(ALL), [], COMMITTED)
    assert verdict.holds
    assert (verdict.sent, verdict.handled, verdict.lost, verdict.duplicates, verdict.bound) == (5, 5, 0, 0, 0)


def test_a_message_that_nobody_handled_is_lost():
    verdict = judge(KEYS, iter(ALL[1:]), [KILLED], COMMITTED)
    assert verdict.lost == 1
    assert not verdict.holds


def test_a_duplicate_needs_an_outage_right_after_it_was_handled_first():
    again = [*ALL, (30.0, 0, 1, 2)]
    explained = judge(KEYS, iter(again), [KILLED], COMMITTED)
    assert (explained.duplicates, explained.unexplained, explained.bound) == (1, 0, 3)
    assert explained.holds
    late = Outage("kill -9", 10.0 + COMMIT_INTERVAL_S + GRACE_S + 0.1, 12.2)
    for outages in ([], [late]):
        verdict = judge(KEYS, iter(again), outages, COMMITTED)
        assert (verdict.duplicates, verdict.unexplained) == (1, 1)
        assert not verdict.holds


@pytest.mark.parametrize(
    ("handled", "committed", "what"),
    [
        ([*ALL[:4], (20.0, 1, 1, 4)], COMMITTED, "wrong_keys"),
        ([*ALL, (21.0, 1, 2, 5)], COMMITTED, "foreign"),
        (ALL, {0: 3, 1: 1}, "uncommitted"),
        (ALL, {0: 3}, "uncommitted"),
    ],
)
def test_a_wrong_key_an_unknown_offset_and_a_missing_commit_are_seen(handled, committed, what):
    verdict = judge(KEYS, iter(handled), [], committed)
    assert getattr(verdict, what) > 0
    assert not verdict.holds


def test_a_last_write_that_was_cut_short_counts_as_far_as_it_came(tmp_path):
    log = tmp_path / "log"
    whole = HEAD.pack(1.5, 3, 2) + ROW.pack(7, 70) + ROW.pack(8, 80)
    for cut, expected in ((len(whole), 2), (len(whole) - 1, 1), (HEAD.size + ROW.size, 1), (HEAD.size - 1, 0)):
        log.write_bytes(whole + whole[:cut])
        assert list(read_log(log)) == [(1.5, 3, 7, 70), (1.5, 3, 8, 80)] * (1 + expected // 2) + [(1.5, 3, 7, 70)] * (
            expected % 2
        )
