"""Removing dead members on real Kafka, with sessions of 45 s: what would wait that long does not."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
import warnings

import pytest
from confluent_kafka.admin import AdminClient

pytest.importorskip("kafka.admin", reason="the extra swarm-consumer[evict] is not installed")

from swarm_consumer._scheduling.remembrance import Member
from swarm_consumer.admin import ClientProperties
from swarm_consumer.events import Assigned, ClientError, Lost, Revoked
from swarm_consumer.eviction import Evictor, access, preload

SESSION_MS = 45_000
SOON_S = 6.5
"""The others' heartbeats, 5 s as by default, and the rest."""
PARTITIONS = 4

VICTIM = """
import json, sys
from swarm_consumer import App, Runtime
from swarm_consumer.events import Assigned
given = json.loads(sys.argv[1])
app = App("test", given["kafka"], group=given["group"])
app.consume(given["topic"])(lambda batch: None)
class Memory:
    def joined(self, member):
        print(json.dumps([member.group, member.member_id, member.instance_id]), flush=True)
    def departed(self):
        return []
    def claim(self, scope, key, *, positions=True):
        return None
    def recall(self, scope, keys):
        return {}
    def handled(self, scope):
        return None
app.on(Assigned)(lambda event: print(json.dumps(len(event.partitions)), flush=True))
sys.exit(Runtime(app, node_id=given["node_id"], memory=Memory()).run())
"""


class Memory:
    def __init__(self, *departed):
        self.dead = list(departed)
        self.changed = threading.Event()
        self.members = []

    def joined(self, member):
        self.members.append(member)
        self.changed.set()

    def departed(self):
        return self.dead

    def claim(self, scope, key, *, positions=True):
        return None

    def recall(self, scope, keys):
        return {}

    def handled(self, scope):
        return None


class Victim:
    """A node in a process of its own, to be killed."""

    def __init__(self, world, topic, kafka, node_id=1):
        given = {"kafka": kafka, "group": world.group, "topic": topic, "node_id": node_id}
        self.process = subprocess.Popen(
            [sys.executable, "-c", VICTIM, json.dumps(given)], stdout=subprocess.PIPE, text=True
        )
        self.member = None

    def await_partitions(self):
        """Wait until it has partitions of its own; its member is known then."""
        while True:
            line = self.process.stdout.readline()
            assert line, "the victim ended"
            told = json.loads(line)
            if isinstance(told, list):
                self.member = Member(*told)
            elif told and self.member:
                return

    def await_member(self):
        """Wait until its member is known, with partitions or without."""
        while self.member is None:
            line = self.process.stdout.readline()
            assert line, "the victim ended"
            told = json.loads(line)
            if isinstance(told, list):
                self.member = Member(*told)

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture
def long_sessions(real_world):
    """Sessions of 45 s for this group, whatever the broker's own are."""
    from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=real_world.bootstrap)
    configs = {"consumer.session.timeout.ms": str(SESSION_MS), "consumer.heartbeat.interval.ms": "5000"}
    admin.alter_configs([ConfigResource(ConfigResourceType.GROUP, real_world.group, configs=configs)])
    admin.close()
    preload()
    return real_world


def kafka_of(world, protocol, **more):
    settings = {**world.broker.client_settings(protocol), "log_level": 0, **more}
    if protocol == "classic":
        settings |= {"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": 1000}
    return settings


def node(world, topic, kafka, node_id, *departed, drain_timeout=15.0, leaving=None):
    from swarm_consumer import App

    app = App("test", kafka, group=world.group)
    app.consume(topic)(lambda batch: None)
    groups = app.subscription_groups()
    evict = Evictor({group.name: access(ClientProperties(group, app.client_id, node_id)) for group in groups})
    memory = Memory(*departed)
    running = world.start(
        app, node_id=node_id, memory=memory, evict=evict, drain_timeout=drain_timeout, leaving=leaving
    )
    running.memory, running.evict = memory, evict
    return running


def await_members(world, count):
    """Wait until the broker knows so many members of the group."""
    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    deadline = time.monotonic() + 20
    while True:
        (future,) = admin.describe_consumer_groups([world.group]).values()
        members = future.result(20).members
        if len(members) == count:
            return members
        assert time.monotonic() < deadline, f"{len(members)} members"
        time.sleep(0.05)


def owned(running):
    mine = set()
    for event in list(running.events):
        if isinstance(event, Assigned):
            mine |= set(event.partitions)
        elif isinstance(event, Revoked | Lost):
            mine -= set(event.partitions)
    return mine


def all_owned(*nodes):
    return len(set().union(*map(owned, nodes))) == PARTITIONS


@pytest.mark.parametrize(
    ("protocol", "static"),
    [("consumer", False), ("consumer", True), ("classic", False)],
    ids=["consumer-dynamic", "consumer-static", "classic-dynamic"],
)
def test_the_partitions_of_a_killed_node_do_not_wait_for_its_session(long_sessions, protocol, static):
    world = long_sessions
    topic = world.topic(PARTITIONS)
    more = {"group.instance.id": "shop"} if static else {}
    kafka = kafka_of(world, protocol, **more)
    sibling = node(world, topic, kafka, 0)
    sibling.wait_for(lambda: all_owned(sibling), what="all partitions")
    victim = Victim(world, topic, kafka)
    try:
        victim.await_partitions()
        sibling.wait_for(lambda: len(owned(sibling)) == PARTITIONS // 2, what="half of the partitions")
    finally:
        victim.kill()
    killed = time.monotonic()
    successor = node(world, topic, kafka, 1, victim.member)
    successor.wait_for(lambda: all_owned(sibling, successor) and owned(successor), 20.0, "the dead node's partitions")
    took = time.monotonic() - killed
    print(f"{protocol}, {'static' if static else 'dynamic'}: all partitions have an owner after {took:.2f} s")
    assert took < SOON_S


def test_a_static_member_that_comes_back_is_not_removed_first(long_sessions):
    """It stopped gracefully, for a successor: no other node hears of that."""
    world = long_sessions
    topic = world.topic(PARTITIONS)
    kafka = kafka_of(world, "consumer", **{"group.instance.id": "shop"})
    sibling = node(world, topic, kafka, 0)
    sibling.wait_for(lambda: all_owned(sibling), what="all partitions")
    old = node(world, topic, kafka, 1)
    old.wait_for(lambda: len(owned(old)) == PARTITIONS // 2 and len(owned(sibling)) == PARTITIONS // 2, what="halves")
    had, before = owned(old), len([one for one in sibling.events if isinstance(one, Assigned | Revoked | Lost)])
    assert old.stop() == 0
    left = [one for one in old.memory.members[-1:] if one.member_id]  # as the shared memory keeps it
    successor = node(world, topic, kafka, 1, *left)
    successor.wait_for(lambda: owned(successor), 20.0, "partitions")
    assert owned(successor) == had
    epochs = len([one for one in sibling.events if isinstance(one, Assigned | Revoked | Lost)]) - before
    assert (epochs, left) == (0, [])


def test_a_removal_that_failed_is_tried_again_while_the_broker_refuses_the_id(long_sessions, monkeypatch):
    """Otherwise a broker that was busy for a second would cost the session of the dead node."""
    world = long_sessions
    topic = world.topic(1)
    kafka = kafka_of(world, "consumer", **{"group.instance.id": "shop"})
    victim = Victim(world, topic, kafka)
    try:
        victim.await_partitions()
    finally:
        victim.kill()
    attempts = []
    remove = Evictor.__call__

    def busy_at_first(self, group, members, *, within_s=1.0):
        attempts.append(members)
        if len(attempts) > 1:
            remove(self, group, members, within_s=within_s)

    monkeypatch.setattr(Evictor, "__call__", busy_at_first)
    successor = node(world, topic, kafka, 1, victim.member)
    successor.wait_for(lambda: owned(successor), 20.0, "the dead node's partition")
    assert successor.of(ClientError)[0].code == "UNRELEASED_INSTANCE_ID"
    assert attempts == [[victim.member]] * 2


def test_a_node_that_dies_before_it_has_partitions_is_removed_too(long_sessions):
    """Otherwise the broker would hold its static id, and refuse it to the successor for the whole session."""
    world = long_sessions
    topic = world.topic(1)
    kafka = kafka_of(world, "consumer", **{"group.instance.id": "shop"})
    sibling = node(world, topic, kafka, 0)
    sibling.wait_for(lambda: owned(sibling), what="the partition")
    victim = Victim(world, topic, kafka)
    try:
        victim.await_member()
        await_members(world, 2)
    finally:
        victim.kill()
    assert await_members(world, 2)
    successor = node(world, topic, kafka, 1, victim.member)
    successor.wait_for(lambda: successor.memory.members, what="its own member id")
    await_members(world, 2)
    assert not successor.of(ClientError)


@pytest.mark.parametrize(
    ("protocol", "static"), [("consumer", True), ("classic", True), ("consumer", False)],
    ids=["consumer-static", "classic-static", "consumer-dynamic"],
)  # fmt: skip
def test_a_stale_member_id_does_nothing_to_the_successor(long_sessions, protocol, static, caplog):
    world = long_sessions
    topic = world.topic(PARTITIONS)
    more = {"group.instance.id": "shop"} if static else {}
    kafka = kafka_of(world, protocol, **more)
    victim = Victim(world, topic, kafka)
    try:
        victim.await_partitions()
    finally:
        victim.kill()
    successor = node(world, topic, kafka, 1, *([] if protocol == "classic" else [victim.member]))
    successor.wait_for(lambda: all_owned(successor), 20.0, "all partitions")
    own = successor.memory.members[-1]
    assert (own.member_id != victim.member.member_id, own.instance_id) == (True, victim.member.instance_id)
    successor.evict(world.group, [victim.member])  # late, and again
    world.produce(topic, [b"x"] * 40, partition=range(PARTITIONS))
    world.await_committed(topic, dict.fromkeys(range(PARTITIONS), 10))
    time.sleep(1.2)  # more than a heartbeat: a member that was thrown out would hear of it now
    assert not successor.of(Lost)
    assert not successor.of(Revoked)
    assert len(successor.of(Assigned)) == 1
    assert not [record for record in caplog.records if record.levelname == "WARNING" and "removed" in record.message]


def test_a_static_member_of_the_consumer_protocol_leaves_for_good(long_sessions):
    """Unsubscribe and close say "I come back" there (epoch -2): without a removal its partitions wait 45 s."""
    world = long_sessions
    topic = world.topic(PARTITIONS)
    kafka = kafka_of(world, "consumer", **{"group.instance.id": "shop"})
    one, two = (node(world, topic, kafka, number, leaving=lambda code: True) for number in (0, 1))
    one.wait_for(lambda: all_owned(one, two) and owned(one) and owned(two), what="shared partitions")
    left = time.monotonic()
    assert two.stop() == 0
    stopped = time.monotonic()
    one.wait_for(lambda: all_owned(one), 20.0, "the partitions of the node that left")
    took = time.monotonic() - left
    print(f"stopped after {stopped - left:.2f} s, others have its partitions after {took:.2f} s")
    assert took < SOON_S
    assert two.memory.members[-1].member_id == ""


@pytest.fixture(autouse=True)
def sockets_of_the_library_are_gone():
    """kafka-python leaves some to the garbage collector, which would warn in the middle of another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
