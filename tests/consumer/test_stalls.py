"""Partitions that bring nothing although the broker has more: judged by a table, and behind a proxy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_consumer._connection import silent_partitions
from swarm_consumer._connection.partition_ends import KnownEnd, PartitionEnds
from swarm_consumer._scheduling.stalls import Look, Remedy, StallWatch
from swarm_consumer.events import Assigned, PartitionStalled
from swarm_consumer.testing import produce
from tests.consumer.kafka_proxy import KafkaProxy

KEY, OTHER = ("flights", 3), ("flights", 4)
SEEK, REMAKE, REPORT = Remedy.SEEK, Remedy.REMAKE, Remedy.REPORT
ABSENT, NOT_SILENT = "absent", "brings records"

TABLE = [
    # what the looks saw: (fetched, end), and which remedies followed
    ("a stall climbs the ladder", [(5, 9)] * 5, [None, SEEK, REMAKE, REPORT, REPORT]),
    ("the end may grow meanwhile", [(5, 9), (5, 12), (5, 30)], [None, SEEK, REMAKE]),
    ("caught up", [(9, 9)] * 4, [None] * 4),
    ("behind the last record is a marker", [(10, 10), (10, 10)], [None, None]),
    ("the fetch moves", [(5, 90), (6, 90), (7, 90), (8, 90)], [None] * 4),
    ("a seek helps", [(5, 9), (5, 9), (9, 9), (9, 12), (9, 12)], [None, SEEK, None, None, SEEK]),
    ("it brings records in between", [(5, 9), NOT_SILENT, (5, 9), (5, 9)], [None, None, None, SEEK]),
    ("the new client begins at the commit", [(50, 90), (50, 90), (50, 90), (40, 90)], [None, SEEK, REMAKE, REPORT]),
    ("the new client is past it", [(50, 90), (50, 90), (50, 90), (60, 90)], [None, SEEK, REMAKE, None]),
    ("the new client fetches nowhere yet", [(5, 9), (5, 9), (5, 9), (None, 9)], [None, SEEK, REMAKE, REPORT]),
    ("absent for the rebalance", [(5, 9), (5, 9), (5, 9), ABSENT, (5, 9)], [None, SEEK, REMAKE, None, REPORT]),
    ("gone to another node and back", [(5, 9), (5, 9), *[ABSENT] * 4, (5, 9)], [None, SEEK, *[None] * 4, None]),
    ("never fetched", [(None, 9)] * 3, [None, SEEK, REMAKE]),
]


@pytest.mark.parametrize(("seen", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_follows_from_what_was_seen(seen, expected):
    watch, remedies = StallWatch(), []
    for number, look in enumerate(seen):
        silent = {} if isinstance(look, str) else {KEY: Look(*look)}
        owned = [] if look == ABSENT else [KEY]
        stalls = watch.judge(silent, owned, 30.0 * number)
        remedies.append(stalls[0].remedy if stalls else None)
    assert remedies == expected


def test_a_client_whose_queue_was_never_empty_need_not_fetch():
    watch = StallWatch()
    for number in range(10):
        assert not watch.judge({KEY: Look(5, 9)}, [KEY], 30.0 * number, had_room=False)
    (stall,) = watch.judge({KEY: Look(5, 9)}, [KEY], 300.0)
    assert stall.remedy is SEEK


def test_partitions_are_judged_apart():
    watch = StallWatch()
    watch.judge({KEY: Look(5, 9)}, [KEY, OTHER], 0.0)
    stalls = watch.judge({KEY: Look(5, 9), OTHER: Look(1, 9)}, [KEY, OTHER], 30.0)
    assert [(stall.key, stall.remedy, stall.since) for stall in stalls] == [(KEY, SEEK, 0.0)]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.booleans()), max_size=40))
def test_nothing_is_done_where_the_fetch_moves_or_is_at_the_end(looks):
    watch = StallWatch()
    before = None
    for number, (fetched, end, had_room) in enumerate(looks):
        stalls = watch.judge({KEY: Look(fetched, end)}, [KEY], float(number), had_room=had_room)
        assert not stalls or (had_room and fetched < end and before is not None and fetched <= before)
        before = fetched if before is None or fetched >= end else max(before, fetched)


def test_ends_are_kept_for_what_was_asked_alone():
    ends = PartitionEnds()
    ends.answered({KEY: 9, OTHER: 3}, [KEY, OTHER], 1.0)
    assert ends.known(KEY) == KnownEnd(9, 1.0)
    ends.answered({}, [KEY], 2.0)  # no answer
    assert ends.known(KEY) == KnownEnd(9, 1.0)
    assert ends.known(OTHER) is None
    ends.forget([KEY])
    assert ends.known(KEY) is None


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(silent_partitions, "LOOK_S", 1.0)
    monkeypatch.setattr(silent_partitions, "ROOM_S", 0.2)


@pytest.fixture
def stalled(embedded_broker, make_app, start, topic_name, soon):
    """Return a function that begins to consume through a proxy, and gives topic, proxy, node and what was handled."""
    proxies = []

    def begin(**settings):
        topic = topic_name("flights")
        embedded_broker.create_topic(topic, 1)
        produce(embedded_broker.bootstrap, topic, [b"%d" % number for number in range(10)])
        proxy = KafkaProxy(int(embedded_broker.bootstrap.rpartition(":")[2]))
        proxies.append(proxy)
        app = make_app(kafka={"bootstrap.servers": proxy.bootstrap, "statistics.interval.ms": 200}, **settings)
        seen = []
        app.consume(topic, group=topic)(lambda messages: seen.extend(message.offset for message in messages))
        running = start(app)
        running.wait_for(lambda: len(seen) == 10)
        return topic, proxy, running, seen

    yield begin
    for proxy in proxies:
        proxy.close()


def test_a_client_that_is_made_anew_brings_what_the_old_one_did_not(stalled, embedded_broker):
    """The fetches of one connection are answered with nothing: the partition stood still for ever, all green."""
    topic, proxy, running, seen = stalled()
    proxy.mute()
    produce(embedded_broker.bootstrap, topic, [b"%d" % number for number in range(10, 20)])
    running.wait_for_event(PartitionStalled, lambda event: event.remedy == SEEK.value)
    stall = running.wait_for_event(PartitionStalled, lambda event: event.remedy == REMAKE.value)
    assert (stall.offset, stall.end) == (10, 20)
    running.wait_for(lambda: len(seen) >= 20, what="the records that the stalled client did not bring")
    assert seen == list(range(20)), "nothing again, nothing left out"
    assert len(running.of(Assigned)) >= 2
    assert running.runtime.complaint() is None
    assert running.stop() == 0


def test_a_stall_that_nothing_helps_is_reported_with_its_partition(stalled, embedded_broker):
    topic, proxy, running, seen = stalled()
    proxy.mute(also_later=True)
    produce(embedded_broker.bootstrap, topic, [b"%d" % number for number in range(10, 20)])
    running.wait_for(running.runtime.complaint, timeout=60)
    code, reason = running.runtime.complaint()
    assert code == 5
    assert f"{topic}[0]" in reason
    assert "fetches at offset 10, the end is 20" in reason
    assert [event.remedy for event in running.of(PartitionStalled)][:3] == [SEEK.value, REMAKE.value, REPORT.value]
    assert running.stop() == 0
    assert seen == list(range(10))


def test_the_lag_of_a_paused_partition_is_asked_for(stalled, embedded_broker):
    """The connection knows the end as of its last fetch: the lag of a paused partition stood still."""
    topic, _, running, _ = stalled()
    (connection,) = running.runtime._connections
    partition = connection.partitions.by_key[topic, 0]
    connection.pause(partition, float("inf"), None)
    connection.requests.ask(lambda native: connection._owner.intake._pause(native, partition, paused=True), 10.0)
    produce(embedded_broker.bootstrap, topic, [b"%d" % number for number in range(10, 17)])

    def lag():
        (figures,) = running.runtime.statistics()["partitions"]
        return figures["lag"]

    running.wait_for(lambda: lag() == 7, what="the lag of what came since the pause")
    assert not running.of(PartitionStalled), "a paused partition has not stalled"
    assert running.stop() == 0


def test_a_partition_that_is_caught_up_or_empty_has_not_stalled(stalled, embedded_broker, soon):
    topic, _, running, _ = stalled()
    (connection,) = running.runtime._connections
    running.wait_for(lambda: connection.ends.known((topic, 0)) is not None)
    first = connection.ends.known((topic, 0)).at
    running.wait_for(lambda: connection.ends.known((topic, 0)).at > first + 3)
    assert not running.of(PartitionStalled)
    assert running.stop() == 0


class Silent:
    """Stands for a client that knows ends and beginnings, for a group whose partitions bring nothing."""

    def __init__(self, ends, beginnings):
        self.places = {-1: ends, -2: beginnings}
        self.asked = []

    def offsets_for_times(self, places, timeout):
        from confluent_kafka import TopicPartition

        self.asked.append([(place.partition, place.offset) for place in places])
        return [
            TopicPartition(place.topic, place.partition, self.places[place.offset][place.partition]) for place in places
        ]


def test_partitions_without_a_single_record_are_no_stall(monkeypatch, embedded_broker, make_app):
    """And they are asked about together, whatever their number."""
    from swarm_consumer._connection.connection import Connection
    from swarm_consumer._connection.silent_partitions import SilentPartitions
    from swarm_consumer._connection.workers import Workers
    from swarm_consumer.routing.client_properties import ClientProperties

    app = make_app()
    app.consume("flights")(lambda messages: None)
    (group,) = app.subscription_groups()
    properties = ClientProperties(group, "test", None)
    state = Connection(group, None, properties, Workers(1, None, None), app.bus, lambda: None, 30.0)
    state.statistics.join_state = "steady"
    told = []
    app.bus.subscribe(told.append, PartitionStalled)
    for number in range(4):
        state.partitions.assign(("flights", number), group.routes[0], 0.0)
    client = Silent(ends=[0, 7, 7, 9], beginnings=[0, 7, 2, 9])  # 1 and 3: retention took all; 2: there is something
    looks, now = SilentPartitions(state), 0.0
    looks._next_look = 0.0
    for _ in range(3):
        assert looks.look(client, now, now - 10.0)
        now += 31.0
    assert not looks.look(client, now - 30.5, None)
    assert [event.partition for event in told] == [2]
    assert [len(question) for question in client.asked] == [4, 4] * 2
    assert state.ends.known(("flights", 1)).offset == 7
