"""A node that died in the middle of a rebalance: what it had goes to somebody, and nothing else makes a node rejoin."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import confluent_kafka
import pytest
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException

from swarm_consumer._connection import group_members, left_behind
from swarm_consumer._connection.left_behind import FIRST_S, OWN_S, REJOIN_S, TRIES, LeftBehind, joined_again, was_own
from swarm_consumer._scheduling.remembrance import Epitaph, Verdict
from swarm_consumer.events import Assigned, ClientError
from swarm_consumer.kafka.clients import KafkaClients
from tests.consumer.notebook import remembered

ENDED = Epitaph(Verdict.COUNTS, "killed by SIGSEGV")
OWN = remembered(life=(3, 1), token="swarm:1", position=5, epitaph=ENDED)
HELD = replace(OWN, life=(2, 1), epitaph=Epitaph())
T0, T1 = ("t", 0), ("t", 1)


@pytest.mark.parametrize(
    ("note", "own"),
    [
        (OWN, True),
        (None, False),
        (replace(OWN, released=True, position=None), False),
        (replace(OWN, epitaph=Epitaph()), False),
        (replace(OWN, life=(2, 1)), False),
    ],
    ids=["own", "none", "given up gracefully", "its owner may live", "of another node"],
)
def test_what_a_predecessor_of_this_node_had(note, own):
    assert was_own(note, 3) == own


class Route(SimpleNamespace):
    def covers(self, topic):
        return topic.startswith(self.topic[1:]) if self.topic[0] == "^" else topic == self.topic


REVOCATION_S = 30.0


class World:
    """A client, notes, what the coordinator says, and the clock."""

    def __init__(self, notes=None, *, owned=(), applies=True, node_id=3, topic="t"):
        self.notes, self.owned, self.listed, self.asked, self.fails = notes, owned, 0, 0, False
        group = SimpleNamespace(routes=[Route(topic=topic)])
        found = lambda keys: {key: self.notes[key] for key in keys if key in self.notes}  # noqa: E731
        kept = None if notes is None else SimpleNamespace(look=found)
        self.watch = LeftBehind(group, kept, node_id, self.ask, applies=applies, revocation_s=REVOCATION_S)
        self.watch.begin(100.0)

    def list_topics(self, timeout):
        assert timeout <= 5
        self.listed += 1
        if self.fails:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        topics = [SimpleNamespace(topic=name, partitions={0: None, 1: None}) for name in ("t", "other")]
        return SimpleNamespace(topics={one.topic: one for one in topics})

    def ask(self):
        self.asked += 1
        return self.owned

    def at(self, seconds, assigned=(T1,)):
        return self.watch.look(self, 100.0 + seconds, lambda: assigned)


SECOND = FIRST_S + OWN_S


def test_what_an_own_predecessor_had_and_nobody_has_makes_the_member_join_again():
    world = World({T0: OWN})
    assert world.at(FIRST_S - 1) == []
    assert world.asked == 0
    assert world.at(FIRST_S) == []
    assert world.at(SECOND - 1) == []
    assert world.at(SECOND) == [T0]
    assert "t[0]" in joined_again([T0])
    assert world.asked == 2


def test_it_joins_again_once_for_each_partition_whatever_becomes_of_it():
    """Each new client began to count again: a partition that stayed as it was meant a rebalance every eight seconds."""
    world = World({T0: OWN})
    world.at(FIRST_S)
    assert world.at(SECOND) == [T0]
    for again in range(5):
        world.watch.begin(200.0 + 100 * again)
        assert [world.at(100 + 100 * again + after) for after in (FIRST_S, SECOND, 90)] == [[], [], []]


def test_what_a_node_of_another_swarm_has_is_left_alone():
    """It keeps no note here: the last one was that of a predecessor, and made each node join again without an end."""
    world = World({T0: OWN}, owned=(T0, T1))
    assert world.at(FIRST_S) == world.at(SECOND) == world.at(60) == []
    assert world.asked == 1


def test_what_a_process_may_have_that_lives_needs_no_question():
    world = World({T0: HELD})
    assert world.at(FIRST_S) == world.at(60) == []
    assert (world.listed, world.asked) == (1, 0)


@pytest.mark.parametrize("notes", [None, {}, {T0: replace(OWN, life=(2, 1))}], ids=["off", "none", "of another node"])
def test_without_a_note_of_its_own_others_have_time_to_end_their_handlers_and_join(notes):
    """No memory, a supervisor that was killed with its nodes, another swarm's node: they were not rescued at all."""
    world = World(notes, node_id=0)
    assert world.at(FIRST_S) == world.at(SECOND) == []
    assert world.at(FIRST_S + REVOCATION_S + REJOIN_S - 1) == []
    assert world.asked == 1
    assert world.at(FIRST_S + REVOCATION_S + REJOIN_S) == [T0]


def test_each_next_node_waits_a_little_longer():
    world = World(None, node_id=3)
    world.at(FIRST_S)
    assert world.at(FIRST_S + REVOCATION_S + REJOIN_S + 2.9) == []
    assert world.at(FIRST_S + REVOCATION_S + REJOIN_S + 3) == [T0]


def test_what_has_an_owner_meanwhile_begins_anew():
    world = World(None, node_id=0)
    world.at(FIRST_S)
    world.owned = (T0,)
    assert world.at(60) == world.at(200) == []
    assert world.asked == 2


def test_an_answer_that_does_not_come_is_asked_for_again_but_not_for_ever():
    """One that failed counted as "all is claimed", and nothing was looked at any more."""
    world = World({T0: OWN})
    world.fails = True
    assert world.at(FIRST_S) == []
    world.fails, world.owned = False, None  # in a rebalance
    assert world.at(4 * FIRST_S) == []
    world.owned = ()
    assert world.at(10 * FIRST_S) == []
    assert world.at(10 * FIRST_S + OWN_S) == [T0]
    world = World({T0: OWN}, owned=None)
    assert [world.at(1000.0 * turn) for turn in range(1, 20)] == [[]] * 19
    assert world.asked == TRIES


def test_a_topic_that_a_pattern_matches_only_here_is_none_of_the_group_s():
    world = World(None, node_id=0, topic="^", owned=(T0, T1))
    assert world.at(FIRST_S) == world.at(100) == []
    assert world.asked == 1


def test_all_partitions_here_need_no_question():
    world = World({T0: OWN})
    assert world.at(FIRST_S, [T0, T1]) == world.at(SECOND, [T0, T1]) == []
    assert (world.listed, world.asked) == (1, 0)


def test_who_is_not_concerned_does_not_look():
    world = World({T0: OWN}, applies=False)
    assert world.at(FIRST_S) == world.at(SECOND) == []
    assert world.listed == 0


def test_the_type_of_a_broker_answer_is_the_clients():
    assert hasattr(confluent_kafka.Consumer, "list_topics")


# -- what the coordinator is asked -------------------------------------------------------------------------------------


SHARE = SimpleNamespace(topic_partitions=[SimpleNamespace(topic="t", partition=0)])


class Answer:
    def __init__(self, state=ConsumerGroupState.STABLE, error=None, assignment=SHARE):
        member = SimpleNamespace(assignment=assignment)
        self._described, self._error = SimpleNamespace(state=state, members=[member]), error

    def done(self):
        return self._error is not TimeoutError

    def exception(self):
        return self._error

    def result(self):
        assert self._error is None
        return self._described


class Clients:
    def __init__(self, answer=None, error=None):
        self.answer, self.error = answer, error

    def admin(self, properties):
        if self.error is not None:
            raise self.error
        return self

    def describe_consumer_groups(self, groups, request_timeout):
        return dict.fromkeys(groups, self.answer)

    def poll(self, timeout):
        pass


@pytest.mark.parametrize(
    ("clients", "found"),
    [
        (Clients(Answer()), {T0}),
        (Clients(Answer(ConsumerGroupState.PREPARING_REBALANCING)), None),
        (Clients(Answer(error=KafkaException(KafkaError(KafkaError._TRANSPORT)))), None),
        (Clients(Answer(error=TimeoutError)), None),
        (Clients(Answer(assignment=None)), None),
        (Clients(error=AttributeError("a factory that makes no such client")), None),
    ],
    ids=["stable", "in a rebalance", "an error", "no answer", "no assignment", "no client"],
)
def test_what_the_coordinator_says(clients, found, monkeypatch):
    monkeypatch.setattr(group_members, "ASK_S", 0.05)
    assert group_members.owned(clients, {}, "orders", lambda: False) == found


def test_a_stop_does_not_wait_for_the_answer():
    stops, began = iter([False, True]), time.monotonic()
    assert group_members.owned(Clients(Answer(error=TimeoutError)), {}, "orders", lambda: next(stops)) is None
    assert time.monotonic() - began < group_members.ASK_S


def test_a_question_without_an_answer_leaves_no_client_behind(monkeypatch):
    """Its threads would stay until a garbage collection, which may be an hour later, or while a lock is held."""
    monkeypatch.setattr(group_members, "ASK_S", 0.3)
    tasks = Path("/proc/self/task")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reach = {"bootstrap.servers": f"127.0.0.1:{silent.getsockname()[1]}"}
        gc.collect()
        gc.disable()
        try:
            before = set(os.listdir(tasks))
            assert group_members.owned(KafkaClients(log_level=0), reach, "orders", lambda: False) is None
            assert set(os.listdir(tasks)) <= before
        finally:
            gc.enable()


# -- on Kafka ---------------------------------------------------------------------------------------------------------

MEMBER = """
import sys, json, os, confluent_kafka
dies = sys.argv[3] == "dies"
client = confluent_kafka.Consumer(json.loads(sys.argv[1]))
client.subscribe(
    [sys.argv[2]],
    on_assign=lambda c, p: print("assigned", len(p), flush=True),
    on_revoke=lambda c, p: os._exit(9) if dies else None,
)
while True:
    client.poll(0.1)
"""


def test_partitions_that_a_member_had_still_to_give_up_find_an_owner_without_any_note(real_world, monkeypatch):
    """The memory is off, or the whole swarm was killed: nothing names what nobody has."""
    monkeypatch.setattr(left_behind, "REJOIN_S", 2.0)
    world = real_world
    topic = world.topic(4)
    world.produce(topic, [b"x"] * 8, partition=range(4))
    kafka = {
        **world.broker.client_settings("classic"), "session.timeout.ms": 45000, "heartbeat.interval.ms": 500,
        "partition.assignment.strategy": "cooperative-sticky", "log_level": 0,
    }  # fmt: skip
    members = []

    def member(node, what):
        settings = {**kafka, "group.id": world.group, "group.instance.id": f"rack_{node}_{world.group}"}
        command = [sys.executable, "-c", MEMBER, json.dumps(settings), topic, what]
        members.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return members[-1]

    try:
        first = member(0, "dies")
        assert first.stdout.readline() == "assigned 4\n"
        other = member(1, "lives")
        assert first.wait(30) == 9  # as it was asked to give two of the four up
        assert other.stdout.readline() == "assigned 0\n"
        app = world.app(kafka={**kafka, "group.instance.id": "rack"}, revocation_timeout=1.0)
        app.consume(topic)(lambda messages: None)
        running = world.start(app, node_id=0)
        running.wait_for_event(ClientError, lambda event: event.code == "_UNCLAIMED", timeout=40)
        begun = len(running.of(Assigned))
        new = lambda: [event for event in running.of(Assigned)[begun:] if event.partitions]  # noqa: E731
        running.wait_for(new, 40, "its share")
        assert other.stdout.readline() in ("assigned 2\n", "assigned 4\n")  # the latter while this one was away
        assert running.stop() == 0
    finally:
        for process in members:
            process.kill()
            process.wait(10)
            process.stdout.close()
