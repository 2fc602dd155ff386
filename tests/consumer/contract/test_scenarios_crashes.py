"""Crashes: of nodes, of brokers and of what lies between. Nothing is lost, and what comes twice is bounded."""

import time

import pytest

from swarm_consumer.events import ClientError
from swarm_consumer.testing import read_all


def consume_into(app, topic, journal, delay_s=0.0, **options):
    @app.consume(topic, **options)
    def handle(batch):
        if delay_s:
            time.sleep(delay_s)
        journal.add(batch)


def test_after_a_kill_in_the_middle_of_a_batch_everything_is_handled_and_only_the_uncommitted_twice(
    cluster, start, start_process, journal
):
    topic = cluster.topic(2)
    app = cluster.app()
    group = app.default_group
    cluster.fill(topic, 200, partitions=2)
    victim = start_process(group=group, topic=topic, kafka=cluster.settings(), max_messages=10, delay_s=0.01)
    victim.await_entries("handled", 25)
    victim.kill()
    committed = cluster.committed(group, topic)
    handled, begun = victim.entries("handled"), victim.entries("handling")
    consume_into(app, topic, journal)
    start(app)
    cluster.await_committed(group, topic, {0: 100, 1: 100})
    everything = [(number, offset) for number in (0, 1) for offset in range(100)]
    assert sorted(set(handled) | set(journal.places)) == everything
    # The next owner starts exactly at what was committed when the node died.
    for number in (0, 1):
        assert journal.offsets(number) == list(range(committed.get(number, 0), 100))
    twice = set(begun) & set(journal.places)
    assert all(offset >= committed.get(number, 0) for number, offset in twice)


def test_a_killed_node_has_committed_nothing_whose_output_is_not_there(cluster, start_process):
    topic, output = cluster.topic(2), cluster.topic(1)
    group = cluster.app().default_group
    cluster.fill(topic, 200, partitions=2)
    victim = start_process(
        group=group, topic=topic, kafka=cluster.settings(), max_messages=5, delay_s=0.005, output=output
    )
    victim.await_entries("handled", 40)
    victim.kill()
    committed = cluster.committed(group, topic)
    written = set(cluster.values(output))
    assert sum(committed.values()) > 0
    for number, offset in committed.items():
        missing = {b"%d-%d" % (number, each) for each in range(offset)} - written
        assert not missing


def test_sigterm_lets_the_batch_in_hand_finish_and_commits_it(cluster, start_process):
    topic = cluster.topic(1)
    group = cluster.app().default_group
    cluster.fill(topic, 50)
    node = start_process(
        group=group,
        topic=topic,
        kafka=cluster.settings(auto_commit_interval_ms=60000),
        max_messages=10,
        delay_s=0.05,
    )
    node.await_entries("handled", 12)
    assert node.stop() == 0
    handled = node.entries("handled")
    assert handled == node.entries("handling")
    assert cluster.committed(group, topic) == {0: len(handled)}
    assert len(handled) % 10 == 0


def test_a_broker_that_goes_away_and_comes_back_costs_no_record(cluster, start, journal):
    topic, app = cluster.topic(2), cluster.app()
    consume_into(app, topic, journal, delay_s=0.005)
    cluster.fill(topic, 200, partitions=2)
    node = start(app)
    journal.await_count(20)
    with cluster.away():
        time.sleep(0.5)
    cluster.fill(topic, 20, partitions=2, first=200)
    cluster.await_committed(app, topic, {0: 110, 1: 110}, timeout_s=60)
    assert node.stop() == 0
    assert set(journal.places) == {(number, offset) for number in (0, 1) for offset in range(110)}
    assert cluster.committed(app, topic) == {0: 110, 1: 110}


def test_a_node_that_starts_without_a_broker_begins_when_it_comes(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app()
    consume_into(app, topic, journal)
    cluster.fill(topic, 5)
    with cluster.away():
        node = start(app)
        node.await_phase("running")
        time.sleep(0.5)
        assert journal.entries == []
    cluster.await_committed(app, topic, {0: 5}, timeout_s=60)
    assert node.stop() == 0


def test_a_stop_without_a_broker_ends_in_time_and_the_work_is_done_again_later(cluster, start, start_process, journal):
    topic, app = cluster.topic(), cluster.app()
    cluster.fill(topic, 5)
    # A process: what a client without a broker leaves undone ends with it, its membership too.
    node = start_process(
        group=app.default_group,
        topic=topic,
        kafka=cluster.settings(auto_commit_interval_ms=60000),
        drain_timeout=1.0,
    )
    node.await_entries("handled", 5)
    with cluster.away():
        begun = time.monotonic()
        assert node.stop() in (0, 4)
        assert time.monotonic() - begun < 1.0 + 5.0
    assert cluster.committed(app, topic) in ({}, {0: 5})
    consume_into(app, topic, journal)
    start(app)
    cluster.fill(topic, 1, first=5)
    cluster.await_committed(app, topic, {0: 6}, timeout_s=60)
    assert {offset for _, offset in node.entries("handled")} | set(journal.offsets()) == set(range(6))


def test_a_coordinator_that_changes_keeps_progress(cluster, start, journal):
    topic, app = cluster.topic(2), cluster.app()
    consume_into(app, topic, journal, delay_s=0.002)
    if cluster.embedded:
        cluster.broker.move_coordinator(app.default_group, 1)
    cluster.fill(topic, 200, partitions=2)
    node = start(app)
    journal.await_count(20)
    if cluster.embedded:
        cluster.broker.move_coordinator(app.default_group, 2)
    else:
        cluster.broker.restart()  # one broker: the coordinator comes back with another epoch of its partition
    cluster.fill(topic, 20, partitions=2, first=200)
    cluster.await_committed(app, topic, {0: 110, 1: 110}, timeout_s=60)
    assert node.stop() == 0
    assert set(journal.places) == {(number, offset) for number in (0, 1) for offset in range(110)}


def test_leaders_that_move_interrupt_nothing(embedded_cluster, start, journal):
    cluster = embedded_cluster
    topic, app = cluster.topic(2), cluster.app()
    consume_into(app, topic, journal, delay_s=0.002)
    start(app)
    for turn, leader in enumerate((1, 2, 1, 2)):
        for partition in (0, 1):
            cluster.broker.move_leader(topic, partition, leader)
        cluster.fill(topic, 100, partitions=2, first=100 * turn)
        journal.await_count(100 * turn + 30)  # the next move comes in the middle
    cluster.await_committed(app, topic, {0: 200, 1: 200}, timeout_s=60)
    assert sorted(journal.places) == [(number, offset) for number in (0, 1) for offset in range(200)]


def test_commits_that_are_refused_for_a_while_are_made_later(embedded_cluster, start, journal):
    cluster = embedded_cluster
    topic, app = cluster.topic(), cluster.app()
    consume_into(app, topic, journal)
    cluster.broker.inject_errors(
        "OffsetCommit", ["NOT_COORDINATOR", "COORDINATOR_LOAD_IN_PROGRESS", "REBALANCE_IN_PROGRESS", "_TRANSPORT"]
    )
    cluster.fill(topic, 5)
    node = start(app)
    cluster.await_committed(app, topic, {0: 5})
    assert node.stop() == 0
    assert journal.offsets() == [0, 1, 2, 3, 4]


def test_connections_that_break_cost_no_record(embedded_cluster, start, journal):
    cluster = embedded_cluster
    topic, app = cluster.topic(2), cluster.app()
    consume_into(app, topic, journal, delay_s=0.002)
    cluster.fill(topic, 200, partitions=2)
    cluster.broker.inject_errors("Fetch", [None, "_TRANSPORT", None, None, "_TRANSPORT"])
    cluster.broker.inject_errors("ConsumerGroupHeartbeat", [None, None, "_TRANSPORT"])
    start(app)
    cluster.await_committed(app, topic, {0: 100, 1: 100})
    assert sorted(journal.places) == [(number, offset) for number in (0, 1) for offset in range(100)]


def test_a_member_that_the_coordinator_forgot_joins_again(embedded_cluster, start, journal):
    cluster = embedded_cluster
    topic, app = cluster.topic(), cluster.app()
    consume_into(app, topic, journal)
    node = start(app)
    node.await_partitions(1)
    cluster.broker.inject_errors("ConsumerGroupHeartbeat", ["UNKNOWN_MEMBER_ID"])
    time.sleep(0.5)
    cluster.fill(topic, 5)
    cluster.await_committed(app, topic, {0: 5})
    assert set(journal.offsets()) == set(range(5))


def test_a_slow_network_only_takes_longer(embedded_cluster, start, journal):
    cluster = embedded_cluster
    topic, app = cluster.topic(), cluster.app()
    consume_into(app, topic, journal)
    cluster.fill(topic, 10)
    cluster.broker.set_round_trip_time(0.1)
    node = start(app)
    cluster.await_committed(app, topic, {0: 10})
    assert node.stop() == 0
    assert journal.offsets() == list(range(10))


def test_a_handler_that_raises_systemexit_ends_the_node_and_its_batch_comes_again(cluster, start, journal):
    topic, first = cluster.topic(), cluster.app()
    cluster.fill(topic, 5)

    @first.consume(topic)
    def handle(batch):
        raise SystemExit(3)

    node = start(first)
    assert node.join() == 1
    assert "SystemExit" in node.runtime.fatal_error()
    assert cluster.committed(first, topic) == {}
    second = cluster.app(first.default_group)
    consume_into(second, topic, journal)
    start(second)
    cluster.await_committed(second, topic, {0: 5})
    assert journal.offsets() == [0, 1, 2, 3, 4]


def test_a_topic_that_may_not_be_read_is_reported_and_the_others_go_on(embedded_cluster, start, journal):
    cluster = embedded_cluster
    allowed, forbidden, app = cluster.topic(), cluster.topic(), cluster.app(protocol="classic")
    consume_into(app, allowed, journal)
    consume_into(app, forbidden, journal)
    cluster.fill(allowed, 5)
    cluster.broker.set_topic_error(forbidden, "TOPIC_AUTHORIZATION_FAILED")
    node = start(app)
    node.await_event(ClientError, lambda event: forbidden in event.reason)
    cluster.await_committed(app, allowed, {0: 5})


@pytest.mark.real_kafka
def test_what_an_aborted_transaction_wrote_is_never_given_and_is_stepped_over(kafka_cluster, start, journal):
    from confluent_kafka import Producer

    cluster, topic = kafka_cluster, kafka_cluster.topic()
    app = cluster.app(kafka={"isolation.level": "read_committed"})
    consume_into(app, topic, journal)
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    for value, end in ((b"kept", "commit"), (b"aborted", "abort"), (b"kept too", "commit")):
        producer.begin_transaction()
        producer.produce(topic, value)
        assert producer.flush(30) == 0  # an abort would otherwise drop what has not been sent
        getattr(producer, f"{end}_transaction")(30)
    start(app)
    cluster.await_committed(app, topic, {0: 5})
    assert journal.values == [b"kept", b"kept too"]
    assert [record.value for record in read_all(cluster.bootstrap, topic)] == [b"kept", b"kept too"]
