"""Kept progress under kills in the middle of a write, and with anything written over the mapping."""

from __future__ import annotations

import mmap
import os
import random
import signal
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm_consumer.progress import (
    Epitaph,
    InHand,
    Member,
    ProgressMemory,
    Suspects,
    Verdict,
    _life,
    _pages,
    _place,
    memory,
)
from swarm_consumer.progress._layout import Layout

SCOPE = "cluster/group"
KEYS = [("flights", number) for number in range(3)]
EPITAPHS = [Epitaph(), Epitaph(Verdict.COUNTS, "killed by SIGSEGV", "line 3")]


def essence(found) -> dict:
    """Return notes without what does not stand in them."""
    return {
        key: (
            one.life, one.token, one.position, one.leader_epoch, one.committed, one.released, one.in_hand, one.suspects,
            one.letters,
        )
        for key, one in found.items()
    }  # fmt: skip


# -- cut off at each byte ----------------------------------------------------------------------------------------------


class Recording(mmap.mmap):
    """A mapping that notes each write, in order."""

    def __init__(self, *_):
        self.writes = []

    def __setitem__(self, where, raw):
        self.writes.append(
            (where if isinstance(where, int) else where.start, bytes([raw]) if isinstance(raw, int) else bytes(raw))
        )
        super().__setitem__(where, raw)


class RecordedStruct:
    """A struct that packs into such a mapping by one write for each field, as a kill may find it."""

    def __init__(self, one):
        self._one = one

    def __getattr__(self, name):
        return getattr(self._one, name)

    def pack_into(self, mapping, at, *values):
        mapping[at : at + self._one.size] = self._one.pack(*values)


@pytest.fixture
def recorded(monkeypatch):
    """A memory whose mapping notes its writes."""
    monkeypatch.setattr(_place, "_seal", RecordedStruct(_place.SEALED).pack_into)
    monkeypatch.setattr(_place, "PAIR", RecordedStruct(_place.PAIR))
    monkeypatch.setattr(_pages, "PAIR", RecordedStruct(_pages.PAIR))
    monkeypatch.setattr(memory.mmap, "mmap", Recording)
    one = ProgressMemory(2, partitions=4)
    yield one
    one.close()


def test_a_kill_in_any_write_leaves_the_note_before_it_or_the_one_after(recorded):
    steps = []
    places = {}

    def step(function):
        steps.append(function)

    def claim(life, key):
        places[key] = life().claim(SCOPE, key)

    lives = {}

    def born(node_id, generation):
        lives[node_id] = recorded.of_life(node_id, generation)

    step(lambda: born(0, 1))
    for key in KEYS:
        step(lambda key=key: claim(lambda: lives[0], key))
    step(lambda: places[KEYS[0]].begin(0, 9, 1, alone=False))
    step(lambda: (places[KEYS[0]].end(handled=True), places[KEYS[0]].move(10, 4)))
    step(lambda: places[KEYS[0]].committed(10))
    step(lambda: places[KEYS[0]].suspect(Suspects(10, 12, culprit=11, deaths_alone=1, evidence=1, life=(0, 1))))
    step(lambda: places[KEYS[0]].letters(2))
    step(lambda: places[KEYS[0]].renew())
    step(lambda: places[KEYS[0]].move(7, 4))
    step(lambda: places[KEYS[1]].move(70, 4))
    step(lambda: places[KEYS[1]].release())
    step(lambda: born(1, 1))
    step(lambda: lives[1].joined(Member("group", "member-1", "host_1")))
    step(lambda: claim(lambda: lives[1], KEYS[0]))
    step(lambda: places[KEYS[0]].move(8, 5))
    step(lambda: claim(lambda: lives[1], KEYS[1]))
    step(lambda: recorded.epitaph(0, 1, EPITAPHS[1]))
    step(lambda: born(0, 2))
    step(lambda: claim(lambda: lives[0], KEYS[1]))
    step(lambda: recorded.epitaph(0, 2, EPITAPHS[0]))
    step(lambda: born(0, 3))
    step(lambda: claim(lambda: lives[0], KEYS[2]))
    cuts = 0
    indexes = {recorded._layout.index(page) for page in range(4)}
    for function in steps:
        before, notes_before = bytes(recorded._map), read(bytes(recorded._map), recorded)
        recorded._map.writes.clear()
        function()
        writes, notes_after = list(recorded._map.writes), read(bytes(recorded._map), recorded)
        image = bytearray(before)
        for start, raw in writes:
            # The words of an index are written at once: a memcpy of aligned words has no halves of them.
            for cut in range(0, len(raw) + 1, 4 if start in indexes else 1):
                image[start : start + cut] = raw[:cut]
                found = read(bytes(image), recorded)
                cuts += 1
                for key in KEYS:
                    assert found.get(key) in (notes_before.get(key), notes_after.get(key)), (function, start, cut)
        assert bytes(image) == bytes(recorded._map)
    assert cuts > 5_000


def read(image: bytes, recorded) -> dict:
    """Return what a process that starts later recalls of an image, and whether that is complete."""
    layout = recorded._layout
    with mmap.mmap(-1, len(image)) as copy:
        copy[:] = image
        pages = _pages.Pages(copy, layout)
        life = _life.LifeMemory(pages, 9, 1, recorded._run, {})
        found, handled = life.recall(SCOPE, KEYS), life.handled(SCOPE)
        pages.close()
    assert all(one.complete for one in found.values())
    assert handled in (0, 1)
    return essence(found)


# -- real kills --------------------------------------------------------------------------------------------------------


def test_no_note_is_made_up_while_writers_are_killed():
    kept = ProgressMemory(2, partitions=8)
    reader, chance = kept.of_life(1, 1), random.Random(11)
    reads = 0
    for generation in range(1, 41):
        ready, ready_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                write_for_ever(kept.of_life(0, generation), ready_end)
            finally:
                os._exit(1)
        os.close(ready_end)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        for _ in range(chance.randrange(1, 60)):
            reads += 1
            for one in reader.recall(SCOPE, KEYS).values():
                check_relation(one)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kept.epitaph(0, generation, EPITAPHS[1])
        found = reader.recall(SCOPE, KEYS)
        assert found.keys() == set(KEYS)
        for one in found.values():
            check_relation(one)
            assert one.life == (0, generation)
            assert one.complete
            assert one.epitaph == EPITAPHS[1]
    assert reads > 500
    kept.close()


def write_for_ever(life, ready_end) -> None:
    """Write notes whose fields fit each other."""
    places = [life.claim(SCOPE, key) for key in KEYS]
    os.write(ready_end, b"x")
    number = 0
    while True:
        number += 1
        for place in places:
            place.begin(number, number * 7, number % 1000, alone=bool(number % 2))
            place.end(handled=True)
            place.move(number * 3, number % 1000)
            if number % 10 == 0:
                place.suspect(Suspects(number, number * 5, culprit=number * 2))
            if number % 50 == 0:
                place.renew()


def check_relation(one) -> None:
    """Check that a note's fields were written together."""
    if one.in_hand is not None:
        first = one.in_hand.first
        assert one.in_hand == InHand(first, first * 7, first % 1000, bool(first % 2))
    if one.position is not None:
        assert one.leader_epoch == one.position // 3 % 1000
        if one.in_hand is not None:
            assert one.position == one.in_hand.first * 3 - 3
    if one.suspects is not None:
        first = one.suspects.first
        assert one.suspects == Suspects(first, first * 5, culprit=first * 2)


# -- scribbles ---------------------------------------------------------------------------------------------------------


class Scribbled:
    """A mapping of several lives with all the notes that were ever in it."""

    def __init__(self):
        self.memory = ProgressMemory(2, partitions=4)
        self.layout: Layout = self.memory._layout
        self.written: dict = {key: set() for key in KEYS}
        for node_id, generation in ((0, 1), (1, 1), (0, 2)):
            self.live(node_id, generation)
            self.memory.epitaph(node_id, generation, EPITAPHS[1])

    def live(self, node_id: int, generation: int) -> None:
        """Write some notes, and remember each."""
        life = self.life = self.memory.of_life(node_id, generation)
        life.joined(Member("group", f"member-{node_id}-{generation}"))
        for number, key in enumerate(KEYS):
            place = life.claim(SCOPE, key)
            for write in (
                lambda: None,
                lambda place=place: place.committed(100),
                lambda place=place, number=number: place.begin(100 * number, 100 * number + 9, 1, alone=False),
                lambda place=place, number=number: place.move(100 * number + generation, 1),
                lambda place=place: place.suspect(Suspects(1, 2, life=(0, 1))),
                lambda place=place: place.end(handled=True),
                lambda place=place: place.settle(),
                lambda place=place, number=number: place.release() if number == 2 else None,
            ):
                write()
                self.written[key].add(essence(life.recall(SCOPE, [key]))[key])

    def check(self, life) -> None:
        """Use all of a life's memory: nothing raises, and no note or epitaph is made up."""
        found = life.recall(SCOPE, KEYS)
        for key, one in essence(found).items():
            assert one in self.written[key]
        for one in found.values():
            assert one.epitaph in EPITAPHS
            assert one.story in EPITAPHS
        life.handled(SCOPE)

    def close(self) -> None:
        self.memory.close()


def parts(layout: Layout) -> st.SearchStrategy[int]:
    """Places of the mapping, each kind of part as often as the others."""
    starts = [(0, 256), (4096, 4096 + 512)]
    for page in range(2 * layout.nodes):
        base = layout.base(page)
        starts += [(base, base + 256), (base + 1024, base + 3000), (layout.index(page), layout.index(page) + 32)]
        starts.append((layout.entry(page, 1), layout.entry(page, layout.partitions)))
    starts += [(layout.epitaph(node_id, 0), layout.epitaph(node_id, 2) + 400) for node_id in range(layout.nodes)]
    return st.sampled_from(starts).flatmap(lambda part: st.integers(part[0], part[1] - 1))


PARTS = parts(Layout(2, 4))
SCRIBBLES = st.lists(
    st.tuples(PARTS, st.one_of(st.binary(min_size=1, max_size=64), PARTS, st.integers(-400, -1))),
    min_size=1,
    max_size=30,
)


def scribble(scribbles, mapping) -> None:
    """Write bytes, copies of other parts, or zeros over a mapping."""
    for at, what in scribbles:
        if isinstance(what, bytes):
            raw = what
        elif what < 0:
            raw = bytes(-what)
        else:
            raw = mapping[what : what + 160]
        raw = raw[: len(mapping) - at]
        mapping[at : at + len(raw)] = raw


@settings(max_examples=100, deadline=None)
@given(scribbles=SCRIBBLES)
def test_whatever_is_written_over_the_mapping_no_note_is_made_up(scribbles):
    one = Scribbled()
    scribble(scribbles, one.memory._map)
    one.check(one.life)
    one.life.claim(SCOPE, KEYS[0])
    members = {f"member-{node_id}-{generation}" for node_id in range(2) for generation in range(1, 4)}
    for node_id, generation in ((0, 3), (1, 2)):
        life = one.memory.of_life(node_id, generation)
        one.written[KEYS[0]] |= {
            each
            for key, each in essence(life.recall(SCOPE, KEYS)).items()
            if each[2] is None and key == KEYS[0] and each[0] == (0, 2)
        }
        one.check(life)
        assert {member.member_id for member in life.departed()} <= members
        life.joined(Member("group", "member-1-1"))
    one.close()


@settings(max_examples=100, deadline=None)
@given(scribbles=SCRIBBLES)
def test_lives_that_take_all_pages_over_put_right_what_was_scribbled(scribbles):
    one = Scribbled()
    scribble(scribbles, one.memory._map)
    for node_id, first in ((0, 3), (1, 2)):
        for generation in range(1, first):
            one.memory.epitaph(node_id, generation, EPITAPHS[0])  # they may be scribbled over
        for generation in range(first, first + 3):
            life = one.memory.of_life(node_id, generation)
            one.memory.epitaph(node_id, generation, EPITAPHS[0])
    places = {key: life.claim(SCOPE, key) for key in KEYS}
    for number, (key, place) in enumerate(places.items()):
        if place is None:
            continue  # scribbled entries may have left no room
        place.move(number, 1)
        found = one.memory.of_life(9, 1).recall(SCOPE, [key])[key]
        assert (found.token, found.position) == (place.token, number)
        if None not in places.values():
            assert found.complete
    one.close()


def test_a_slot_that_is_copied_to_another_entry_is_not_of_it():
    one = Scribbled()
    layout, mapping = one.layout, one.memory._map
    first = layout.entry(2, 1)  # of node 1
    raw = mapping[first : first + 320]
    for page in range(4):
        for number in range(1, 5):
            at = layout.entry(page, number)
            mapping[at : at + 320] = raw
    found = one.memory.of_life(9, 1).recall(SCOPE, KEYS)
    assert {one.life for one in found.values()} <= {(1, 1)}
    one.close()


def test_the_checksum_of_something_with_its_checksum_is_what_readers_expect():
    for seed in (0, 4096, 2**31):
        raw = os.urandom(156)
        assert zlib.crc32(raw + zlib.crc32(raw, seed).to_bytes(4, "little"), seed) == 0x2144DF1C


@pytest.mark.parametrize("write", ["renew", "release", "suspect", "claim"])
@pytest.mark.parametrize("slot", [0, 1])
def test_one_spoilt_slot_brings_no_older_claim_back(write, slot):
    kept = ProgressMemory(1, partitions=2)
    life = kept.of_life(0, 1)
    place = life.claim(SCOPE, KEYS[0])
    place.move(100, 1)
    place.committed(90)
    old = place.token
    if write == "claim":
        place = life.claim(SCOPE, KEYS[0])
    else:
        getattr(place, write)(*([Suspects(1, 2)] if write == "suspect" else []))
    at = kept._layout.entry(1, 1) + 160 * slot
    kept._map[at + 30 : at + 34] = b"\x5a" * 4
    (found,) = life.recall(SCOPE, KEYS).values()
    assert found.token == place.token
    assert found.released == (write == "release")
    assert found.suspects == (Suspects(1, 2) if write == "suspect" else None)
    assert (found.token == old) == (write in ("release", "suspect"))
    kept.close()


def test_an_entry_that_is_spoilt_casts_doubt_on_older_claims_of_its_partition_alone():
    kept = ProgressMemory(2, partitions=4)
    first, second = kept.of_life(0, 1), kept.of_life(1, 1)
    for key in KEYS:
        second.claim(SCOPE, key).move(5, 1)
    for key in KEYS:
        first.claim(SCOPE, key)
    at = kept._layout.entry(1, 1)
    kept._map[at : at + 320] = b"\x5a" * 320
    found = second.recall(SCOPE, KEYS)
    assert [one.complete for one in found.values()] == [False, True, True]
    assert found[KEYS[0]].position == 5  # of an older claim: so it must not be relied on
    first.claim(SCOPE, KEYS[0]).move(7, 1)
    found = second.recall(SCOPE, KEYS)
    assert (found[KEYS[0]].complete, found[KEYS[0]].position) == (True, 7)
    kept.close()


@pytest.mark.parametrize("part", ["entry", "header", "index", "scopes"])
def test_what_was_spoilt_leaves_doubt_on_all_claims_before_the_repair(part):
    kept = ProgressMemory(2, partitions=4)
    second = kept.of_life(1, 1)
    for key in KEYS:
        second.claim(SCOPE, key).move(5, 1)
    kept.of_life(0, 1).claim(SCOPE, KEYS[0])
    at, size = {
        "entry": (kept._layout.entry(1, 1), 320),
        "header": (kept._layout.header(1), 128),
        "index": (kept._layout.index(1), 32),
        "scopes": (kept._layout.base(1), 64),
    }[part]
    kept._map[at : at + size] = b"\x5a" * size
    found = second.recall(SCOPE, KEYS)
    assert not found[KEYS[0]].complete
    assert [found[key].complete for key in KEYS[1:]] == [part == "entry"] * 2  # it is known whose entry it was
    kept.epitaph(0, 1, EPITAPHS[0])
    kept.epitaph(0, 2, EPITAPHS[0])
    life = kept.of_life(0, 3)  # puts it right
    assert not any(one.complete for one in second.recall(SCOPE, KEYS).values())
    for key in KEYS:
        life.claim(SCOPE, key).move(7, 1)
    assert all(one.complete and one.position == 7 for one in second.recall(SCOPE, KEYS).values())
    kept.close()


RESTORABLE = st.sampled_from(["header", "index", "scopes"]).flatmap(
    lambda part: st.tuples(st.just(part), st.integers(0, 1023), st.binary(min_size=1, max_size=64))
)


@settings(max_examples=200, deadline=None)
@given(scribbles=st.lists(RESTORABLE, min_size=1, max_size=8))
def test_a_life_puts_right_what_it_knows_and_nothing_is_in_doubt(scribbles):
    kept = ProgressMemory(2, partitions=8)
    first, second = kept.of_life(0, 1), kept.of_life(1, 1)
    places = [first.claim(scope, key) for key in KEYS for scope in (SCOPE, "other")[: 2 if key == KEYS[0] else 1]]
    for number, place in enumerate(places):
        place.move(number, 1)
    places[0].end(handled=True)
    places[0].settle()
    layout, page = kept._layout, 1
    before = [second.recall(scope, KEYS) for scope in (SCOPE, "other")]
    starts = {
        "header": (layout.header(page), 128),
        "index": (layout.index(page), 64),
        "scopes": (layout.base(page), 1024),
    }
    for part, offset, raw in scribbles:
        start, size = starts[part]
        at = start + offset % size
        raw = raw[: start + size - at]
        kept._map[at : at + len(raw)] = raw
    first.restore()
    assert [second.recall(scope, KEYS) for scope in (SCOPE, "other")] == before
    assert all(one.complete for found in before for one in found.values())
    assert second.handled(SCOPE) == 1
    first.claim("third", KEYS[1]).move(9, 1)
    assert second.recall("third", KEYS)[KEYS[1]].complete
    kept.close()


def test_a_life_puts_right_the_page_that_the_life_before_it_had():
    """Nobody else would, until the life after the next one: all take-overs were refused for as long."""
    kept = ProgressMemory(1, partitions=4)
    kept.of_life(0, 1).claim(SCOPE, KEYS[0]).move(5, 1)
    at = kept._layout.index(1)
    kept._map[at : at + 32] = b"\x5a" * 32
    kept.epitaph(0, 1, EPITAPHS[0])
    life = kept.of_life(0, 2)
    assert not any(one.complete for one in life.recall(SCOPE, KEYS).values())
    life.claim(SCOPE, KEYS[0]).move(7, 1)
    found = life.recall(SCOPE, KEYS)[KEYS[0]]
    assert (found.complete, found.position) == (True, 7)
    kept.close()


def test_the_page_of_a_life_beside_it_is_left_alone():
    """A spare and its predecessor: a page has one writer."""
    kept = ProgressMemory(1, partitions=4)
    old = kept.of_life(0, 1)
    old.claim(SCOPE, KEYS[0]).move(5, 1)
    for at in (kept._layout.index(1), kept._layout.header(1)):
        kept._map[at : at + 32] = b"\x5a" * 32
    spoilt = kept._map[kept._layout.index(1) : kept._layout.index(1) + 32]
    spare = kept.of_life(0, 2)
    assert kept._map[kept._layout.index(1) : kept._layout.index(1) + 32] == spoilt
    assert spare.recall(SCOPE, KEYS) == {}
    old.restore()
    assert spare.recall(SCOPE, KEYS)[KEYS[0]].complete
    kept.close()


def test_a_page_with_a_spoilt_header_is_left_to_a_life_that_may_run():
    kept = ProgressMemory(1, partitions=4)
    old = kept.of_life(0, 1)
    place = old.claim(SCOPE, KEYS[0])
    kept.of_life(0, 2)
    kept.epitaph(0, 2, EPITAPHS[0])  # a spare that was given up
    at = kept._layout.header(1)
    kept._map[at : at + 128] = b"\x5a" * 128
    spare = kept.of_life(0, 3)
    spare.claim(SCOPE, KEYS[1]).move(7, 1)
    old.claim(SCOPE, KEYS[2]).move(8, 1)
    place.move(9, 1)
    assert [one.position for one in spare.recall(SCOPE, KEYS).values()] == [9, 7, 8]
    kept.close()


def test_a_counter_that_is_spoilt_is_unknown_until_its_page_has_another_life():
    kept = ProgressMemory(1, partitions=4)
    life = kept.of_life(0, 1)
    place = life.claim(SCOPE, KEYS[0])
    place.end(handled=True)
    place.settle()
    assert life.handled(SCOPE) == 1
    at = kept._layout.base(1) + 32
    kept._map[at : at + 16] = b"\x5a" * 16
    assert life.handled(SCOPE) == 1  # one copy is left
    kept._map[at + 16 : at + 32] = b"\x5a" * 16
    assert life.handled(SCOPE) is None
    kept.epitaph(0, 1, EPITAPHS[0])
    kept.of_life(0, 2)
    life = kept.of_life(0, 3)
    assert life.handled(SCOPE) == 0
    kept.close()
