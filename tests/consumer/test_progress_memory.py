"""The memory that nodes share: claims, notes, epitaphs, members, and what hides what."""

from __future__ import annotations

import os
import threading

import pytest

from swarm_consumer.errors import ConfigurationError
from swarm_consumer.progress import (
    Epitaph,
    InHand,
    Member,
    ProgressMemory,
    Remembered,
    Suspects,
    Verdict,
    is_token,
)

SCOPE, KEY = "cluster/group", ("flights", 0)
SUSPECTS = Suspects(
    first=100, last=149, in_company=True, culprit=120, deaths_alone=2, evidence=7, witnessed=True, life=(1, 1)
)  # fmt: skip


@pytest.fixture
def memory():
    """A memory of two nodes."""
    one = ProgressMemory(2, partitions=4)
    yield one
    one.close()


def in_child(function) -> None:
    """Run a function in a forked child that ends right after it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def recalled(life, key=KEY, scope=SCOPE) -> Remembered | None:
    """Return the note of one partition."""
    return life.recall(scope, [key]).get(key)


def test_a_child_writes_and_its_parent_and_a_sibling_read(memory):
    def work():
        place = memory.of_life(0, 1).claim(SCOPE, KEY)
        place.committed(90)
        place.begin(100, 149, 2, alone=True)
        place.suspect(SUSPECTS)
        place.letters(3)
        place.move(100, 5)

    in_child(work)
    found = recalled(memory.of_life(1, 1))
    assert found == Remembered(
        life=(0, 1), token=found.token, position=100, leader_epoch=5, committed=90, written_ns=found.written_ns,
        released=False, complete=True, in_hand=InHand(100, 149, 2, True), suspects=SUSPECTS, letters=3,
        epitaph=Epitaph(), story=Epitaph(),
    )  # fmt: skip
    assert is_token(found.token)

    def read():
        assert recalled(memory.of_life(1, 2)) == found

    in_child(read)


def test_a_batch_writes_what_is_in_hand_and_then_the_position_alone(memory):
    reader, place = memory.of_life(1, 1), memory.of_life(0, 1).claim(SCOPE, KEY)
    assert recalled(reader).position is None
    place.begin(0, 9, 1, alone=False)
    assert recalled(reader).in_hand == InHand(0, 9, 1, False)
    place.end(handled=True)
    assert recalled(reader).in_hand == InHand(0, 9, 1, False)
    place.move(10, None)
    assert (recalled(reader).in_hand, recalled(reader).position) == (None, 10)
    assert reader.handled(SCOPE) == 1


def test_a_handler_that_outlasts_its_assignment_is_noted_until_the_next_one(memory):
    reader, place = memory.of_life(1, 1), memory.of_life(0, 1).claim(SCOPE, KEY)
    place.begin(0, 9, 1, alone=True)
    assert not recalled(reader).runs_on
    place.run_on()
    assert (recalled(reader).in_hand, recalled(reader).runs_on) == (InHand(0, 9, 1, True), True)
    place.begin(10, 19, 1, alone=False)
    assert (recalled(reader).in_hand, recalled(reader).runs_on) == (InHand(10, 19, 1, False), False)


def test_an_end_without_a_move_is_written_by_settle(memory):
    reader, place = memory.of_life(1, 1), memory.of_life(0, 1).claim(SCOPE, KEY)
    place.begin(0, 9, 1, alone=False)
    place.end(handled=False)
    place.settle()
    written = recalled(reader)
    assert written.in_hand is None
    assert reader.handled(SCOPE) == 0
    place.settle()
    assert recalled(reader) == written  # nothing is left to write


def test_a_success_is_counted_once_and_in_its_scope_alone(memory):
    place = memory.of_life(0, 1).claim(SCOPE, KEY)
    other = memory.of_life(1, 1).claim(SCOPE, ("flights", 1))
    for one in (place, other):
        one.begin(0, 9, 1, alone=False)
        one.end(handled=True)
        one.settle()
        one.move(10, None)
    assert memory.of_life(1, 2).handled(SCOPE) == 2
    assert memory.of_life(1, 2).handled("cluster/other") == 0


def test_the_newest_claim_hides_older_ones_of_every_life(memory):
    first, second = memory.of_life(0, 1), memory.of_life(1, 1)
    first.claim(SCOPE, KEY).move(100, None)
    place = second.claim(SCOPE, KEY)
    assert recalled(first).life == (1, 1)
    assert recalled(first).position is None
    place.move(50, None)
    again = first.claim(SCOPE, KEY)
    assert recalled(second).life == (0, 1)
    again.move(70, None)
    assert recalled(second).position == 70


def test_a_claim_is_newer_than_any_other_although_the_clock_stands_still(memory, monkeypatch):
    monkeypatch.setattr("swarm_consumer.progress._life.monotonic_ns", lambda: 1000)
    lives = [memory.of_life(0, 1), memory.of_life(1, 1)]
    tokens = []
    for turn in range(6):
        place = lives[turn % 2].claim(SCOPE, KEY)
        tokens.append(place.token)
        place.move(turn, None)
        assert recalled(lives[0]).position == turn
    place.renew()
    tokens.append(place.token)
    assert len(set(tokens)) == 7


def test_a_renewed_claim_has_another_token_and_no_position(memory):
    place = memory.of_life(0, 1).claim(SCOPE, KEY)
    place.move(100, 3)
    place.committed(90)
    before = recalled(memory.of_life(1, 1))
    place.renew()
    after = recalled(memory.of_life(1, 1))
    assert before.token != after.token == place.token
    assert (after.position, after.leader_epoch, after.committed) == (None, None, None)


def test_a_position_that_no_one_may_rely_on_is_none(memory):
    place = memory.of_life(0, 1).claim(SCOPE, KEY)
    place.move(100, 3)
    place.move(None, None)
    assert recalled(memory.of_life(1, 1)).position is None


def test_without_positions_only_what_is_in_hand_is_kept(memory):
    place = memory.of_life(0, 1).claim(SCOPE, KEY, positions=False)
    place.begin(0, 9, 1, alone=False)
    place.move(5, None)
    found = recalled(memory.of_life(1, 1))
    assert (found.position, found.in_hand) == (None, InHand(0, 9, 1, False))


def test_what_was_given_up_leaves_its_suspects_only(memory):
    place = memory.of_life(0, 1).claim(SCOPE, KEY)
    place.move(100, 3)
    place.begin(100, 149, 1, alone=False)
    place.suspect(SUSPECTS)
    place.letters(2)
    place.release()
    found = recalled(memory.of_life(1, 1))
    assert (found.released, found.position, found.in_hand, found.suspects, found.letters) == (
        True, None, None, SUSPECTS, 0,
    )  # fmt: skip


def test_a_partition_that_comes_back_is_not_written_through_its_old_place(memory):
    life = memory.of_life(0, 1)
    old = life.claim(SCOPE, KEY)
    new = life.claim(SCOPE, KEY)
    new.move(70, None)
    for _ in range(3):
        old.move(999, None)
        old.release()
    assert recalled(life).token == new.token
    assert recalled(life).position == 70


def test_a_place_that_another_thread_supersedes_in_the_middle_of_a_write_writes_nowhere_else(memory):
    life = memory.of_life(0, 1)
    before = bytes(memory._map[:4096])
    stop = threading.Event()
    old = [life.claim(SCOPE, KEY)]

    def work():
        while not stop.is_set():
            old[0].move(1, 1)
            old[0].suspect(None)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(3000):
        old[0] = life.claim(SCOPE, KEY)
    stop.set()
    thread.join(30)
    assert memory._map[:4096] == before
    assert recalled(life).token == old[0].token


def test_a_life_has_one_memory_however_often_it_is_asked_for(memory):
    assert memory.of_life(0, 1) is memory.of_life(0, 1)


def test_scopes_topics_and_partitions_are_kept_apart(memory):
    life = memory.of_life(0, 1)
    places = {
        ("a", ("t", 1)): 1, ("a", ("t", 11)): 2, ("b", ("t", 1)): 3, ("a", ("u", 1)): 4,
    }  # fmt: skip
    for (scope, key), position in places.items():
        life.claim(scope, key).move(position, None)
    for (scope, key), position in places.items():
        assert recalled(life, key, scope).position == position
    assert life.recall("c", [("t", 1)]) == {}


# -- lives, epitaphs and members ---------------------------------------------------------------------------------------


def test_an_epitaph_is_of_the_life_that_wrote_the_note(memory):
    memory.of_life(0, 1).claim(SCOPE, KEY).begin(5, 5, 1, alone=True)
    assert recalled(memory.of_life(1, 1)).epitaph == Epitaph()
    memory.epitaph(0, 2, Epitaph(Verdict.COUNTS, "another life"))
    assert recalled(memory.of_life(1, 1)).epitaph == Epitaph()
    told = Epitaph(Verdict.HUNG, "killed by SIGKILL", 'File "app.py", line 3')
    memory.epitaph(0, 1, told)
    assert recalled(memory.of_life(0, 2)).epitaph == told
    assert recalled(memory.of_life(0, 3)).epitaph == told  # its page has another life now, and its note is the same


def test_the_story_is_that_of_the_life_that_died_with_the_suspects(memory):
    memory.epitaph(0, 1, Epitaph(Verdict.COUNTS, "killed by SIGSEGV"))
    place = memory.of_life(1, 1).claim(SCOPE, KEY)
    place.suspect(Suspects(5, 5, culprit=5, deaths_alone=1, life=(0, 1)))
    assert recalled(memory.of_life(0, 2)).story == Epitaph(Verdict.COUNTS, "killed by SIGSEGV")
    place.suspect(None)
    assert recalled(memory.of_life(0, 2)).story == Epitaph()


def test_long_texts_of_an_epitaph_are_cut_after_a_character(memory):
    memory.of_life(0, 1).claim(SCOPE, KEY)
    memory.epitaph(0, 1, Epitaph(Verdict.COUNTS, "é" * 10_000, "🐝" * 10_000 + "\ud800"))
    found = recalled(memory.of_life(1, 1)).epitaph
    assert found.reason == "é" * 150
    assert set(found.stack) == {"🐝"}
    assert 2000 < len(found.stack.encode()) < 2200


def test_an_epitaph_beyond_the_mapping_is_nothing(memory):
    memory.epitaph(2, 1, Epitaph(Verdict.COUNTS, "gone"))
    memory.epitaph(-1, 1, Epitaph(Verdict.COUNTS, "gone"))


def test_a_page_of_a_life_that_may_run_is_not_taken(memory):
    old = memory.of_life(0, 1)  # it runs all the time
    place = old.claim(SCOPE, KEY)
    memory.of_life(0, 2).claim(SCOPE, ("flights", 1))
    memory.epitaph(0, 2, Epitaph(Verdict.IN_ORDER, "spare given up"))
    spare = memory.of_life(0, 3)  # of the same parity as the life that runs
    spare.claim(SCOPE, ("flights", 2)).move(7, None)
    place.move(9, None)
    old.claim(SCOPE, ("flights", 3)).move(8, None)
    for key, position in ((KEY, 9), (("flights", 2), 7), (("flights", 3), 8)):
        assert recalled(memory.of_life(1, 1), key).position == position


def test_a_page_stays_with_the_life_that_runs_after_many_starts_that_failed(memory):
    """The epitaph of the life that had the other page is written over by then."""
    memory.of_life(0, 1).claim(SCOPE, KEY)
    for generation in range(1, 11):  # all but the first ended before they had anything to note
        memory.epitaph(0, generation, Epitaph(Verdict.COUNTS, "dead"))
    old = memory.of_life(0, 11)
    old.claim(SCOPE, ("flights", 1)).move(9, None)
    spare = memory.of_life(0, 12)
    spare.claim(SCOPE, ("flights", 2)).move(7, None)
    old.claim(SCOPE, ("flights", 3)).move(8, None)
    for number, position in ((1, 9), (2, 7), (3, 8)):
        found = recalled(memory.of_life(1, 1), ("flights", number))
        assert (found.position, found.complete) == (position, True)


def test_notes_survive_the_lives_that_use_their_page_again(memory):
    memory.of_life(0, 1).claim(SCOPE, KEY).move(100, None)
    for generation in range(1, 9):
        memory.epitaph(0, generation, Epitaph(Verdict.COUNTS, "dead"))
        life = memory.of_life(0, generation + 1)
        life.claim(SCOPE, ("flights", 1)).move(generation, None)
        assert recalled(life).position == 100
        assert recalled(life).life == (0, 1)
        assert recalled(life, ("flights", 1)).life == (0, generation + 1)


def test_counters_grow_over_the_lives_of_a_page(memory):
    for generation in range(1, 6):
        place = memory.of_life(0, generation).claim(SCOPE, KEY)
        place.end(handled=True)
        place.settle()
        assert memory.of_life(1, 1).handled(SCOPE) == generation


def test_members_of_reaped_lives_are_told_once(memory):
    static, dynamic = Member("group", "member-1", "host_0"), Member("other", "member-2")
    life = memory.of_life(0, 1)
    life.joined(static)
    life.joined(static)
    life.joined(dynamic)
    assert life.departed() == []
    successor = memory.of_life(0, 2)
    assert successor.departed() == []  # it may still run
    memory.epitaph(0, 1, Epitaph())
    assert memory.of_life(1, 1).departed() == []  # another node's
    assert successor.departed() == [static, dynamic]
    assert successor.departed() == []


def test_a_life_is_one_member_of_a_group_at_a_time_and_none_after_it_has_left(memory):
    life = memory.of_life(0, 1)
    for group, member_id in [("group", "old"), ("left", "gone"), ("group", "new"), ("left", ""), ("never", "")]:
        life.joined(Member(group, member_id))
    memory.epitaph(0, 1, Epitaph())
    assert memory.of_life(0, 2).departed() == [Member("group", "new")]


def test_names_of_a_member_that_are_too_long_are_not_cut(memory):
    life = memory.of_life(0, 1)
    life.joined(Member("g" * 600, "member"))
    for number in range(40):
        life.joined(Member(f"group-{number}", f"member-{number}"))
    memory.epitaph(0, 1, Epitaph())
    found = memory.of_life(0, 2).departed()
    assert {f"member-{number}" for number in range(24, 40)} == {member.member_id for member in found}


# -- no room -----------------------------------------------------------------------------------------------------------


def test_without_a_free_entry_older_claims_of_the_scope_are_in_doubt(memory):
    life = memory.of_life(0, 1)
    keys = [("flights", number) for number in range(4)]
    for key in keys:
        life.claim(SCOPE, key).move(1, None)
    assert all(one.complete for one in life.recall(SCOPE, keys).values())
    assert life.claim(SCOPE, ("flights", 4)) is None
    assert not any(one.complete for one in life.recall(SCOPE, keys).values())
    life.claim(SCOPE, keys[0])
    assert [one.complete for one in memory.of_life(1, 1).recall(SCOPE, keys).values()] == [True, False, False, False]
    other = memory.of_life(1, 1)
    other.claim("other scope", KEY)
    assert recalled(other, KEY, "other scope").complete


def test_without_room_for_a_scope_all_older_claims_are_in_doubt(memory):
    big = ProgressMemory(1, partitions=64)
    life = big.of_life(0, 1)
    for number in range(16):
        life.claim(f"scope {number}", KEY)
    assert recalled(life, KEY, "scope 0").complete
    assert life.claim("scope 16", KEY) is None
    assert not recalled(life, KEY, "scope 0").complete
    life.claim("scope 0", KEY)
    assert recalled(life, KEY, "scope 0").complete
    big.close()


def test_a_node_beyond_the_mapping_has_no_notes_and_says_so(memory):
    life = memory.of_life(0, 1)
    life.claim(SCOPE, KEY).move(1, None)
    beyond = memory.of_life(2, 1)
    assert recalled(beyond).position == 1
    assert recalled(beyond).complete
    assert beyond.claim(SCOPE, ("flights", 9)) is None
    assert not recalled(life).complete
    beyond.joined(Member("group", "member"))
    assert beyond.departed() == []
    assert beyond.handled(SCOPE) == 0
    life.claim(SCOPE, KEY)
    assert recalled(life).complete


def test_claims_of_several_threads_at_once_get_entries_of_their_own():
    memory = ProgressMemory(1, partitions=400)
    life = memory.of_life(0, 1)
    places: dict = {}

    def work(thread: int) -> None:
        for number in range(100):
            key = (f"topic-{thread}", number)
            places[key] = life.claim(f"scope {thread}", key)
            places[key].move(number * 10 + thread, None)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    for thread in range(4):
        found = life.recall(f"scope {thread}", [(f"topic-{thread}", number) for number in range(100)])
        assert [one.position for one in found.values()] == [number * 10 + thread for number in range(100)]
    memory.close()


@pytest.mark.parametrize(("nodes", "partitions"), [(0, 1), (1, 0), (1, 65536), (5000, 1)])
def test_sizes_that_cannot_be_are_refused(nodes, partitions):
    with pytest.raises(ConfigurationError, match="the progress memory"):
        ProgressMemory(nodes, partitions=partitions)


def test_the_smallest_and_the_largest_table_hold_what_they_say():
    for partitions in (1, 65535):
        memory = ProgressMemory(1, partitions=partitions)
        life = memory.of_life(0, 1)
        life.claim(SCOPE, KEY).move(3, None)
        assert recalled(life).position == 3
        memory.close()
