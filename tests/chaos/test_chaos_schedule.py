"""A schedule follows from its seed, holds every kind, and every kind can be done."""

from itertools import islice

from benchmarks.chaos import faults as ways
from benchmarks.chaos.schedule import KINDS, Times, faults


def test_a_seed_gives_the_same_schedule_every_time() -> None:
    assert list(islice(faults(7), 100)) == list(islice(faults(7), 100))
    assert list(islice(faults(7), 100)) != list(islice(faults(8), 100))


def test_every_kind_comes_in_each_round() -> None:
    length = sum(kind.weight for kind in KINDS.values())
    drawn = list(islice(faults(1), 3 * length))
    for start in range(0, 3 * length, length):
        assert {fault.kind.name for fault in drawn[start : start + length]} == KINDS.keys()
    assert len(KINDS) >= 10


def test_amounts_stay_within_their_kind() -> None:
    for fault in islice(faults(3), 500):
        low, high = fault.kind.hold_s
        assert low <= fault.hold_s <= high
        assert 0 <= fault.target < 1
        assert fault.kind.recovery_s(Times()) > 0


def test_only_some_kinds_can_be_asked_for() -> None:
    assert {fault.kind.name for fault in islice(faults(1, frozenset({"node-kill"})), 10)} == {"node-kill"}


def test_every_kind_has_a_way_to_do_it() -> None:
    assert ways._FAULTS.keys() == KINDS.keys()
