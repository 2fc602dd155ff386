"""Kept progress against a list of claims: any order of lives, claims, writes and overflows of two nodes."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from swarm_consumer.progress import Epitaph, InHand, Member, ProgressMemory, Suspects, Verdict
from swarm_consumer.progress._layout import EPITAPHS

NODES, ENTRIES = 2, 3
SCOPES = ("a", "b")
KEYS = (("t", 0), ("t", 1), ("u", 0))
offsets = st.integers(0, 2**63 - 1)
maybe = st.none() | offsets
lives = st.none() | st.tuples(st.integers(0, 1), st.integers(1, 5))
suspicions = st.builds(
    Suspects, offsets, offsets, st.booleans(), maybe, st.integers(0, 9), maybe, witnessed=st.booleans(), life=lives
)
epitaphs = st.builds(Epitaph, st.sampled_from(Verdict), st.text(max_size=20), st.text(max_size=20))


@dataclass
class Claimed:
    """What a claim should say."""

    moment: int
    life: tuple[int, int]
    token: str = ""
    positions: bool = True
    position: int | None = None
    leader_epoch: int | None = None
    committed: int | None = None
    in_hand: InHand | None = None
    staged: bool = False
    succeeded: bool = False
    suspects: Suspects | None = None
    letters: int = 0
    released: bool = False


class ProgressMachine(RuleBasedStateMachine):
    """`newest` has the newest claim of each partition; `missing` the moment since when notes of a scope are."""

    def __init__(self):
        super().__init__()
        self.memory = ProgressMemory(NODES, partitions=ENTRIES)
        self.reader = self.memory.of_life(9, 1)  # beyond: it reads only
        self.generations = dict.fromkeys(range(NODES), 0)
        self.lives, self.places, self.members = {}, {}, {}
        self.entries = {page: set() for page in range(2 * NODES)}
        self.newest, self.missing, self.handled = {}, dict.fromkeys(SCOPES, 0), dict.fromkeys(SCOPES, 0)
        self.told = {}
        self.moment = 0

    def teardown(self):
        self.memory.close()

    # -- lives -------------------------------------------------------------------------------------------------------

    @rule(node_id=st.integers(0, NODES - 1), epitaph=epitaphs)
    def begin_life(self, node_id, epitaph):
        """End the life of a node, if it has one, and begin the next."""
        generation = self.generations[node_id]
        if node_id in self.lives:
            self.memory.epitaph(node_id, generation, epitaph)
            self.told[node_id, generation] = epitaph
            self.told.pop((node_id, generation - EPITAPHS), None)
        self.places = {of: place for of, place in self.places.items() if of[0] != node_id}
        self.generations[node_id] = generation = generation + 1
        self.lives[node_id] = life = self.memory.of_life(node_id, generation)
        assert sorted(map(str, life.departed())) == sorted(map(str, self.members.pop(node_id, [])))
        assert life.departed() == []

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), number=st.integers(0, 5), static=st.booleans())
    def join(self, data, number, static):
        node_id = data.draw(st.sampled_from(sorted(self.lives)))
        member = Member("group", f"member-{number}", "host_0" if static else None)
        self.lives[node_id].joined(member)
        self.members[node_id] = [member]  # of one group

    @rule(scope=st.sampled_from(SCOPES), key=st.sampled_from(KEYS))
    def claim_beyond(self, scope, key):
        assert self.reader.claim(scope, key) is None
        self.moment += 1
        self.missing = dict.fromkeys(SCOPES, self.moment)

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), scope=st.sampled_from(SCOPES), key=st.sampled_from(KEYS), positions=st.booleans())
    def claim(self, data, scope, key, positions):
        node_id = data.draw(st.sampled_from(sorted(self.lives)))
        life = self.lives[node_id]
        place = life.claim(scope, key, positions=positions)
        self.moment += 1
        taken = self.entries[life._own.page]
        if (scope, key) not in taken and len(taken) == ENTRIES:
            assert place is None
            self.missing[scope] = self.moment
            return
        taken.add((scope, key))
        tokens = {one.token for one in self.newest.values()}
        assert place.token not in tokens
        claimed = Claimed(self.moment, (node_id, self.generations[node_id]), place.token, positions)
        self.newest[scope, key] = claimed
        self.places[node_id, scope, key] = place, claimed

    # -- what a place writes -----------------------------------------------------------------------------------------

    def place(self, data):
        of = data.draw(st.sampled_from(sorted(self.places)))
        return of[1], *self.places[of]

    @staticmethod
    def wrote(claimed):
        if claimed.staged:
            claimed.in_hand, claimed.staged = None, False

    @precondition(lambda self: self.places)
    @rule(data=st.data(), first=offsets, last=offsets, attempt=st.integers(0, 9), alone=st.booleans())
    def begin(self, data, first, last, attempt, alone):
        _, place, claimed = self.place(data)
        place.begin(first, last, attempt, alone=alone)
        claimed.in_hand, claimed.staged = InHand(first, last, attempt, alone), False

    @precondition(lambda self: self.places)
    @rule(data=st.data(), handled=st.booleans(), settle=st.booleans())
    def end(self, data, handled, settle):
        scope, place, claimed = self.place(data)
        place.end(handled=handled)
        claimed.staged, claimed.succeeded = True, claimed.succeeded or handled
        if settle:
            place.settle()
            self.wrote(claimed)
            self.count(scope, claimed)

    def count(self, scope, claimed):
        self.handled[scope] += claimed.succeeded
        claimed.succeeded = False

    @precondition(lambda self: self.places)
    @rule(data=st.data(), position=maybe, leader_epoch=st.none() | st.integers(0, 2**31 - 1))
    def move(self, data, position, leader_epoch):
        scope, place, claimed = self.place(data)
        place.move(position, leader_epoch)
        claimed.position = position if claimed.positions else None
        claimed.leader_epoch = leader_epoch
        self.wrote(claimed)
        self.count(scope, claimed)

    @precondition(lambda self: self.places)
    @rule(data=st.data(), offset=offsets, suspects=st.none() | suspicions, letters=st.integers(0, 3))
    def note(self, data, offset, suspects, letters):
        _, place, claimed = self.place(data)
        place.committed(offset)
        place.suspect(suspects)
        place.letters(letters)
        claimed.committed, claimed.suspects, claimed.letters = offset, suspects, letters
        self.wrote(claimed)

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def renew(self, data):
        _, place, claimed = self.place(data)
        place.renew()
        self.moment += 1
        assert place.token != claimed.token
        claimed.token, claimed.moment = place.token, self.moment
        claimed.position = claimed.leader_epoch = claimed.committed = None
        self.wrote(claimed)
        of = next(of for of, one in self.places.items() if one[1] is claimed)
        self.newest[of[1:]] = claimed  # newer than what a sibling has claimed meanwhile

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def release(self, data):
        of = data.draw(st.sampled_from(sorted(self.places)))
        place, claimed = self.places.pop(of)
        place.release()
        claimed.released = True

    # -- what is recalled --------------------------------------------------------------------------------------------

    @invariant()
    def recalls_the_newest_claims(self):
        for reader in (self.reader, *self.lives.values()):
            for scope in SCOPES:
                found = reader.recall(scope, KEYS)
                assert found.keys() == {key for of, key in self.newest if of == scope}
                for key, one in found.items():
                    self.check(one, self.newest[scope, key], self.missing[scope])
                assert reader.handled(scope) == self.handled[scope]

    def check(self, one, claimed, missing):
        assert (one.life, one.token, one.released) == (claimed.life, claimed.token, claimed.released)
        assert (one.committed, one.suspects) == (claimed.committed, claimed.suspects)
        assert one.complete == (claimed.moment > missing)
        assert one.epitaph == self.told.get(one.life, Epitaph())
        suspects_life = claimed.suspects.life if claimed.suspects is not None else None
        assert one.story == self.told.get(suspects_life, Epitaph())
        if claimed.released:
            assert (one.position, one.leader_epoch, one.in_hand, one.letters) == (None, None, None, 0)
        else:
            assert (one.position, one.leader_epoch) == (claimed.position, claimed.leader_epoch)
            assert (one.in_hand, one.letters) == (claimed.in_hand, claimed.letters)


TestProgress = ProgressMachine.TestCase
TestProgress.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
