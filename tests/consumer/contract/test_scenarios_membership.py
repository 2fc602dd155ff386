"""Membership: partitions come and go, and with them exactly what was done for them."""

import signal
import threading
import time

import pytest

from swarm_consumer import Consumer
from swarm_consumer.events import Assigned, BatchFailed, BatchStarted, Lost, RevocationOverrun, Revoked
from swarm_consumer.testing import add_partitions


def consume_into(app, topic, journal, delay_s=0.0, **options):
    @app.consume(topic, **options)
    def handle(batch):
        if delay_s:
            time.sleep(delay_s)
        journal.add(batch)


def members(cluster, start, topic, journal, count, **settings):
    """Start `count` nodes of one new group; each notes what it handles in the same journal."""
    group, nodes = None, []
    for _ in range(count):
        app = cluster.app(group, **settings)
        group = app.default_group
        consume_into(app, topic, journal)
        nodes.append(start(app))
    return group, nodes


def share(cluster, nodes, total):
    """Wait until the nodes have all partitions, shared as evenly as can be."""
    deadline = time.monotonic() + 60
    while True:
        counts = sorted(len(node.partitions) for node in nodes)
        if sum(counts) == total and counts[-1] - counts[0] <= 1:
            return
        assert time.monotonic() < deadline, f"partitions are shared {counts}"
        time.sleep(0.02)


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_second_node_takes_half_of_the_partitions_and_nothing_is_done_twice(cluster, start, journal, protocol):
    topic = cluster.topic(4)
    first = cluster.app(protocol=protocol)
    consume_into(first, topic, journal, delay_s=0.01)
    cluster.fill(topic, 200, partitions=4)
    one = start(first)
    journal.await_count(20)
    second = cluster.app(first.default_group, protocol=protocol)
    consume_into(second, topic, journal, delay_s=0.01)
    two = start(second)
    share(cluster, [one, two], 4)
    cluster.fill(topic, 40, partitions=4, first=200)
    cluster.await_committed(first, topic, dict.fromkeys(range(4), 60))
    assert one.stop() == two.stop() == 0
    assert sorted(journal.places) == [(partition, offset) for partition in range(4) for offset in range(60)]
    assert cluster.committed(first, topic) == dict.fromkeys(range(4), 60)


def test_one_two_four_three_nodes_under_load_hand_over_exactly(cluster, start, journal):
    topic, group, stop = cluster.topic(8), None, threading.Event()

    def load():
        number = 0
        while not stop.is_set():
            cluster.fill(topic, 200, partitions=8, first=number)
            number += 200
            stop.wait(0.05)

    producer = threading.Thread(target=load)
    producer.start()
    nodes = []
    try:
        for count in (1, 2, 4):
            while len(nodes) < count:
                app = cluster.app(group, max_messages=20)
                group = app.default_group
                consume_into(app, topic, journal, delay_s=0.002)
                nodes.append(start(app))
            share(cluster, nodes, 8)
            journal.await_count(len(journal.entries) + 200)
        assert nodes.pop().stop() == 0
        share(cluster, nodes, 8)
        journal.await_count(len(journal.entries) + 200)
    finally:
        stop.set()
        producer.join()
    ends = cluster.ends(topic)
    cluster.await_committed(group, topic, ends)
    for node in nodes:
        assert node.stop() == 0
    assert sorted(journal.places) == [(number, offset) for number in sorted(ends) for offset in range(ends[number])]
    assert cluster.committed(group, topic) == ends


def test_a_revocation_waits_for_the_batch_in_hand_and_the_next_owner_goes_on_behind_it(
    cluster, start, journal, new_journal, gate
):
    topic = cluster.topic(2)
    first = cluster.app(max_messages=5)
    cluster.fill(topic, 40, partitions=2)

    @first.consume(topic)
    def handle(batch):
        gate.wait(30)
        journal.add(batch)

    one = start(first)
    one.await_event(BatchStarted)
    later, second = new_journal(), cluster.app(first.default_group)
    consume_into(second, topic, later)
    two = start(second)
    time.sleep(1.0)  # long enough for a hand-over that would not wait
    gate.set()
    share(cluster, [one, two], 2)
    cluster.await_committed(first, topic, {0: 20, 1: 20})
    assert one.stop() == two.stop() == 0
    assert sorted(journal.places + later.places) == [(number, offset) for number in (0, 1) for offset in range(20)]
    assert not one.of(RevocationOverrun)


def test_a_batch_that_outlives_the_revocation_is_done_again_by_the_next_owner_and_marks_nothing(
    cluster, start, journal, new_journal, gate
):
    topic = cluster.topic(2)
    first = cluster.app(max_messages=5, revocation_timeout=0.5, concurrency=2)
    cluster.fill(topic, 20, partitions=2)

    @first.consume(topic)
    def handle(batch):
        journal.add(batch)
        gate.wait(60)

    one = start(first)
    journal.await_count(10)  # both partitions are stuck in their first batch
    later, second = new_journal(), cluster.app(first.default_group)
    consume_into(second, topic, later)
    two = start(second)
    one.await_event(RevocationOverrun)
    two.await_partitions(1)
    moved = next(iter(two.partitions))[1]
    cluster.await_committed(first, topic, {moved: 10})
    assert later.offsets(moved) == list(range(10))
    gate.set()  # now the first node's batch of that partition returns, with offset 4: it must not rewind the new owner
    cluster.await_committed(first, topic, {1 - moved: 10})
    assert one.stop() == 0
    assert cluster.committed(first, topic) == {0: 10, 1: 10}
    assert journal.offsets(moved) == list(range(5))


def test_a_partition_that_fails_is_taken_over_at_its_first_unmarked_record(cluster, start, new_journal):
    topic = cluster.topic(2)
    first = cluster.app(retry_backoff=5.0, retry_backoff_max=5.0)
    cluster.fill(topic, 20, partitions=2)

    @first.consume(topic)
    def handle(batch, consumer):
        for message in batch:
            if message.offset == 4:
                raise ValueError("only this node cannot do it")
            consumer.mark_as_consumed(message)

    one = start(first)
    one.await_event(BatchFailed, count=2)
    later, second = new_journal(), cluster.app(first.default_group)
    consume_into(second, topic, later)
    two = start(second)
    two.await_event(Assigned)
    assert one.stop() == 0
    cluster.await_committed(first, topic, {0: 10, 1: 10})
    assert sorted(later.places) == [(number, offset) for number in (0, 1) for offset in range(4, 10)]


def test_marks_made_in_the_revoked_hook_count(cluster, start, journal, new_journal):
    topic = cluster.topic(2)
    first = cluster.app(manual_marking=True)
    cluster.fill(topic, 20, partitions=2)

    @first.topic(topic)
    class Accumulates(Consumer):
        last = None

        def consume(self, messages):
            self.last = messages[-1]
            journal.add(messages)

        def revoked(self):
            if self.last is not None:
                self.mark_as_consumed(self.last)

        shutdown = revoked

    one = start(first)
    journal.await_count(20)
    assert cluster.committed(first, topic) == {}
    second = cluster.app(first.default_group)
    consume_into(second, topic, later := new_journal())
    two = start(second)
    share(cluster, [one, two], 2)
    moved = next(iter(two.partitions))[1]
    cluster.await_committed(first, topic, {moved: 10})
    assert one.stop() == 0
    assert cluster.committed(first, topic) == {0: 10, 1: 10}
    assert two.stop() == 0
    assert later.entries == []


def test_a_node_that_stops_leaves_its_partitions_to_the_others_at_once(cluster, start, journal):
    topic = cluster.topic(4)
    group, (one, two) = members(cluster, start, topic, journal, 2)
    share(cluster, [one, two], 4)
    begun = time.monotonic()
    assert one.stop() == 0
    two.await_partitions(4)
    cluster.fill(topic, 40, partitions=4)
    cluster.await_committed(group, topic, dict.fromkeys(range(4), 10))
    assert time.monotonic() - begun < 20  # far below what waiting for a default session of 45 s would take


def test_a_partition_that_leaves_and_comes_back_goes_on_where_the_other_left_it(cluster, start, new_journal):
    topic, first_journal, other_journal = cluster.topic(2), new_journal(), new_journal()
    first = cluster.app()
    consume_into(first, topic, first_journal)
    one = start(first)
    one.await_partitions(2)
    second = cluster.app(first.default_group)
    consume_into(second, topic, other_journal)
    two = start(second)
    share(cluster, [one, two], 2)
    cluster.fill(topic, 20, partitions=2)
    cluster.await_committed(first, topic, {0: 10, 1: 10})
    assert two.stop() == 0
    one.await_partitions(2)
    cluster.fill(topic, 20, partitions=2, first=20)
    cluster.await_committed(first, topic, {0: 20, 1: 20})
    assert sorted(first_journal.places + other_journal.places) == [(n, offset) for n in (0, 1) for offset in range(20)]
    assert other_journal.entries


def test_an_instance_belongs_to_one_assignment(cluster, start, new_journal):
    topic = cluster.topic(2)
    app = cluster.app()
    instances = []

    @app.topic(topic)
    class Counts(Consumer):
        def initialized(self):
            instances.append((self.topic, self.partition, id(self)))

        def consume(self, messages):
            pass

    cluster.fill(topic, 4, partitions=2)
    one = start(app)
    cluster.await_committed(app, topic, {0: 2, 1: 2})
    other = cluster.app(app.default_group)
    consume_into(other, topic, new_journal())
    two = start(other)
    share(cluster, [one, two], 2)
    moved = next(iter(two.partitions))[1]
    assert two.stop() == 0
    one.await_partitions(2)
    cluster.fill(topic, 4, partitions=2, first=4)
    cluster.await_committed(app, topic, {0: 4, 1: 4})
    counts = [sum(number == partition for _, number, _ in instances) for partition in (0, 1)]
    assert counts[moved] == 2
    assert counts[1 - moved] == 1


def test_a_process_that_is_stopped_loses_its_partitions_and_commits_nothing_when_it_wakes(
    cluster, start, start_process, journal
):
    topic = cluster.topic(2)
    group = cluster.app().default_group
    cluster.fill(topic, 40, partitions=2)
    sleeper = start_process(
        group=group, topic=topic, kafka=cluster.settings(auto_commit_interval_ms=60000), max_messages=5, delay_s=0.02
    )
    sleeper.await_entries("handled", 3)
    sleeper.signal(signal.SIGSTOP)
    app = cluster.app(group)
    consume_into(app, topic, journal)
    node = start(app)
    node.await_partitions(2)
    cluster.await_committed(group, topic, {0: 20, 1: 20})
    assert sorted(journal.places) == [(number, offset) for number in (0, 1) for offset in range(20)]
    sleeper.signal(signal.SIGCONT)
    node.await_event(Revoked)  # it comes back and gets a share again
    assert sleeper.stop() == 0
    assert cluster.committed(group, topic) == {0: 20, 1: 20}


def test_a_pattern_finds_topics_that_exist_and_one_that_appears(cluster, start, journal):
    prefix = cluster.topic(1, prefix="patterned")
    # With the new protocol the broker itself looks for topics, and for new ones only every 10 s (Kafka 4.1).
    app = cluster.app(protocol="classic")
    consume_into(app, f"^{prefix}.*", journal)
    cluster.fill(prefix, 3)
    start(app)
    cluster.await_committed(app, prefix, {0: 3})
    appeared = cluster.topic(2, prefix=f"{prefix}-new")
    cluster.fill(appeared, 10, partitions=2)
    cluster.await_committed(app, appeared, {0: 5, 1: 5})
    assert len(journal.entries) == 13


def test_a_topic_that_does_not_exist_yet_is_taken_up_when_it_appears(cluster, start, journal):
    app = cluster.app(protocol="classic")  # the mock never looks again at what members of the new protocol wanted
    topic = f"later-{app.default_group}"
    consume_into(app, topic, journal)
    node = start(app)
    node.await_phase("running")
    time.sleep(0.5)
    cluster.broker.create_topic(topic, 2)
    cluster.fill(topic, 10, partitions=2)
    cluster.await_committed(app, topic, {0: 5, 1: 5})
    assert node.stop() == 0


@pytest.mark.real_kafka
def test_partitions_that_are_added_are_taken_up_from_their_beginning(kafka_cluster, start, journal):
    topic, app = kafka_cluster.topic(1), kafka_cluster.app()
    consume_into(app, topic, journal)
    kafka_cluster.fill(topic, 3)
    start(app)
    kafka_cluster.await_committed(app, topic, {0: 3})
    add_partitions(kafka_cluster.bootstrap, topic, 3)
    kafka_cluster.fill(topic, 9, partitions=3)
    kafka_cluster.await_committed(app, topic, {0: 6, 1: 3, 2: 3})
    assert len(journal.entries) == 12


@pytest.mark.real_kafka
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_static_member_that_restarts_in_time_moves_nothing_at_the_other(kafka_cluster, start, journal, protocol):
    cluster, topic = kafka_cluster, kafka_cluster.topic(4)
    static = {"group.instance.id": "host"}

    def node(number, group=None):
        app = cluster.app(group, protocol=protocol, kafka=static)
        consume_into(app, topic, journal)
        return app, start(app, node_id=number)

    app, one = node(0)
    group = app.default_group
    _, two = node(1, group)
    share(cluster, [one, two], 4)
    mine = one.partitions
    before = len(two.of(Assigned)) + len(two.of(Revoked)) + len(two.of(Lost))
    assert one.stop() == 0
    _, again = node(0, group)
    again.await_partitions(2)
    assert again.partitions == mine
    cluster.fill(topic, 40, partitions=4)
    cluster.await_committed(group, topic, dict.fromkeys(range(4), 10))
    assert len(two.of(Assigned)) + len(two.of(Revoked)) + len(two.of(Lost)) == before


@pytest.mark.real_kafka
def test_a_static_member_that_leaves_for_good_gives_its_partitions_away_at_once(kafka_cluster, start, journal):
    cluster, topic = kafka_cluster, kafka_cluster.topic(4)
    static = {"group.instance.id": "host", "session.timeout.ms": 45000}
    apps = [cluster.app(protocol="classic", kafka=static)]
    apps.append(cluster.app(apps[0].default_group, protocol="classic", kafka=static))
    for app in apps:
        consume_into(app, topic, journal)
    one, two = (start(app, node_id=number) for number, app in enumerate(apps))
    share(cluster, [one, two], 4)
    assert one.stop(leaving=True) == 0
    two.await_partitions(4, timeout_s=15)  # not after the session of 45 s
    cluster.fill(topic, 40, partitions=4)
    cluster.await_committed(apps[0], topic, dict.fromkeys(range(4), 10))


@pytest.mark.real_kafka
def test_of_two_with_one_static_id_the_older_is_fenced_and_ends_with_the_reason(kafka_cluster, start, journal):
    cluster, topic = kafka_cluster, kafka_cluster.topic(2)
    static = {"group.instance.id": "host"}
    apps = [cluster.app(protocol="classic", kafka=static)]
    apps.append(cluster.app(apps[0].default_group, protocol="classic", kafka=static))
    for app in apps:
        consume_into(app, topic, journal)
    one = start(apps[0], node_id=0)
    one.await_partitions(2)
    two = start(apps[1], node_id=0)
    assert one.join() == 1
    assert "fenced" in one.runtime.fatal_error().lower()
    two.await_partitions(2)
    cluster.fill(topic, 10, partitions=2)
    cluster.await_committed(apps[0], topic, {0: 5, 1: 5})


@pytest.mark.real_kafka
def test_an_eager_assignor_hands_over_exactly_too(kafka_cluster, start, journal):
    cluster, topic = kafka_cluster, kafka_cluster.topic(4)
    eager = {"partition.assignment.strategy": "range"}
    group, (one,) = members(cluster, start, topic, journal, 1, protocol="classic", kafka=eager, max_messages=10)
    cluster.fill(topic, 400, partitions=4)
    journal.await_count(50)
    app = cluster.app(group, protocol="classic", kafka=eager, max_messages=10)
    consume_into(app, topic, journal)
    two = start(app)
    share(cluster, [one, two], 4)
    cluster.fill(topic, 40, partitions=4, first=400)
    cluster.await_committed(group, topic, dict.fromkeys(range(4), 110))
    assert one.stop() == two.stop() == 0
    assert sorted(journal.places) == [(partition, offset) for partition in range(4) for offset in range(110)]
