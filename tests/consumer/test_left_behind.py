"""A node that died in the middle of a rebalance: what it had goes to somebody, and nothing else makes a node rejoin."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException

from swarm_consumer._connection.left_behind import LOOKS_S, LeftBehind, joined_again, unclaimed
from swarm_consumer._scheduling.remembrance import Epitaph, Verdict
from tests.consumer.notebook import remembered

ENDED = Epitaph(Verdict.COUNTS, "killed by SIGSEGV")
MINE = remembered(life=(3, 1), token="swarm:1", position=5, epitaph=ENDED)


@pytest.mark.parametrize(
    ("note", "assigned", "found"),
    [
        (MINE, [], True),
        (MINE, [("t", 0)], False),
        (replace(MINE, released=True, position=None), [], False),
        (replace(MINE, epitaph=Epitaph()), [], False),
        (replace(MINE, life=(2, 1)), [], False),
    ],
    ids=["left", "came back", "given up gracefully", "its owner may live", "of another node"],
)
def test_what_counts_as_left_behind(note, assigned, found):
    assert unclaimed({("t", 0): note}, 3, assigned) == ({("t", 0): "swarm:1"} if found else {})


class World:
    """A client, notes, and the clock."""

    def __init__(self, notes, *, protocol="classic", static=True, node_id=3):
        self.notes, self.asked, self.fails = notes, 0, False
        group = SimpleNamespace(protocol=protocol, route_of=lambda topic: object() if topic == "t" else None)
        kept = SimpleNamespace(look=lambda keys: {key: self.notes[key] for key in keys if key in self.notes})
        self.watch = LeftBehind(group, kept, node_id, static=static)
        self.watch.begin(100.0)

    def list_topics(self, timeout):
        assert timeout <= 5
        self.asked += 1
        if self.fails:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        topics = [SimpleNamespace(topic=name, partitions={0: None, 1: None}) for name in ("t", "other")]
        return SimpleNamespace(topics={one.topic: one for one in topics})

    def at(self, seconds, assigned=()):
        return self.watch.look(self, 100.0 + seconds, lambda: assigned)


FIRST, SECOND = LOOKS_S


def test_what_stays_unclaimed_makes_the_member_join_again_once():
    world = World({("t", 0): MINE, ("other", 0): MINE})
    assert world.at(FIRST - 1) == []
    assert world.asked == 0
    assert world.at(FIRST) == []
    assert world.at(SECOND - 1) == []
    assert world.at(SECOND) == [("t", 0)]
    assert "t[0]" in joined_again([("t", 0)])
    assert world.at(SECOND + 100) == []
    assert world.asked == 2


def test_what_another_node_claims_meanwhile_is_left_alone():
    world = World({("t", 0): MINE})
    assert world.at(FIRST) == []
    world.notes[("t", 0)] = replace(MINE, life=(2, 1), token="swarm:2", epitaph=Epitaph())
    assert world.at(SECOND) == []


def test_a_later_claim_of_an_ended_life_of_this_node_is_not_taken_for_the_first():
    world = World({("t", 0): MINE})
    assert world.at(FIRST) == []
    world.notes[("t", 0)] = replace(MINE, token="swarm:3")
    assert world.at(SECOND) == []


def test_nothing_left_is_looked_at_once():
    world = World({})
    assert world.at(FIRST) == world.at(SECOND) == []
    assert world.asked == 1


def test_a_broker_that_does_not_answer_costs_nothing():
    world = World({("t", 0): MINE})
    world.fails = True
    assert world.at(FIRST) == world.at(SECOND) == []


@pytest.mark.parametrize("other", [{"protocol": "consumer"}, {"static": False}, {"node_id": None}])
def test_only_static_members_of_the_classic_protocol_look(other):
    world = World({("t", 0): MINE}, **other)
    assert world.at(FIRST) == world.at(SECOND) == []
    assert world.asked == 0


def test_the_type_of_a_broker_answer_is_the_clients():
    assert hasattr(confluent_kafka.Consumer, "list_topics")
