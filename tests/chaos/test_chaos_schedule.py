"""A schedule follows from its seed, holds every kind, and every kind can be done."""

from itertools import islice

from benchmarks.chaos import faults as ways
from benchmarks.chaos.schedule import KINDS, Times, faults


def test_a_seed_gives_the_same_schedule_every_time() -> None:
    assert list(islice(faults(7), 100)) == list(islice(faults(7), 100))
    assert list(islice(faults(7), 100)) != list(islice(faults(8), 100))


def test_every_kind_comes_in_each_round() -> None:
    usual = [kind for kind in KINDS.values() if not kind.asked]
    length = sum(kind.weight for kind in usual)
    drawn = list(islice(faults(1), 3 * length))
    for start in range(0, 3 * length, length):
        assert {fault.kind.name for fault in drawn[start : start + length]} == {kind.name for kind in usual}
    assert len(KINDS) >= 10


def test_amounts_stay_within_their_kind() -> None:
    for fault in islice(faults(3), 500):
        low, high = fault.kind.hold_s
        assert low <= fault.hold_s <= high
        assert 0 <= fault.target < 1
        assert fault.kind.recovery_s(Times()) > 0


def test_only_some_kinds_can_be_asked_for() -> None:
    assert {fault.kind.name for fault in islice(faults(1, frozenset({"node-kill"})), 10)} == {"node-kill"}


def test_a_kind_that_leaves_something_behind_comes_only_when_it_is_asked_for() -> None:
    assert "scribble" in {fault.kind.name for fault in islice(faults(1, asked=frozenset({"scribble"})), 30)}
    assert {fault.kind.name for fault in islice(faults(1, frozenset({"scribble"})), 3)} == {"scribble"}


def test_without_notes_nothing_is_done_that_is_about_them() -> None:
    drawn = {fault.kind.name for fault in islice(faults(1, notes=False), 100)}
    assert drawn == {kind.name for kind in KINDS.values() if not kind.notes}


def test_every_kind_has_a_way_to_do_it() -> None:
    assert ways._FAULTS.keys() == KINDS.keys()
