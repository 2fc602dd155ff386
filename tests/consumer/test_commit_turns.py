"""Commits in turns: whatever comes in whatever order, none overtakes another and none is forgotten."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from swarm_consumer._scheduling.commit_turns import REFUSED_S, UNANSWERED_S, CommitTurns

INTERVAL_S = 5.0
KEYS = [("flights", number) for number in range(3)]
A = KEYS[0]
some_keys = st.sets(st.sampled_from(KEYS), min_size=1)


class Turns(RuleBasedStateMachine):
    """An owner that marks, sends what is due, and gets answers, of which some are refusals."""

    def __init__(self):
        super().__init__()
        self.now = 100.0
        self.turns = CommitTurns(INTERVAL_S, self.now)
        self.positions = dict.fromkeys(KEYS, 0)
        self.taken = dict.fromkeys(KEYS, 0)
        self.under_way = []

    @rule(seconds=st.floats(0.01, 20))
    def passes(self, seconds):
        self.now += seconds

    @rule(keys=some_keys)
    def marks(self, keys):
        for key in keys:
            self.positions[key] += 1
        self.turns.moved(keys)

    @rule(keys=some_keys)
    def marks_at_once(self, keys):
        for key in keys:
            self.positions[key] += 1
        self.turns.at_once(keys, self.now)

    @rule()
    def turns_once(self):
        due = self.turns.due(self.now)
        assert not (due and self.under_way), "one after the other"
        if due:
            self.send(due)

    def send(self, due):
        places = frozenset((key, self.positions[key]) for key in due)
        self.turns.sent(places, self.now)
        self.under_way.append(places)

    @precondition(lambda self: self.under_way)
    @rule(refused=st.sets(st.sampled_from(KEYS)))
    def is_answered(self, refused):
        places = self.under_way.pop(0)
        for key, offset in places:
            if key not in refused:
                assert offset >= self.taken[key], "nothing goes back"
                self.taken[key] = offset
        assert self.turns.answered(places, refused, self.now) == self.turns.count - len(self.under_way)
        soon = self.turns.due(self.now + REFUSED_S, at_last=True)
        assert {key for key, _ in places} & refused <= set(soon), "what was refused does not wait for the interval"

    @rule(keys=some_keys)
    def answers_something_else(self, keys):
        assert self.turns.answered(frozenset((key, 10**6) for key in keys), (), self.now) is None

    @precondition(lambda self: not self.under_way)
    @invariant()
    def knows_that_nothing_is_under_way(self):
        assert not self.turns.is_under_way()

    def teardown(self):
        """With nothing but time and good answers everything is committed."""
        for _ in range(3):
            while self.under_way:
                self.is_answered(set())
            self.now += INTERVAL_S + REFUSED_S
            if due := self.turns.due(self.now):
                self.send(due)
        assert self.taken == self.positions


TestTurns = Turns.TestCase
TestTurns.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


def sent(turns, key, offset, now):
    places = frozenset({(key, offset)})
    turns.sent(places, now)
    return places


def test_what_moved_is_committed_at_the_end_of_the_interval():
    turns = CommitTurns(INTERVAL_S, 0.0)
    turns.moved([A])
    assert turns.due(INTERVAL_S - 0.1) == []
    assert turns.due(INTERVAL_S) == [A]


def test_a_commit_at_once_does_not_put_off_the_others():
    turns = CommitTurns(INTERVAL_S, 0.0)
    turns.moved([KEYS[1]])
    turns.at_once([A], 1.0)
    assert turns.due(1.0) == [A]
    turns.answered(sent(turns, A, 1, 1.0), (), 1.1)
    assert turns.due(INTERVAL_S) == [KEYS[1]]


def test_at_last_nothing_waits_for_an_answer():
    turns = CommitTurns(INTERVAL_S, 0.0)
    sent(turns, A, 1, 0.0)
    turns.at_once([A], 1.0)
    assert turns.due(1.0) == []
    assert turns.due(1.0, at_last=True) == [A]


def test_what_was_refused_is_committed_again_soon_though_it_has_moved_since():
    turns = CommitTurns(3600.0, 0.0)
    turns.at_once([A], 0.0)
    places = sent(turns, A, 1, 0.0)
    turns.moved([A])
    turns.answered(places, {A}, 1.0)
    assert turns.wanted([A]) == [A]
    assert turns.due(1.0 + REFUSED_S) == [A]
    turns.answered(sent(turns, A, 2, 2.0), (), 2.1)
    assert turns.wanted([A]) == []


def test_a_commit_that_nobody_answers_is_given_up():
    turns = CommitTurns(INTERVAL_S, 0.0)
    sent(turns, A, 1, 0.0)
    turns.moved([A])
    assert turns.due(UNANSWERED_S - 1) == []
    assert turns.due(UNANSWERED_S) == [A]


def test_what_left_is_committed_no_more():
    turns = CommitTurns(INTERVAL_S, 0.0)
    turns.at_once([A], 0.0)
    turns.forget([A])
    assert turns.due(100.0) == []
    assert turns.wanted([A]) == []


def test_a_new_client_begins_anew():
    turns = CommitTurns(INTERVAL_S, 0.0)
    sent(turns, A, 1, 0.0)
    turns.at_once([A], 1.0)
    turns.begin_anew(2.0)
    assert not turns.is_under_way()
    assert turns.due(1000.0) == []
