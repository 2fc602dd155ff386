"""The decision to continue from a noted position: every reason against it, alone and with others."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_consumer._scheduling.remembrance import CLAIM_PREFIX, Epitaph, Remembered, is_token
from swarm_consumer._scheduling.take_over import (
    FRESH_NS,
    Refusal,
    refusal,
    refusal_by_end,
    suspects_survive,
    worth_telling,
)

OURS = f"{CLAIM_PREFIX}a1"
NOW = 10**15
GOOD = Remembered(
    life=(0, 1), token=OURS, position=100, leader_epoch=3, committed=60, written_ns=NOW - 10**9, released=False,
    complete=True, in_hand=None, suspects=None, letters=0, epitaph=Epitaph(), story=Epitaph(),
)  # fmt: skip

CASES = [
    # why, what differs in the note, committed, metadata
    (None, {}, 60, OURS),
    (None, {}, 99, OURS),
    (None, {"committed": 0}, 0, OURS),
    (None, {"written_ns": NOW}, 60, OURS),
    (None, {"written_ns": NOW - FRESH_NS}, 60, OURS),
    (Refusal.OTHER_BOOT, {"written_ns": NOW + 1}, 60, OURS),
    (Refusal.COMMIT_GONE, {}, None, None),
    (Refusal.WENT_BACK, {}, 59, OURS),
    (Refusal.WENT_BACK, {}, 0, None),
    (Refusal.RELEASED, {"released": True, "position": None}, 60, OURS),
    (Refusal.RELEASED, {"released": True}, 60, OURS),
    (Refusal.NO_POSITION, {"position": None}, 60, OURS),
    (Refusal.NO_POSITION, {"position": None, "committed": None}, None, None),
    (Refusal.AS_FAR, {}, 100, OURS),
    (Refusal.AS_FAR, {}, 140, None),
    (Refusal.AS_FAR, {"complete": False}, 100, OURS),
    (Refusal.INCOMPLETE, {"complete": False}, 60, OURS),
    (Refusal.NO_COMMIT_SEEN, {"committed": None}, 60, f"{CLAIM_PREFIX}b2"),
    (Refusal.NO_COMMIT_SEEN, {"committed": None}, 60, OURS),
    (Refusal.NO_COMMIT_SEEN, {"committed": None}, None, None),
    (Refusal.APPLICATION_METADATA, {}, 60, "page 7"),
    (Refusal.OTHER_COMMIT, {}, 60, None),
    (Refusal.OTHER_COMMIT, {}, 80, ""),
    (Refusal.OTHER_COMMIT, {}, 80, f"{CLAIM_PREFIX}b2"),
    (Refusal.TOO_OLD, {"written_ns": NOW - FRESH_NS - 1}, 60, OURS),
]


@pytest.mark.parametrize(("why", "differs", "committed", "metadata"), CASES)
def test_each_reason(why: Refusal | None, differs: dict[str, object], committed: int | None, metadata: str | None):
    assert refusal(dataclasses.replace(GOOD, **differs), committed, metadata, NOW) is why


def test_every_reason_has_a_case():
    by_end = {Refusal.BEYOND_END, Refusal.END_UNKNOWN}
    assert {case[0] for case in CASES} == {None, *Refusal} - by_end


@pytest.mark.parametrize(
    ("end", "why"), [(None, Refusal.END_UNKNOWN), (GOOD.position - 1, Refusal.BEYOND_END), (GOOD.position, None)]
)
def test_a_position_beyond_the_end_is_not_used(end: int | None, why: Refusal | None):
    assert refusal_by_end(GOOD, end) is why


@pytest.mark.parametrize("why", Refusal)
def test_each_reason_is_one_plain_sentence(why: Refusal):
    assert 20 < len(why.sentence) < 110
    assert why.sentence == why.sentence.strip().rstrip(".")
    assert "\n" not in why.sentence
    assert "None" not in why.sentence


def test_only_what_is_handled_again_is_told():
    assert {why for why in Refusal if not why.told} == {Refusal.RELEASED, Refusal.NO_POSITION, Refusal.AS_FAR}
    assert worth_telling(Refusal.OTHER_COMMIT, GOOD)
    assert not worth_telling(Refusal.AS_FAR, GOOD)
    given_up = dataclasses.replace(GOOD, released=True, position=None)
    assert not worth_telling(Refusal.WENT_BACK, given_up), "a reset while no one owned it surprises no one"


def test_suspects_are_dropped_where_the_offsets_may_mean_other_records():
    assert {why for why in Refusal if not suspects_survive(why)} == {
        Refusal.OTHER_BOOT, Refusal.COMMIT_GONE, Refusal.WENT_BACK, Refusal.BEYOND_END,
    }  # fmt: skip
    assert suspects_survive(None)


def test_a_new_topic_is_noticed_before_the_normal_case():
    """Otherwise the suspects of an earlier topic would survive that its last owner gave it up gracefully."""
    given_up = dataclasses.replace(GOOD, released=True, position=None)
    assert refusal(given_up, None, None, NOW) is Refusal.COMMIT_GONE
    assert refusal(given_up, 5, OURS, NOW) is Refusal.WENT_BACK


def test_a_death_before_the_first_commit_keeps_its_suspects():
    first = dataclasses.replace(GOOD, committed=None)
    assert suspects_survive(refusal(first, None, None, NOW))


@pytest.mark.parametrize(
    ("metadata", "token"),
    [(None, False), ("", False), ("page 7", False), ("Swarm:1", False), (OURS, True), (CLAIM_PREFIX, True)],
)
def test_tokens_are_told_from_metadata(metadata: str | None, token: bool):
    assert is_token(metadata) is token


offsets = st.none() | st.integers(0, 200)


@given(
    note=st.builds(
        Remembered, life=st.just((0, 1)), token=st.just(OURS), position=offsets, leader_epoch=st.none(),
        committed=offsets, written_ns=st.integers(NOW - 2 * FRESH_NS, NOW + FRESH_NS), released=st.booleans(),
        complete=st.booleans(), in_hand=st.none(), suspects=st.none(), letters=st.just(0), epitaph=st.just(Epitaph()),
        story=st.just(Epitaph()),
    ),
    committed=offsets,
    metadata=st.sampled_from([None, "", "page 7", OURS, f"{CLAIM_PREFIX}b2"]),
)  # fmt: skip
def test_a_note_is_believed_only_under_all_rules(note: Remembered, committed: int | None, metadata: str | None):
    """The rules again, as one condition: nothing that the order of the checks could hide."""
    believed = (
        note.complete
        and not note.released
        and 0 <= NOW - note.written_ns <= FRESH_NS
        and metadata == note.token
        and None not in (note.position, note.committed, committed)
        and note.committed <= committed < note.position  # type: ignore[operator]
    )
    assert (refusal(note, committed, metadata, NOW) is None) is believed
