"""What waits in memory is bounded: by number, by bytes, by who can work on it. Without a client."""

from __future__ import annotations

import threading
import time

import confluent_kafka
import pytest

from swarm_consumer import App, Consumer
from swarm_consumer._scheduling import flow
from swarm_consumer._scheduling.backlog import size_of
from swarm_consumer._scheduling.lane import LaneState
from swarm_consumer._scheduling.ledger import Ledger
from swarm_consumer._scheduling.partitions import Partitions

ENOUGH = 10


def route(**options):
    app = App("bounds", {"bootstrap.servers": "nowhere:1"})
    app.topic("flights", **{"max_messages": 5, "max_held_messages": 10, **options})(
        type("Handler", (Consumer,), {"consume": lambda self, messages: None})
    )
    return app.routes[0]


@pytest.fixture
def partitions():
    return Partitions(Ledger())


def decide(partitions, now, concurrency=1):
    return flow.decide(partitions.by_key.values(), now, concurrency, ENOUGH)


def test_a_lane_over_its_bound_that_no_worker_comes_to_is_paused(partitions, make_records):
    """All workers are at long batches of other partitions; polls that keep the membership brought ten a second more."""
    lane = partitions.assign(("flights", 0), route(), 0.0).lanes[0]
    partitions.receive(lane.partition, make_records(0, 12))
    first = decide(partitions, 100.0)
    assert not first.pause
    assert not first.fetch
    assert not decide(partitions, 100.9).pause
    assert decide(partitions, 101.1).pause == [lane.partition]


def test_a_lane_that_is_worked_off_in_time_is_not_paused(partitions, make_records):
    lane = partitions.assign(("flights", 0), route(), 0.0).lanes[0]
    partitions.receive(lane.partition, make_records(0, 12))
    decide(partitions, 100.0)
    run = partitions.take(lane, 101.0)
    partitions.receive(lane.partition, make_records(12, 8))
    assert not decide(partitions, 101.1).pause, "a worker is at it"
    partitions.finish(run, False, 101.2)  # at 25 messages a second
    assert not decide(partitions, 101.3).pause, "the wait begins anew"


def test_nothing_is_fetched_while_every_lane_waits(partitions, make_records):
    """A fault that hits every handler: nobody can work on more."""
    for number in range(3):
        lane = partitions.assign(("flights", number), route(), 0.0).lanes[0]
        partitions.receive(lane.partition, make_records(0, 5, partition=number))
        partitions.finish(partitions.take(lane, 0.0), True, 0.1)
        assert lane.state is LaneState.WAITING
    assert not decide(partitions, 0.2).fetch
    partitions.wake(60.0)
    assert decide(partitions, 60.0).fetch


def test_one_lane_that_can_go_on_keeps_the_fetch_going(partitions, make_records):
    blocked = partitions.assign(("flights", 0), route(), 0.0).lanes[0]
    partitions.receive(blocked.partition, make_records(0, 5))
    partitions.finish(partitions.take(blocked, 0.0), True, 0.1)
    partitions.assign(("flights", 1), route(), 0.0)
    assert decide(partitions, 0.2).fetch


def big(first, count, size, partition=0):
    return [
        confluent_kafka.Message(topic="flights", partition=partition, offset=offset, value=b"x" * size)
        for offset in range(first, first + count)
    ]


def test_bytes_are_bounded_too(partitions):
    options = {"max_held_messages": 2000, "max_held_bytes": 4 * 2**20}
    for number in range(4):
        lane = partitions.assign(("flights", number), route(**options), 0.0).lanes[0]
        partitions.receive(lane.partition, big(0, 30, 50_000, number))
        partitions.finish(partitions.take(lane, 0.0), True, 0.1)
    over = decide(partitions, 0.2)
    assert len(over.pause) == 4, "each holds more than its quarter of 4 MiB"
    for partition in over.pause:
        partition.flow_paused = True
    for lane in partitions.wake(60.0):
        for _ in range(4):
            partitions.finish(partitions.take(lane, 60.0), False, 60.1)
    assert len(decide(partitions, 61.0).resume) == 4


def test_held_bytes_come_back_to_nothing(partitions):
    lane = partitions.assign(("flights", 0), route(max_held_messages=2000), 0.0).lanes[0]
    other = partitions.assign(("flights", 1), route(max_held_messages=2000), 0.0).lanes[0]
    partitions.receive(lane.partition, big(0, 23, 1000))
    partitions.receive(other.partition, big(0, 9, 70, 1))
    assert partitions.held_bytes == lane.partition.held_bytes + other.partition.held_bytes > 0
    while (run := partitions.take(lane, 1.0)) is not None:
        partitions.finish(run, False, 1.1)
        assert 0 <= lane.partition.held_bytes <= 23_000
    assert lane.partition.held_bytes == 0
    partitions.close(("flights", 1))
    assert partitions.held_bytes == partitions.held_total == 0


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100, 1000])
def test_the_size_of_equal_records_is_exact(count):
    assert size_of(big(0, count, 123)) == 123 * count


def test_tombstones_have_no_size(make_records):
    assert size_of([confluent_kafka.Message(topic="flights", partition=0, offset=1, value=None)]) == 0


def test_the_owner_sleeps_while_a_lane_at_its_bound_is_worked_off(embedded_broker, make_app, start, topic_name):
    """With a bound below half of what is fetched at once it turned without a poll or a wait, at 100 % of a core."""
    from swarm_consumer.testing import produce

    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 1)
    produce(embedded_broker.bootstrap, topic, [b"x"] * 60)
    app = make_app(max_messages=5, max_held_messages=5, concurrency=8)
    entered, gate = threading.Event(), threading.Event()

    @app.consume(topic, group=topic)
    def handle(messages):
        entered.set()
        assert gate.wait(60)

    running = start(app)
    assert entered.wait(60)
    owner = next(one.thread for one in running.runtime._connections)

    def cpu_s():
        with open(f"/proc/self/task/{owner.native_id}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    before, begun = cpu_s(), time.monotonic()
    while time.monotonic() - begun < 0.9:  # as long as nothing is paused for it
        time.sleep(0.05)
    used = (cpu_s() - before) / (time.monotonic() - begun)
    gate.set()
    assert used < 0.5, f"{used:.0%} of a core"
    assert running.stop() == 0


def test_of_large_messages_fewer_are_taken_at_once(make_app):
    """One fetch by count went far past a bound in bytes: 200 messages of 50 kB are 10 MB."""
    from swarm_consumer._connection.intake import Intake

    app = make_app(max_messages=100)
    app.consume("flights")(lambda messages: None)
    (group,) = app.subscription_groups()
    connection = type(
        "C", (), {"group": group, "partitions": Partitions(Ledger()), "workers": type("W", (), {"count": 1})}
    )
    intake = Intake(connection, None, None)
    assert intake._fetch_count() == 200
    for number in range(8):
        lane = connection.partitions.assign(("flights", number), group.routes[0], 0.0).lanes[0]
        connection.partitions.receive(lane.partition, big(0, 10, 50_000, number))
    assert intake._fetch_count() == 32 * 2**20 // 8 // 2 // 50_000
    connection.partitions.receive(lane.partition, big(10, 2, 10_000_000, 7))
    assert 1 <= intake._fetch_count() < 10
