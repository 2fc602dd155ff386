"""What random histories of crashes (`benchmarks/crashes`) find, and what they cannot tell.

50,000 of them are in test_crash_histories_even.py and _odd.py; `hatch run bench crash_histories` runs more.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.crashes import mapped, mutants, search
from benchmarks.crashes.history import HARMLESS, OTHERS, History
from swarm_consumer._scheduling.take_over import Refusal, refusal_by_end

COUNT = 5000
WITHIN = 6000


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32),
    without=st.sets(st.sampled_from(HARMLESS + OTHERS), max_size=len(HARMLESS + OTHERS) - 3),
)
def test_nothing_is_passed_whatever_is_left_out(seed: int, without: set[str]):
    """Hypothesis leaves features out and finds the smallest seed: what it reports, `search.course` tells."""
    with mapped.clocked():
        assert search.breaks(seed, without=frozenset(without)) is None


def test_a_seed_says_all():
    with mapped.clocked():
        assert [search.course(seed) for seed in range(40)] == [search.course(seed) for seed in range(40)]


# -- the rules -------------------------------------------------------------------------------------------------------

ALONE = {
    Refusal.WENT_BACK: ("kill", "reset keeps metadata"),
    Refusal.NO_POSITION: ("kill",),
    Refusal.OTHER_COMMIT: ("kill", "reset"),
    Refusal.APPLICATION_METADATA: ("kill", "outsider"),
}
"""Without one of these, something is lost, with these features. The last two are one rule, the token."""

SECOND_LOCKS = {
    Refusal.OTHER_BOOT: (Refusal.OTHER_COMMIT, ("reboot", "reset", "outsider", "answer lost")),
    Refusal.COMMIT_GONE: (Refusal.OTHER_COMMIT, ("kill", "recreate")),
    Refusal.RELEASED: (Refusal.NO_POSITION, ("kill", "revoke")),
    Refusal.AS_FAR: (Refusal.OTHER_COMMIT, ("kill", "outsider")),
    Refusal.INCOMPLETE: (Refusal.OTHER_COMMIT, ("kill", "full", "seek")),
    Refusal.NO_COMMIT_SEEN: (Refusal.OTHER_COMMIT, ("kill", "recreate")),
    Refusal.TOO_OLD: (Refusal.OTHER_COMMIT, ("kill", "gap", "reset")),
}
"""Each of these is behind another rule, mostly the token: to get past that, the token of a claim must be committed
beside an offset that is not the claim's. So it is taken away too: then there are histories in which this rule is all
that is left, with these features."""


BY_END = {Refusal.BEYOND_END: ("kill", "cut", "latest", "unanswered"), Refusal.END_UNKNOWN: ("kill", "unanswered")}
"""The same of the second question, which follows where the first one is passed."""


def test_every_rule_is_looked_at():
    assert ALONE.keys() | SECOND_LOCKS.keys() | BY_END.keys() == set(Refusal)


@pytest.mark.parametrize("rule", BY_END)
def test_a_rule_about_the_end_is_missed(rule: Refusal):
    judge, features = mutants.without(rule, of=refusal_by_end), frozenset(BY_END[rule])
    assert search.first(range(WITHIN), judge_end=judge, features=features) is not None
    assert search.first(range(200), features=features) is None


@pytest.mark.parametrize("rule", ALONE)
def test_a_rule_that_is_taken_away_is_missed(rule: Refusal):
    assert search.first(range(WITHIN), judge=mutants.without(rule), features=frozenset(ALONE[rule])) is not None


@pytest.mark.parametrize("rule", SECOND_LOCKS)
def test_a_rule_behind_another_one_holds_where_that_is_taken_away(rule: Refusal):
    other, features = SECOND_LOCKS[rule]
    both, one = mutants.without(rule, other), mutants.without(other)
    assert search.second_lock(range(WITHIN), both, one, frozenset(features)) is not None


# -- those who write and keep the notes --------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", mutants.WRITERS)
def test_a_fault_of_what_writes_the_notes_is_found(fault: str):
    with mutants.writing(fault):
        assert search.first(range(WITHIN)) is not None


def test_a_memory_that_recalls_nothing_is_found():
    with mapped.clocked():
        for seed in range(WITHIN):
            history = History(seed, wrap=mutants.Forgetful, promising=True)
            if history.run() is not None:
                return
    pytest.fail("nothing shows whether a note is ever used")


def lied_to(seed: int, *, makes_up: bool) -> History:
    rng = random.Random(~seed)
    return History(
        seed,
        wrap=lambda memory: mutants.Liar(memory, rng, makes_up=makes_up),
        without=frozenset({"reset keeps metadata"}),
    )


def test_a_reset_to_where_the_group_stands_is_no_reset():
    """Of two machines: the last owner's own note says where that is, not the newest one of the other machine."""
    with mapped.clocked():
        assert search.breaks(224_073) is None


@pytest.mark.parametrize("seed", [16_459, 1_386_579, 1_753_013, 2_365_166])
def test_a_log_that_was_cut_owes_nothing_of_what_it_had(seed: int):
    """A mark by hand is of the record that was given, and a wish of the records that were there."""
    with mapped.clocked():
        assert search.breaks(seed) is None


def test_what_came_before_the_end_of_a_log_that_was_cut_is_handled():
    """Under "latest" the client begins again at that end."""
    with mapped.clocked():
        assert search.breaks(1_157_343) is None


def test_lies_lose_nothing():
    """Old claims, other incarnations, made-up ones: no lie gets past the token, whatever else it says."""
    believed = 0
    with mapped.clocked():
        for seed in range(COUNT):
            history = lied_to(seed, makes_up=False)
            assert history.run() is None, seed
            believed += history.broker.counts["taken over"]
    assert believed > COUNT / 20, "some lies are harmless truths"


def test_what_no_rule_can_tell():
    """A wrong position beside the very token that is committed. The memory has a checksum against that."""
    with mapped.clocked():
        assert any(lied_to(seed, makes_up=True).run() is not None for seed in range(WITHIN))
