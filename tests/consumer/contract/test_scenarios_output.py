"""Output: what handlers produce is on the broker before the offsets of its batch are."""

import pytest

from swarm_consumer.events import BatchFailed
from swarm_consumer.testing import Record


def test_when_an_offset_is_committed_its_output_is_there(cluster, start):
    topic, output, app = cluster.topic(), cluster.topic(), cluster.app(max_messages=5)
    cluster.fill(topic, 100)

    @app.consume(topic)
    def handle(batch, consumer):
        for message in batch:
            consumer.produce(output, b"out-" + message.raw_payload)

    start(app)
    while True:
        committed = cluster.committed(app, topic).get(0, 0)  # asked first: the output may only be further on
        written = cluster.values(output)
        assert written[:committed] == [b"out-%d" % number for number in range(committed)]
        if committed == 100:
            break


def test_keys_headers_partitions_and_times_are_produced_as_given(cluster, start):
    topic, output, app = cluster.topic(), cluster.topic(3), cluster.app()
    cluster.fill(topic, 1)

    @app.consume(topic)
    def handle(batch, consumer):
        consumer.produce(output, {"a": 1}, key="k", headers=[("h", b"1")], partition=2, timestamp_ms=1_700_000_000_000)
        consumer.produce(output, None, key=b"k", partition=0)

    start(app)
    cluster.await_committed(app, topic, {0: 1})
    records = sorted(cluster.records(output), key=lambda record: record.partition)
    assert records[0].value is None
    assert records[1] == Record(b'{"a":1}', b"k", (("h", b"1"),), 2, 1_700_000_000_000, 0)


def test_a_delivery_says_where_the_record_is(cluster, start):
    topic, output, app = cluster.topic(), cluster.topic(2), cluster.app()
    cluster.fill(topic, 3)
    places = []

    @app.consume(topic)
    def handle(batch, consumer):
        for message in batch:
            delivery = consumer.produce(output, message.raw_payload, partition=1)
            delivery.wait(30)
            places.append((delivery.partition, delivery.offset))

    start(app)
    cluster.await_committed(app, topic, {0: 3})
    assert (
        places == [(record.partition, record.offset) for record in cluster.records(output)] == [(1, 0), (1, 1), (1, 2)]
    )


def test_output_of_a_batch_that_fails_later_is_repeated_and_its_offsets_wait(cluster, start):
    topic, output, app = cluster.topic(), cluster.topic(), cluster.app()
    cluster.fill(topic, 3)
    broken = [True]

    @app.consume(topic)
    def handle(batch, consumer):
        for message in batch:
            consumer.produce(output, message.raw_payload)
        if broken[0]:
            raise ValueError("after the output")

    node = start(app)
    node.await_event(BatchFailed)
    assert cluster.committed(app, topic) == {}
    broken[0] = False
    cluster.await_committed(app, topic, {0: 3})
    written = cluster.values(output)
    assert written[-3:] == [b"0", b"1", b"2"]
    assert set(written) == {b"0", b"1", b"2"}


def test_output_that_the_client_refuses_fails_the_batch_and_holds_its_offsets(cluster, start):
    topic, output = cluster.topic(), cluster.topic()
    app = cluster.app(kafka={"message.max.bytes": 10_000})
    cluster.fill(topic, 2)
    size = [20_000]

    @app.consume(topic)
    def handle(batch, consumer):
        for message in batch:
            consumer.produce(output, message.raw_payload * size[0])

    node = start(app)
    node.await_event(BatchFailed, count=2)
    assert cluster.committed(app, topic) == {}
    assert cluster.values(output) == []
    size[0] = 1
    cluster.await_committed(app, topic, {0: 2})
    assert cluster.values(output) == [b"0", b"1"]


def test_output_that_the_broker_refuses_fails_the_batch_and_holds_its_offsets(embedded_cluster, start):
    cluster = embedded_cluster
    topic, output, app = cluster.topic(), cluster.topic(), cluster.app()
    cluster.fill(topic, 2)
    cluster.broker.inject_errors("Produce", ["TOPIC_AUTHORIZATION_FAILED"])

    @app.consume(topic)
    def handle(batch, consumer):
        for message in batch:
            consumer.produce(output, message.raw_payload)

    node = start(app)
    failed = node.await_event(BatchFailed)
    assert "authorization failed" in str(failed.error)
    cluster.await_committed(app, topic, {0: 2})
    assert cluster.values(output)[-2:] == [b"0", b"1"]


def test_a_mark_in_the_middle_waits_for_the_output_before_it(cluster, start):
    topic, output, app = cluster.topic(), cluster.topic(), cluster.app(manual_marking=True)
    cluster.fill(topic, 10)
    seen = []

    @app.consume(topic)
    def handle(batch, consumer):
        for message in batch:
            consumer.produce(output, message.raw_payload)
            if message.offset == 4:
                consumer.mark_as_consumed(message, blocking=True)
                seen.append((cluster.committed(app, topic), cluster.values(output)))

    node = start(app)
    cluster.await_committed(app, topic, {0: 5})
    assert node.stop() == 0
    assert seen == [({0: 5}, [b"0", b"1", b"2", b"3", b"4"])]


def test_one_producer_serves_all_partitions_of_a_node(cluster, start):
    topic, output, app = cluster.topic(4), cluster.topic(), cluster.app(concurrency=4)
    cluster.fill(topic, 40, partitions=4)
    producers = set()

    @app.consume(topic)
    def handle(batch, consumer):
        producers.add(id(consumer.producer))
        for message in batch:
            consumer.produce(output, message.raw_payload)

    start(app)
    cluster.await_committed(app, topic, dict.fromkeys(range(4), 10))
    assert sorted(cluster.values(output)) == sorted(b"%d" % number for number in range(40))
    assert len(producers) == 1


def test_a_chain_of_two_apps_passes_every_record_on(cluster, start, journal):
    first_topic, second_topic = cluster.topic(2), cluster.topic(2)
    first, second = cluster.app(), cluster.app()

    @first.consume(first_topic)
    def pass_on(batch, consumer):
        for message in batch:
            consumer.produce(second_topic, message.raw_payload, partition=message.partition)

    @second.consume(second_topic)
    def receive(batch):
        journal.add(batch)

    start(first)
    start(second)
    cluster.fill(first_topic, 200, partitions=2)
    cluster.await_committed(first, first_topic, {0: 100, 1: 100})
    cluster.await_committed(second, second_topic, {0: 100, 1: 100})
    assert sorted(map(int, journal.values)) == list(range(200))
    assert [int(value) for number, _, value in journal.entries if number == 1] == list(range(1, 200, 2))


@pytest.mark.real_kafka
def test_a_node_that_dies_between_output_and_commit_repeats_output_and_loses_none(kafka_cluster, start, start_process):
    cluster = kafka_cluster
    topic, output = cluster.topic(), cluster.topic()
    app = cluster.app()
    cluster.fill(topic, 60)
    victim = start_process(
        group=app.default_group,
        topic=topic,
        kafka=cluster.settings(auto_commit_interval_ms=60000),
        max_messages=5,
        delay_s=0.005,
        output=output,
    )
    victim.await_entries("handled", 23)
    victim.kill()
    assert cluster.committed(app, topic) == {}
    before = len(cluster.values(output))
    assert before >= 20  # four whole batches were acknowledged

    @app.consume(topic)
    def handle(batch, consumer):
        for message in batch:
            consumer.produce(output, b"%d-%d" % (message.partition, message.offset))

    start(app)
    cluster.await_committed(app, topic, {0: 60})
    written = cluster.values(output)
    assert set(written) == {b"0-%d" % offset for offset in range(60)}
    assert len(written) == before + 60
