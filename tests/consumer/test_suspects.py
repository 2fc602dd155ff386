"""Suspects: what a death makes of the records in hand, what clears them, and when one is given up."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_consumer._scheduling.remembrance import Epitaph, InHand, Remembered, Suspects, Verdict
from swarm_consumer._scheduling.suspects import LETTERS_IN_A_ROW, Sentence, deaths, judge, past, story, suspects_after

LIFE = (2, 7)
COMPANY, ALONE = InHand(100, 199, 1, alone=False), InHand(120, 120, 1, alone=True)


def note(in_hand=None, verdict=Verdict.COUNTS, suspects=None, *, released=False):
    return Remembered(
        life=LIFE, token="t", position=100, leader_epoch=None, committed=90, written_ns=0, released=released,
        complete=True, in_hand=in_hand, suspects=suspects, letters=0, epitaph=Epitaph(verdict), story=Epitaph(),
    )  # fmt: skip


def after(in_hand, verdict, suspects=None, *, start=100, survives=True, hangs_count=True, handled=5):
    return suspects_after(
        note(in_hand, verdict, suspects), start, survives=survives, hangs_count=hangs_count, handled=handled
    )


SHARED = Suspects(100, 199, in_company=True, evidence=5, life=LIFE)
FOUND = Suspects(120, 120, culprit=120, deaths_alone=1, evidence=5, life=LIFE)
ISOLATED = Suspects(100, 199)
ELSEWHERE = (1, 1)

TABLE = [
    # in hand, verdict, carried: what follows
    *((in_hand, verdict, None, None) for in_hand in (None, COMPANY, ALONE) for verdict in (0, 1)),
    *((None, verdict, None, None) for verdict in Verdict),
    *((in_hand, verdict, SHARED, SHARED) for in_hand in (None, COMPANY, ALONE) for verdict in (0, 1)),
    *((None, verdict, SHARED, SHARED) for verdict in Verdict),
    (COMPANY, Verdict.SUSPECT, None, ISOLATED),
    (ALONE, Verdict.SUSPECT, None, Suspects(120, 120)),
    (COMPANY, Verdict.COUNTS, None, SHARED),
    (COMPANY, Verdict.HUNG, None, SHARED),
    (ALONE, Verdict.COUNTS, None, FOUND),
    (ALONE, Verdict.HUNG, None, FOUND),
    (COMPANY, Verdict.SUSPECT, SHARED, SHARED),
    (ALONE, Verdict.SUSPECT, SHARED, SHARED),
    (COMPANY, Verdict.COUNTS, SHARED, SHARED),
    (ALONE, Verdict.COUNTS, SHARED, dataclasses.replace(SHARED, culprit=120, deaths_alone=1)),
    (ALONE, Verdict.COUNTS, ISOLATED, dataclasses.replace(FOUND, first=100, last=199)),
    (COMPANY, Verdict.COUNTS, ISOLATED, SHARED),
    (ALONE, Verdict.COUNTS, FOUND, dataclasses.replace(FOUND, deaths_alone=2)),
    (ALONE, Verdict.SUSPECT, FOUND, FOUND),
    (InHand(120, 120, 1, alone=False), Verdict.COUNTS, FOUND, dataclasses.replace(FOUND, in_company=True)),
    # another one than the culprit so far, which lived on
    (
        InHand(130, 130, 1, alone=True), Verdict.COUNTS, dataclasses.replace(SHARED, culprit=120, deaths_alone=2),
        dataclasses.replace(SHARED, culprit=130, deaths_alone=1),
    ),
    # several at once cannot be told apart, even if nothing else ran
    (InHand(100, 101, 1, alone=True), Verdict.COUNTS, None, dataclasses.replace(SHARED, last=101)),
    # behind what is carried, after a seek: both are suspected
    (InHand(100, 110, 1, alone=False), Verdict.COUNTS, Suspects(150, 160), dataclasses.replace(SHARED, last=160)),
]  # fmt: skip


@pytest.mark.parametrize(("in_hand", "verdict", "carried", "expected"), TABLE)
def test_what_a_death_makes_of_what_was_in_hand(in_hand, verdict, carried, expected):
    assert after(in_hand, Verdict(verdict), carried) == expected


def test_after_a_seek_far_away_not_everything_between_is_suspected():
    far = dataclasses.replace(FOUND, first=5000, last=5099, culprit=5000)
    assert after(COMPANY, Verdict.COUNTS, far) == SHARED
    assert after(ALONE, Verdict.COUNTS, far) == FOUND
    near = dataclasses.replace(far, first=1199, culprit=1199)
    assert after(COMPANY, Verdict.SUSPECT, near).first == 100
    assert after(COMPANY, Verdict.SUSPECT, near).last == 5099


def test_a_hang_that_does_not_count_isolates():
    assert after(COMPANY, Verdict.HUNG, hangs_count=False) == ISOLATED
    assert after(ALONE, Verdict.HUNG, SHARED, hangs_count=False) == SHARED


def test_the_evidence_is_that_of_the_first_death():
    found = after(COMPANY, Verdict.COUNTS, handled=10)
    found = after(ALONE, Verdict.COUNTS, found, handled=60)
    found = after(ALONE, Verdict.COUNTS, found, handled=61)
    assert (found.culprit, deaths(found), found.evidence) == (120, 3, 10)
    assert after(ALONE, Verdict.COUNTS, ISOLATED, handled=60).evidence == 60, "somebody's kill was no evidence"


def test_evidence_that_is_not_known_stays_unknown():
    found = after(COMPANY, Verdict.COUNTS, handled=None)
    assert found.evidence is None
    assert after(ALONE, Verdict.COUNTS, found, handled=8).evidence == 8, "counted from when it is known"


def test_what_was_released_had_nothing_in_hand():
    assert suspects_after(note(COMPANY, released=True), 100, survives=True, hangs_count=True, handled=1) is None
    carried = note(COMPANY, suspects=FOUND, released=True)
    assert suspects_after(carried, 100, survives=True, hangs_count=True, handled=1) == FOUND


def test_another_incarnation_has_no_suspects():
    assert after(COMPANY, Verdict.COUNTS, SHARED, survives=False) is None


def test_what_is_done_is_not_suspected():
    assert after(COMPANY, Verdict.COUNTS, start=200) is None
    assert after(COMPANY, Verdict.COUNTS, start=199) == dataclasses.replace(SHARED, first=199)
    assert after(COMPANY, Verdict.COUNTS, start=None) == SHARED, "an unknown start clears nobody"
    assert after(COMPANY, Verdict.COUNTS, start=0) == SHARED


def test_deaths_under_other_code_do_not_count():
    known = dataclasses.replace(FOUND, deaths_alone=3, life=None)
    assert after(None, Verdict.UNKNOWN, known) == Suspects(120, 120)
    assert after(ALONE, Verdict.COUNTS, known) == FOUND, "one under this code does"


def test_the_story_is_that_of_the_last_death_that_counts():
    ended, earlier = Epitaph(Verdict.COUNTS, "segfault"), Epitaph(Verdict.COUNTS, "exit code 7")
    last = dataclasses.replace(note(), epitaph=ended, story=earlier)
    assert story(last, FOUND) is ended
    assert story(last, dataclasses.replace(FOUND, life=ELSEWHERE)) is earlier
    assert story(last, ISOLATED) is ended


def test_going_past_clears():
    known = dataclasses.replace(SHARED, culprit=120, deaths_alone=2)
    assert past(known, 90) == past(known, 100) == known
    assert past(known, 120) == dataclasses.replace(known, first=120)
    assert past(known, 121) == dataclasses.replace(SHARED, first=121), "the death in company still counts"
    assert past(known, 200) is None
    lonely = dataclasses.replace(FOUND, last=150)
    assert past(lonely, 121) == Suspects(121, 150, life=LIFE), "its evidence goes with it"


# -- the sentence -------------------------------------------------------------------------------------------------

GUILTY = dataclasses.replace(SHARED, culprit=120, deaths_alone=2, witnessed=True)


def sentence(suspects=GUILTY, offset=120, *, most_deaths=3, handled=5, in_a_row=0, most_in_a_row=None):
    return judge(
        suspects, offset, most_deaths=most_deaths, handled=handled, in_a_row=in_a_row, most_in_a_row=most_in_a_row
    ).sentence


def test_a_culprit_with_enough_deaths_is_given_up():
    assert sentence() is Sentence.GIVE_UP


@pytest.mark.parametrize(
    "case",
    [
        {"offset": 119},
        {"most_deaths": 5},
        {"most_deaths": 4, "handled": 6},
        {"suspects": dataclasses.replace(GUILTY, in_company=False), "handled": 6},
        {"suspects": dataclasses.replace(GUILTY, deaths_alone=1), "handled": 6},
        {"suspects": dataclasses.replace(GUILTY, witnessed=False), "handled": 6},
        {"suspects": SHARED, "most_deaths": 1},  # a death in company alone proves nothing
        {"suspects": ISOLATED, "most_deaths": 1},
    ],
)
def test_others_are_tried(case):
    assert sentence(**case) is Sentence.TRY


@pytest.mark.parametrize("handled", [5, None])
@pytest.mark.parametrize("deaths_alone", [1, 2])
def test_before_the_attempt_that_decides_others_go_first(deaths_alone, handled):
    unseen = dataclasses.replace(GUILTY, witnessed=False, deaths_alone=deaths_alone)
    assert sentence(unseen, handled=handled) is Sentence.WAIT


def test_what_was_handled_after_the_last_death_says_nothing_about_it():
    """The fault of everything may have ended since."""
    assert sentence(dataclasses.replace(GUILTY, witnessed=False), handled=1000) is Sentence.TRY


def test_too_many_letters_in_a_row_are_waited_for():
    assert sentence(in_a_row=LETTERS_IN_A_ROW) is Sentence.WAIT
    assert sentence(in_a_row=LETTERS_IN_A_ROW, most_in_a_row=100) is Sentence.GIVE_UP
    assert sentence(in_a_row=2, most_in_a_row=2) is Sentence.WAIT


def test_the_witness_is_of_the_attempt_that_was_the_last():
    seen = dataclasses.replace(SHARED, witnessed=True)
    assert after(ALONE, Verdict.COUNTS, seen) == dataclasses.replace(seen, culprit=120, deaths_alone=1)
    alone = InHand(150, 150, 1, alone=True)
    assert not after(alone, Verdict.COUNTS, dataclasses.replace(FOUND, last=160, witnessed=True)).witnessed
    assert not past(dataclasses.replace(FOUND, last=150, witnessed=True), 121).witnessed


# -- laws ------------------------------------------------------------------------------------------------------------

offsets = st.integers(90, 130)


@st.composite
def ranges(draw):
    first = draw(offsets)
    return first, draw(st.integers(first, first + 30))


@st.composite
def in_hands(draw):
    first, last = draw(ranges())
    alone = draw(st.booleans())
    return InHand(first, first if alone else last, draw(st.integers(1, 4)), alone)


DEATH = st.tuples(st.none() | in_hands(), st.sampled_from(Verdict), st.none() | offsets, st.integers(0, 3))


@given(st.lists(DEATH, max_size=12), st.booleans())
def test_laws_of_any_history(history, hangs_count):
    known, handled = None, 0
    proved = {}  # deaths alone by offset, at most
    for in_hand, verdict, start, more in history:
        before, handled = known, handled + more
        known = after(in_hand, verdict, before, start=start, hangs_count=hangs_count, handled=handled)
        counts = verdict is Verdict.COUNTS or (verdict is Verdict.HUNG and hangs_count)
        if in_hand is not None and in_hand.alone and counts:
            proved[in_hand.first] = proved.get(in_hand.first, 0) + 1
        if known is None:
            continue
        assert known.first <= known.last
        assert start is None or known.first >= min(start, known.last)
        assert (known.culprit is None) == (known.deaths_alone == 0)
        if known.culprit is not None:
            assert known.first <= known.culprit <= known.last
            assert known.deaths_alone <= proved[known.culprit], "no death alone is made up"
        if known.in_company or known.culprit is not None:
            assert known.evidence is not None
            assert known.evidence <= handled
            assert known.life == LIFE
        if before is not None and start is None:
            assert known.first <= before.first, "nobody is cleared without going past"
            assert known.last >= before.last
        if in_hand is not None and verdict >= Verdict.SUSPECT and start is None:
            assert known.first <= in_hand.first <= in_hand.last <= known.last
