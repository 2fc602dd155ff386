"""A model of nodes, partitions, poison and kills: the innocent are handled, in order, and the guilty given up."""

from __future__ import annotations

import dataclasses

import confluent_kafka
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm_consumer import App, Consumer, DeadLetters
from swarm_consumer._scheduling import suspicion
from swarm_consumer._scheduling.lane import LaneState
from swarm_consumer._scheduling.ledger import Ledger
from swarm_consumer._scheduling.partitions import Partitions
from swarm_consumer._scheduling.remembrance import Epitaph, Verdict
from swarm_consumer._scheduling.suspects import Sentence, story, suspects_after
from tests.consumer.notebook import Notebook

RECORDS = 24


class Handler(Consumer):
    def consume(self, messages):
        """Never called here."""


class Swarm:
    """Some nodes over one memory. Each node has some partitions, and threads that pass its gate."""

    def __init__(self, nodes, partitions, poison, max_messages, max_deaths, evidence):
        app = App("model", {"bootstrap.servers": "nowhere:1"})
        letters = DeadLetters(topic="dead", max_deaths=max_deaths, max_ratio=1)
        app.topic("flights", max_messages=max_messages, dead_letters=letters)(Handler)
        self.route, self.poison, self.always_evidence = app.routes[0], poison, evidence
        self.notes, self.runs, self.now = {}, 0, 0.0
        self.handled = {partition: [] for partition in range(partitions)}
        self.letters, self.deaths, self.calls = [], 0, 0
        self.generations = [0] * nodes
        self.nodes = [None] * nodes
        for node in range(nodes):
            self.start(node, [("flights", one) for one in range(node, partitions, nodes)])

    def handled_somewhere(self):
        self.calls += 1
        return self.runs + (self.calls if self.always_evidence else 0)

    def start(self, node, keys):
        self.generations[node] += 1
        memory = Notebook((node, self.generations[node]))
        memory.notes = self.notes
        partitions = Partitions(Ledger())
        partitions.claim = lambda key: memory.claim("scope", key)
        partitions.handled = self.handled_somewhere
        self.nodes[node] = partitions
        for key in keys:
            note = self.notes.get(key)
            begin = 0 if note is None or note.position is None else note.position
            suspects = note and suspects_after(
                note, begin, survives=True, hangs_count=False, handled=self.handled_somewhere()
            )
            partition = partitions.assign(key, self.route, self.now)
            partitions.begin(partition, begin, commit=True)
            partition.place.move(begin, None)
            (lane,) = partition.lanes
            lane.initialized = True
            if suspects:
                suspicion.accuse(partition, suspects, story(note, suspects))
            if note is not None:
                suspicion.continue_letters(partition, note.letters)
            records = [
                confluent_kafka.Message(topic="flights", partition=key[1], offset=one, value=b"x")
                for one in range(begin, RECORDS)
            ]
            if records:
                partitions.receive(partition, records)

    def die(self, node, verdict, story_told="killed by SIGSEGV"):
        keys = list(self.nodes[node].by_key)
        self.deaths += verdict is Verdict.COUNTS
        life = (node, self.generations[node])
        for key in keys:
            assert self.notes[key].life == life
            self.notes[key] = dataclasses.replace(self.notes[key], epitaph=Epitaph(verdict, story_told))
        self.start(node, keys)

    def lanes(self, node):
        return [lane for partition in self.nodes[node].by_key.values() for lane in partition.lanes]

    def begin(self, node, index):
        """Have a worker take a lane, if the gate lets it."""
        partitions, lanes = self.nodes[node], self.lanes(node)
        running = partitions.running()
        ready = [lane for lane in lanes if lane.state is LaneState.READY]
        # Suspects that wait for the gate keep the others out.
        wanting = [lane for lane in ready if lane.backlog.suspects is not None]
        if any(run.by_itself for run in running) or (wanting and running):
            return
        lane = (wanting or ready or [None])[index % len(wanting or ready or [None])]
        if lane is None:
            return
        alone = lane.backlog.suspects is not None
        run = partitions.take(lane, self.now, by_itself=alone)
        if run is not None and run.judgement is not None:
            given_up = run.judgement.sentence is Sentence.GIVE_UP
            if given_up:
                self.letters.append((run.partition, run.first_offset))
            partitions.finish(run, True, self.now, diverted=given_up)

    def end(self, node, index):
        """Have a handler return, or kill its process if it has poison."""
        running = self.nodes[node].running()
        if not running:
            return
        run = running[index % len(running)]
        offsets = [record.offset() for record in run.records]
        if any((run.partition, offset) in self.poison for offset in offsets):
            self.die(node, Verdict.COUNTS)
            return
        self.handled[run.partition] += [one for one in offsets if one not in self.handled[run.partition]]
        self.runs += 1
        self.nodes[node].finish(run, False, self.now)

    def wait(self):
        self.now += 60.0
        for partitions in self.nodes:
            partitions.wake(self.now)

    @property
    def idle(self):
        return not any(
            lane.state is LaneState.READY or lane.running is not None
            for node in range(len(self.nodes))
            for lane in self.lanes(node)
        )

    @property
    def done(self):
        return self.idle and not any(lane.backlog for node in range(len(self.nodes)) for lane in self.lanes(node))


positions = st.tuples(st.integers(0, 3), st.integers(0, RECORDS - 1))
STEPS = st.tuples(
    st.sampled_from(["begin", "begin", "begin", "end", "end", "kill", "company", "wait"]),
    st.integers(0, 1),
    st.integers(0, 7),
)


def play(swarm, steps, *, kills, company):
    for what, node, index in steps:
        node %= len(swarm.nodes)
        if what in ("begin", "end"):
            getattr(swarm, what)(node, index)
        elif what == "kill" and kills:
            swarm.die(node, Verdict.SUSPECT, "killed from outside")
        elif what == "company" and company:
            for lane in swarm.lanes(node):
                suspicion.in_company(lane)
        elif what == "wait" and swarm.idle:
            swarm.wait()


def finish(swarm):
    """From now on nothing happens but work, until there is none left."""
    for turn in range(20_000):
        for node in range(len(swarm.nodes)):
            swarm.begin(node, turn)
            swarm.end(node, turn)
        if swarm.done:
            return
        if swarm.idle:
            swarm.wait()
    raise AssertionError("it never ends")


def check(swarm, poison, partitions):
    guilty = {one for one in poison if one[0] < partitions}
    assert set(swarm.letters) == guilty, "all of the guilty, and nobody else"
    for partition, offsets in swarm.handled.items():
        assert offsets == sorted(offsets), "in order"
        assert set(offsets) == {one for one in range(RECORDS) if (partition, one) not in guilty}
    for note in swarm.notes.values():
        assert note.suspects is None
        assert note.in_hand is None


@settings(deadline=None, max_examples=300)
@given(
    st.integers(1, 2),
    st.integers(1, 4),
    st.sets(positions, max_size=4),
    st.integers(1, 30),
    st.integers(1, 4),
    st.lists(STEPS, max_size=80),
    st.booleans(),
    st.booleans(),
)
def test_the_guilty_are_given_up_and_all_others_are_handled(
    nodes, partitions, poison, max_messages, max_deaths, steps, kills, company
):
    swarm = Swarm(nodes, partitions, poison, max_messages, max_deaths, evidence=True)
    play(swarm, steps, kills=kills, company=company)
    finish(swarm)
    check(swarm, poison, partitions)
    if not kills and not company:
        # A death that several poisoned records share counts for each of them, and each needs one alone at least.
        assert swarm.deaths <= max(2, max_deaths) * len(swarm.letters)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 2), st.integers(1, 4), st.integers(1, 30), st.lists(STEPS, max_size=80))
def test_kills_from_outside_make_no_letter_and_lose_nothing(nodes, partitions, max_messages, steps):
    swarm = Swarm(nodes, partitions, set(), max_messages, 1, evidence=True)
    play(swarm, [*steps, ("kill", 0, 0), *steps], kills=True, company=False)
    finish(swarm)
    assert not swarm.letters
    assert not swarm.deaths
    check(swarm, set(), partitions)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 2), st.integers(1, 4), st.integers(1, 30), st.integers(1, 3), st.lists(STEPS, max_size=200))
def test_while_everything_kills_nothing_is_given_up(nodes, partitions, max_messages, max_deaths, steps):
    everything = {(partition, offset) for partition in range(partitions) for offset in range(RECORDS)}
    swarm = Swarm(nodes, partitions, everything, max_messages, max_deaths, evidence=False)
    play(swarm, steps, kills=True, company=True)
    assert not swarm.letters
    swarm.poison = set()  # the database is back
    finish(swarm)
    assert not swarm.letters
    check(swarm, set(), partitions)
