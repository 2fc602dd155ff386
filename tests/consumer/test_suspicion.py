"""Suspects in the partitions of a process: how they are handed out, and what their notes say at each moment."""

from __future__ import annotations

import dataclasses

import confluent_kafka
import pytest

from swarm_consumer import App, Consumer, DeadLetters
from swarm_consumer._scheduling import suspicion
from swarm_consumer._scheduling.lane import LaneState
from swarm_consumer._scheduling.ledger import Ledger
from swarm_consumer._scheduling.partitions import Partitions
from swarm_consumer._scheduling.remembrance import Epitaph, InHand, Suspects, Verdict
from swarm_consumer._scheduling.suspects import Sentence
from tests.consumer.notebook import Notebook

KEY = ("flights", 0)
STORY = Epitaph(Verdict.COUNTS, "killed by SIGSEGV")
SHARED = Suspects(10, 19, in_company=True, evidence=0, life=(0, 1))


class Handler(Consumer):
    def consume(self, messages):
        """Never called here."""


class Bench:
    """One partition of one process, with a note."""

    def __init__(self, suspects=SHARED, *, letters=None, start=10, **settings):
        app = App("model", {"bootstrap.servers": "nowhere:1"})
        app.topic("flights", max_messages=100, dead_letters=letters, **settings)(Handler)
        self.memory = Notebook()
        self.partitions = Partitions(Ledger())
        self.partitions.claim = lambda key: self.memory.claim("scope", key)
        self.partitions.handled = lambda: self.memory.handled("scope")
        self.partition = self.partitions.assign(KEY, app.routes[0], 0.0)
        self.partitions.begin(self.partition, start, commit=False)
        (self.lane,) = self.partition.lanes
        self.lane.initialized = True
        if suspects is not None:
            suspicion.accuse(self.partition, suspects, STORY)

    @property
    def note(self):
        return self.memory.notes[KEY]

    def receive(self, *offsets):
        records = [confluent_kafka.Message(topic="flights", partition=0, offset=one, value=b"x") for one in offsets]
        self.partitions.receive(self.partition, records)

    def take(self, now=0.0, *, by_itself=True):
        run = self.partitions.take(self.lane, now, by_itself=by_itself)
        return run if run is None else (run, [record.offset() for record in run.records])

    def finish(self, run, now=0.0, *, failed=False, diverted=False):
        return self.partitions.finish(run, failed, now, diverted=diverted)


def test_suspects_are_handed_out_one_by_one_and_the_rest_as_always():
    bench = Bench()
    bench.receive(*range(10, 40))
    for offset in range(10, 20):
        run, offsets = bench.take()
        assert offsets == [offset]
        assert run.suspects is not None
        assert bench.note.in_hand == InHand(offset, offset, 1, alone=True)
        assert bench.note.suspects == dataclasses.replace(SHARED, first=offset, witnessed=offset > 10)
        bench.finish(run)
    assert bench.note.suspects is None
    assert bench.lane.backlog.suspects is None
    run, offsets = bench.take(by_itself=False)
    assert offsets == list(range(20, 40))
    assert run.suspects is None
    assert bench.note.in_hand == InHand(20, 39, 1, alone=False)


def test_records_before_the_suspects_are_handed_out_together_and_never_with_one():
    bench = Bench(start=0)
    bench.receive(*range(4, 30))
    run, offsets = bench.take()
    assert offsets == list(range(4, 10))
    assert run.suspects is None
    bench.finish(run)
    assert bench.take()[1] == [10]


def test_suspects_that_are_no_longer_there_are_cleared():
    bench = Bench()
    bench.receive(15, 25, 26)  # the others were compacted away
    assert bench.take()[1] == [15]
    assert bench.note.suspects.first == 15
    bench.finish(bench.lane.running)
    assert bench.take()[1] == [25, 26]
    assert bench.note.suspects is None


def test_a_suspect_that_fails_is_tried_again_alone():
    bench = Bench()
    bench.receive(*range(10, 30))
    run, _ = bench.take()
    assert bench.finish(run, failed=True).retry_in_s == 1.0
    assert bench.note.in_hand is None
    assert bench.note.suspects == SHARED, "it is not past yet"
    bench.partitions.wake(5.0)
    run, offsets = bench.take(5.0)
    assert offsets == [10]
    assert run.suspects is not None
    assert bench.note.in_hand == InHand(10, 10, 2, alone=True)


def test_a_suspect_that_uses_up_its_attempts_is_an_ordinary_dead_letter():
    bench = Bench(letters=DeadLetters(topic="dead", max_retries=0, max_consecutive=5))
    bench.receive(*range(10, 30))
    run, _ = bench.take()
    bench.finish(run, failed=True, diverted=True)
    assert bench.note.suspects == dataclasses.replace(SHARED, first=11)
    assert bench.note.letters == 1
    run, _ = bench.take()
    bench.finish(run)
    assert bench.note.letters == 0


def test_others_that_come_in_take_the_proof_away():
    bench = Bench()
    bench.receive(*range(10, 30))
    bench.take()
    suspicion.in_company(bench.lane)
    assert bench.note.in_hand == InHand(10, 10, 1, alone=False)
    suspicion.in_company(bench.lane)


def test_nothing_is_in_hand_before_the_consumer_is_ready():
    bench = Bench()
    bench.lane.initialized = False
    bench.receive(*range(10, 30))
    run, _ = bench.take()
    assert bench.note.in_hand is None
    suspicion.in_company(bench.lane)
    assert bench.note.in_hand is None
    suspicion.given(run)
    assert bench.note.in_hand == InHand(10, 10, 1, alone=False)


@pytest.mark.parametrize("known", [True, False])
def test_records_of_another_log_are_not_suspected(known):
    bench = Bench()
    if known:
        bench.receive(*range(10, 15))
    else:
        bench.partition.start_unknown = True  # then the first record says where it is, and nothing is known to differ
    bench.receive(3, 4)
    assert (bench.lane.backlog.suspects is None) is known
    assert (bench.note.suspects is None) is known


def test_a_seek_keeps_the_suspects_and_goes_past_clears_them():
    bench = Bench()
    bench.receive(*range(10, 30))
    run, _ = bench.take()
    run.seek = 0
    bench.finish(run)
    bench.partitions.sought(bench.partition, 0)
    assert bench.note.suspects == SHARED
    bench.receive(*range(30))
    assert bench.take()[1] == list(range(10))
    bench.finish(bench.lane.running)
    assert bench.take()[1] == [10]
    bench.lane.running.seek = 25
    bench.finish(bench.lane.running)
    bench.partitions.sought(bench.partition, 25)
    bench.receive(25, 26)
    assert bench.take()[1] == [25, 26]
    assert bench.note.suspects is None


def test_given_up_in_order_the_suspects_stay_for_the_next_owner():
    bench = Bench()
    bench.receive(*range(10, 30))
    run, _ = bench.take()
    bench.finish(run)
    bench.partitions.ledger.release(KEY, gracefully=True)
    assert bench.note.released
    assert bench.note.suspects == dataclasses.replace(SHARED, first=11)


def test_a_handler_that_ends_the_process_leaves_its_records_in_hand():
    bench = Bench(None)
    bench.receive(*range(10, 30))
    run, _ = bench.take(by_itself=False)
    run.deadly = True
    bench.finish(run, failed=True)
    assert bench.note.in_hand == InHand(10, 29, 1, alone=False)
    assert bench.partition.deadly


def test_what_outlives_its_assignment_and_survives_is_not_to_blame_for_a_later_death():
    bench = Bench()
    bench.receive(*range(10, 30))
    run, _ = bench.take()
    bench.partitions.close(KEY)  # lost: others have the partition, and nobody waits for the handler
    bench.partitions.ledger.release(KEY)
    assert bench.note.in_hand == InHand(10, 10, 1, alone=True)
    assert bench.finish(run).stale
    assert bench.note.in_hand is None
    assert not bench.note.released
    assert bench.memory.runs == 0


def test_a_process_that_ends_for_a_reason_of_its_own_blames_nothing():
    bench = Bench(None)
    bench.receive(*range(10, 30))
    bench.take(by_itself=False)
    suspicion.blame_nothing(bench.partitions.running())
    assert bench.note.in_hand is None
    assert bench.memory.runs == 0


# -- giving up -------------------------------------------------------------------------------------------------------

CULPRIT = dataclasses.replace(SHARED, culprit=10, deaths_alone=2, witnessed=True)
UNSEEN = dataclasses.replace(CULPRIT, witnessed=False)


def test_a_culprit_is_not_in_hand_when_it_is_given_up_and_the_rest_of_its_range_is_explained():
    bench = Bench(CULPRIT, letters=DeadLetters(topic="dead"))
    bench.memory.runs = 1
    bench.receive(*range(10, 30))
    run, offsets = bench.take()
    assert offsets == [10]
    assert run.judgement.sentence is Sentence.GIVE_UP
    assert bench.note.in_hand is None
    bench.finish(run, failed=True, diverted=True)
    assert bench.note.suspects is None
    assert bench.note.letters == 1
    assert bench.note.position == 11
    assert bench.memory.runs == 1, "a letter is no evidence that records can be handled"
    assert bench.take(by_itself=False)[1] == list(range(11, 30))


def test_a_culprit_without_a_dead_letter_topic_waits_longer_and_longer_and_is_never_tried():
    bench = Bench(CULPRIT, retry_backoff=1.0, retry_backoff_max=5.0)
    bench.memory.runs = 1
    bench.receive(*range(10, 30))
    now = 0.0
    for delay in (1.0, 2.0, 4.0, 5.0, 5.0):
        run, offsets = bench.take(now)
        assert offsets == [10]
        assert run.judgement.sentence is Sentence.GIVE_UP
        assert run.attempt == 1
        assert bench.finish(run, now, failed=True).retry_in_s == delay
        assert bench.lane.state is LaneState.WAITING
        assert bench.note.suspects == CULPRIT
        now += delay
        assert bench.partitions.wake(now) == [bench.lane]


@pytest.mark.parametrize("deaths_alone", [1, 2])
def test_where_everything_may_be_at_fault_a_culprit_waits_once_and_is_tried_again(deaths_alone):
    unseen = dataclasses.replace(UNSEEN, deaths_alone=deaths_alone)
    bench = Bench(unseen, letters=DeadLetters(topic="dead"))
    bench.receive(*range(10, 30))
    run, _ = bench.take()
    assert run.judgement.sentence is Sentence.WAIT
    assert bench.finish(run, failed=True).retry_in_s == 1.0
    bench.partitions.wake(1.0)
    run, offsets = bench.take(1.0)
    assert (offsets, run.judgement) == ([10], None)
    assert bench.note.in_hand == InHand(10, 10, 1, alone=True)
    assert bench.note.suspects == unseen
    bench.finish(run, 1.0)
    assert bench.note.suspects == dataclasses.replace(SHARED, first=11)
    assert bench.lane.backlog.parkings == 0


def test_whether_others_were_handled_is_noted_before_the_attempt():
    bench = Bench(UNSEEN, letters=DeadLetters(topic="dead"))
    bench.receive(*range(10, 30))
    bench.finish(bench.take()[0], failed=True)
    bench.memory.runs += 1
    bench.partitions.wake(1.0)
    run, _ = bench.take(1.0)
    assert run.judgement is None
    assert bench.note.suspects == CULPRIT
    index = [note.suspects == CULPRIT for _, note in bench.memory.written].index(True)
    assert bench.memory.written[index][1].in_hand is None


@pytest.mark.parametrize(
    ("letters", "in_a_row", "sentence"),
    [
        (DeadLetters(topic="dead", max_consecutive=2), 1, Sentence.GIVE_UP),
        (DeadLetters(topic="dead", max_consecutive=2), 2, Sentence.WAIT),
        (DeadLetters(topic="dead"), 9, Sentence.GIVE_UP),
        (DeadLetters(topic="dead"), 10, Sentence.WAIT),
        (DeadLetters(topic="dead", max_deaths=5), 0, None),
        (DeadLetters(topic="dead", max_deaths=2), 0, Sentence.GIVE_UP),
    ],
)
def test_letters_in_a_row_of_earlier_processes_count(letters, in_a_row, sentence):
    bench = Bench(CULPRIT, letters=letters)
    suspicion.continue_letters(bench.partition, in_a_row)
    assert bench.note.letters == in_a_row
    bench.memory.runs = 1
    bench.receive(*range(10, 30))
    run, _ = bench.take()
    assert (run.judgement and run.judgement.sentence) == sentence


@pytest.mark.parametrize("most", [None, 100])
def test_letters_because_of_errors_are_no_letters_because_of_deaths(most):
    """A burst of bad messages, one of which kills: it is the only one, so it is no fault of everything."""
    letters = DeadLetters(topic="dead", max_retries=0, max_consecutive=most, max_ratio=None)
    bench = Bench(dataclasses.replace(CULPRIT, first=30, last=39, culprit=30), letters=letters)
    bench.memory.runs = 1
    for offset in range(10, 30):
        bench.receive(offset)
        bench.finish(bench.take(by_itself=False)[0], failed=True, diverted=True)
    assert bench.note.letters == (0 if most is None else 20)
    bench.receive(30)
    run, _ = bench.take()
    assert run.judgement.sentence is Sentence.GIVE_UP
    bench.finish(run, failed=True, diverted=True)
    assert bench.note.letters == (1 if most is None else 21)


def test_max_deaths_of_a_topic_without_dead_letters():
    bench = Bench(CULPRIT, max_deaths=5)
    bench.memory.runs = 1
    bench.receive(10)
    assert bench.take()[0].judgement is None


@pytest.mark.parametrize(
    ("settings", "least", "expected"),
    [
        ({}, 60.0, 60.0),
        ({"consuming_ttl": 100.0}, 60.0, 60.0),  # no dead-letter topic: hangs do not count
        ({"consuming_ttl": 100.0, "letters": DeadLetters(topic="dead")}, 60.0, 115.0),
        ({"consuming_ttl": 100.0, "letters": DeadLetters(topic="dead", hangs=False)}, 60.0, 60.0),
        ({"consuming_ttl": 100.0, "letters": DeadLetters(topic=None, hangs=True)}, 60.0, 115.0),
        ({"consuming_ttl": 2.0, "letters": DeadLetters(topic="dead")}, 60.0, 60.0),
        ({"consuming_ttl": 1000.0, "letters": DeadLetters(topic="dead")}, 60.0, 60.0),
        ({"letters": DeadLetters(topic="dead")}, 60.0, 60.0),
    ],
)
def test_a_suspect_keeps_others_out_until_it_would_be_found_stuck_where_hangs_count(settings, least, expected):
    bench = Bench(**settings)
    bench.receive(10)
    assert suspicion.alone_s(bench.take()[0], least) == expected
