"""Static ids that the application did not ask for: who gets them, of what, and what happens if they are taken."""

from __future__ import annotations

import re
import threading
import time

import confluent_kafka
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_consumer import App
from swarm_consumer._connection import owner
from swarm_consumer.events import Assigned, ClientCreated, ClientError, Lost
from swarm_consumer.kafka.client_errors import Consequence, judge
from swarm_consumer.routing import StaticIds
from swarm_consumer.routing.client_properties import ClientProperties
from swarm_consumer.routing.static_ids import LONGEST_ID, fitting

BOTH = frozenset({"classic", "consumer"})


def group_of(name="pricing", **kafka):
    app = App("shop", {"bootstrap.servers": "nowhere:9092", **kafka})
    app.consume("orders", group=name)(lambda messages: None)
    (group,) = app.subscription_groups()
    return group


@pytest.mark.parametrize(
    ("ids", "kafka", "expected"),
    [
        (None, {}, None),
        (StaticIds("shop.host.boot.0"), {}, "shop.host.boot.0_3_pricing"),
        (StaticIds("shop.host.boot.0"), {"group.protocol": "Classic"}, "shop.host.boot.0_3_pricing"),
        (StaticIds("shop.host.boot.0"), {"group.protocol": "consumer"}, None),
        (StaticIds("shop.host.boot.0", BOTH), {"group.protocol": "consumer"}, "shop.host.boot.0_3_pricing"),
        (StaticIds("shop.host.boot.0", frozenset()), {}, None),
        (StaticIds("shop.host.boot.0", BOTH), {"group.instance.id": "rack"}, "rack_3_pricing"),
        (
            StaticIds("shop.host.boot.0", BOTH),
            {"group.instance.id": "a rack"},
            "a rack_3_pricing",
        ),  # as the user wrote it
    ],
)
def test_who_gets_a_static_id(ids, kafka, expected):
    properties = ClientProperties(group_of(**kafka), "shop", 3, ids)
    assert properties.instance_id == properties.for_client().get("group.instance.id") == expected
    ours = expected is not None and "group.instance.id" not in kafka
    assert properties.static_id_may_change is ours
    assert (properties.where("group.instance.id") == "StaticIds") is ours


def test_a_static_id_of_ours_has_only_what_brokers_and_tools_take_and_can_change():
    properties = ClientProperties(group_of("prices/új"), "shop", 12, StaticIds("shop.host.boot.0"))
    first = properties.instance_id
    assert re.fullmatch(r"shop\.host\.boot\.0_12_prices--j-[0-9a-f]{8}", first)
    seen = set()
    for _ in range(5):
        properties.change_static_id()
        assert re.fullmatch(re.escape(first) + r"\.[0-9a-f]{4}", properties.instance_id)
        assert properties.for_client()["group.instance.id"] == properties.instance_id
        seen.add(properties.instance_id)
    assert len(seen) > 1


@given(st.text(max_size=400), st.integers(10, LONGEST_ID))
def test_what_fits_stays_and_the_rest_is_made_to_fit(text, longest):
    made = fitting(text, longest)
    assert re.fullmatch(r"[a-zA-Z0-9._-]*", made)
    assert len(made) <= longest
    assert fitting(made, longest) == made
    if re.fullmatch(r"[a-zA-Z0-9._-]*", text) and len(text) <= longest:
        assert made == text


def test_two_texts_that_differ_in_what_is_replaced_or_cut_off_stay_different():
    assert fitting("a b", 80) != fitting("a/b", 80)
    assert fitting("a b", 80) != fitting("a-b", 80)
    assert fitting("x" * 100 + "1", 80) != fitting("x" * 100 + "2", 80)
    assert fitting("\ud800", 80).startswith("--")  # no text that a codec takes, but one that Python can hold


def test_an_id_of_ours_that_is_taken_is_changed_and_one_of_the_users_ends_the_node():
    text = "Fatal error: Broker: Static consumer fenced by other consumer with same group.instance.id"
    from confluent_kafka import KafkaError

    error = KafkaError(KafkaError._FATAL, text, fatal=True)
    ours = judge(error, text, "pricing", "shop.host.boot.0_0_pricing", id_may_change=True)
    assert (ours.consequence, ours.code) == (Consequence.CHANGE_OWN_ID, "FENCED_INSTANCE_ID")
    assert "shop.host.boot.0_0_pricing in group pricing" in ours.reason
    assert "--membership dynamic" in ours.reason
    theirs = judge(error, text, "pricing", "rack_0_pricing")
    assert theirs.consequence is Consequence.END


class Id:
    def __init__(self, member_id):
        self.member_id = member_id

    def memberid(self):
        return self.member_id


@pytest.mark.parametrize(
    ("member_id", "kafka", "in_vain"),
    [
        ("shop.host.boot.0_0_pricing-0b-1c", {}, False),  # Kafka 2.3 and later
        ("shop-0-0b-1c", {}, True),  # before: of the client's id
        (None, {}, False),
        ("", {}, False),
        ("0x7f08600075f0", {}, False),  # nothing is known of how this broker makes ids
        ("shop-0-0b-1c", {"group.protocol": "consumer"}, False),  # no broker before 4.0 has it
    ],
)
def test_a_broker_before_2_3_is_known_by_the_member_id_that_it_makes(member_id, kafka, in_vain):
    properties = ClientProperties(group_of(**kafka), "shop", 0, StaticIds("shop.host.boot.0", BOTH))
    assert owner.static_in_vain(Id(member_id), properties) is in_vain
    dynamic = ClientProperties(group_of(**kafka), "shop", 0, None)
    assert owner.static_in_vain(None, dynamic) is False  # and the client is not asked


class Old:
    """A client of a broker before 2.3: all of a real one, but for the member id."""

    def __init__(self, client, calls):
        self._client = client
        self._calls = calls

    def subscribe(self, topics, on_assign, **callbacks):
        self._client.subscribe(topics, on_assign=lambda _, partitions: on_assign(self, partitions), **callbacks)

    def memberid(self):
        return "shop-0-6c57"

    def unsubscribe(self):
        self._calls.append("unsubscribe")
        self._client.unsubscribe()

    def close(self):
        self._calls.append("close")
        self._client.close()

    def __getattr__(self, name):
        return getattr(self._client, name)


@pytest.mark.parametrize("leaving", [False, True])
@pytest.mark.parametrize("kafka", [{}, {"group.instance.id": "rack"}])
def test_a_member_of_a_broker_before_2_3_says_so_once_and_always_leaves(embedded_broker, topic_name, leaving, kafka):
    """librdkafka's close() did not leave the group, because it believed to be a static member: silent for a session."""
    from swarm_consumer import Runtime
    from swarm_consumer.kafka.clients import KafkaClients

    topic, calls = topic_name(), []
    embedded_broker.create_topic(topic, 2)

    class OldBrokers(KafkaClients):
        def consumer(self, properties, **callbacks):
            return Old(super().consumer(properties, **callbacks), calls)

    app = App("shop", {**embedded_broker.client_settings("classic"), **kafka})
    app.consume(topic, group="pricing")(lambda messages: None)
    events = []
    app.subscribe(events.append)
    runtime = Runtime(app, node_id=0, clients=OldBrokers(), static_ids=StaticIds("shop.host.boot.0"))
    thread = threading.Thread(target=lambda: runtime.run(leaving=lambda code: leaving))
    thread.start()
    deadline = time.monotonic() + 30
    while not any(isinstance(event, Assigned) for event in events) and time.monotonic() < deadline:
        time.sleep(0.01)
    runtime.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert calls == ["unsubscribe", "close"]
    (told,) = [event for event in events if isinstance(event, ClientError)]
    assert (told.code, told.fatal) == ("UNSUPPORTED_VERSION", False)
    assert "before Kafka 2.3" in told.reason


def test_of_two_swarms_with_one_prefix_one_takes_another_id_and_both_go_on(real_world):
    """Containers with one host name and network namespaces of their own: neither sees the other's lock."""
    world = real_world
    topic = world.topic(4)
    ids = StaticIds("shop.host.boot.0")

    def start():
        app = App("shop", {**world.broker.client_settings("classic"), "auto.commit.interval.ms": 50})
        app.consume(topic, group=world.group)(lambda messages: time.sleep(0.001))
        return world.start(app, node_id=0, static_ids=ids)

    both = [start()]
    both[0].wait_for_event(Assigned)
    both.append(start())
    # Each has taken its id back once; whoever lost it first loses it once more.
    both[0].wait_for(lambda: any(len(one.of(ClientCreated)) >= 3 for one in both), what="another id")
    both[0].wait_for(lambda: all(one.runtime._connections[0].has_partitions for one in both), what="a share for each")
    used = [one.of(ClientCreated)[-1].instance_id for one in both]
    changed = [one for one in used if re.fullmatch(rf"shop\.host\.boot\.0_0_{world.group}\.[0-9a-f]{{4}}", one)]
    assert changed
    assert len(set(used)) == 2
    world.produce(topic, [b"x"] * 40, partition=range(4))
    world.await_committed(topic, dict.fromkeys(range(4), 10))
    assert [one.of(ClientCreated)[-1].instance_id for one in both] == used
    told = [event for one in both for event in one.of(ClientError)]
    assert {(event.code, event.fatal) for event in told} == {("FENCED_INSTANCE_ID", False)}
    assert [one.stop() for one in both] == [0, 0]


def test_an_id_that_was_taken_once_is_taken_back(real_world):
    """From a member that is no more, as of a broker that has read its groups from an early part of its log.

    Under another id the partitions would wait for the session of that one.
    """
    world = real_world
    topic = world.topic(2)
    app = App("shop", {**world.broker.client_settings("classic"), "session.timeout.ms": 45000})
    app.consume(topic, group=world.group)(lambda messages: None)
    running = world.start(app, node_id=0, static_ids=StaticIds("shop.host.boot.0"))
    running.wait_for_event(Assigned)
    (made,) = running.of(ClientCreated)
    intruder = confluent_kafka.Consumer(
        {
            **world.broker.client_settings("classic"),
            "group.id": world.group,
            "group.instance.id": made.instance_id,
            "partition.assignment.strategy": "cooperative-sticky",
            "log_level": 0,
        }
    )
    intruder.subscribe([topic])
    deadline = time.monotonic() + 60
    while not running.of(Lost) and time.monotonic() < deadline:
        intruder.poll(0.05)
    lost = time.monotonic()
    intruder.close()  # a static member does not leave
    running.wait_for(
        lambda: len(running.of(Assigned)) == 2 and running.of(Assigned)[1].partitions, what="its own again"
    )
    assert time.monotonic() - lost < 20
    assert [one.instance_id for one in running.of(ClientCreated)] == [made.instance_id] * 2
    assert running.stop() == 0
