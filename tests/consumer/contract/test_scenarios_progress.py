"""Progress: what is committed, when, and where a restarted node goes on."""

import time

import pytest

from swarm_consumer import Consumer
from swarm_consumer.events import BatchFailed, BatchStarted
from swarm_consumer.testing import Record


def consume_into(app, topic, journal, **options):
    @app.consume(topic, **options)
    def handle(batch):
        journal.add(batch)


def test_every_record_is_handled_once_in_order_and_committed_on_stop(cluster, start, journal):
    topic, app = cluster.topic(3), cluster.app(kafka={"auto.commit.interval.ms": 60000})
    cluster.fill(topic, 300, partitions=3)
    consume_into(app, topic, journal)
    node = start(app)
    journal.await_count(300)
    assert node.stop() == 0
    for partition in range(3):
        assert journal.offsets(partition) == list(range(100))
    assert cluster.committed(app, topic) == {0: 100, 1: 100, 2: 100}


def test_progress_is_committed_at_intervals_while_the_node_runs(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app()
    consume_into(app, topic, journal)
    start(app)
    cluster.fill(topic, 5)
    cluster.await_committed(app, topic, {0: 5})
    cluster.fill(topic, 5, first=5)
    cluster.await_committed(app, topic, {0: 10})


def test_a_second_run_goes_on_exactly_where_the_first_stopped(cluster, start, journal, new_journal):
    topic, first = cluster.topic(2), cluster.app()
    cluster.fill(topic, 20, partitions=2)
    consume_into(first, topic, journal)
    node = start(first)
    journal.await_count(20)
    assert node.stop() == 0
    assert cluster.committed(first, topic) == {0: 10, 1: 10}
    cluster.fill(topic, 6, partitions=2, first=20)
    later, second = new_journal(), cluster.app(first.default_group)
    consume_into(second, topic, later)
    node = start(second)
    later.await_count(6)
    assert node.stop() == 0
    assert sorted(later.values) == [b"20", b"21", b"22", b"23", b"24", b"25"]
    assert cluster.committed(first, topic) == {0: 13, 1: 13}


def test_nothing_is_committed_before_the_handler_has_returned(cluster, start, gate):
    topic, app = cluster.topic(), cluster.app()
    cluster.fill(topic, 5)

    @app.consume(topic)
    def handle(batch):
        gate.wait(30)

    node = start(app)
    node.await_event(BatchStarted)
    time.sleep(0.5)  # five commit intervals in which a wrong commit would show
    assert cluster.committed(app, topic) == {}
    gate.set()
    cluster.await_committed(app, topic, {0: 5})


def test_a_failing_batch_holds_its_partition_and_no_other(cluster, start, journal):
    topic, app = cluster.topic(2), cluster.app()
    cluster.fill(topic, 10, partitions=2)
    broken = [True]

    @app.consume(topic)
    def handle(batch):
        if batch.partition == 0 and broken[0]:
            raise ValueError("not yet")
        journal.add(batch)

    node = start(app)
    cluster.await_committed(app, topic, {1: 5})
    node.await_event(BatchFailed, count=3)
    assert cluster.committed(app, topic) == {1: 5}
    broken[0] = False
    cluster.await_committed(app, topic, {0: 5, 1: 5})
    assert journal.offsets(0) == [0, 1, 2, 3, 4]


def test_the_attempt_counts_up_and_starts_again_with_the_next_batch(cluster, start):
    topic, app = cluster.topic(), cluster.app(max_messages=1)
    cluster.fill(topic, 2)
    attempts = []

    @app.consume(topic)
    def handle(batch, consumer):
        attempts.append((batch.first_offset, consumer.attempt, consumer.retrying))
        if batch.first_offset == 0 and consumer.attempt < 3:
            raise ValueError("again")

    start(app)
    cluster.await_committed(app, topic, {0: 2})
    assert attempts == [(0, 1, False), (0, 2, True), (0, 3, True), (1, 1, False)]


def test_what_was_marked_before_a_failure_is_committed_and_not_given_again(cluster, start):
    topic, app = cluster.topic(), cluster.app()
    cluster.fill(topic, 10)
    seen, broken = [], [True]

    @app.consume(topic)
    def handle(batch, consumer):
        seen.append([message.offset for message in batch])
        for message in batch:
            if message.offset == 6 and broken[0]:
                raise ValueError("stuck at 6")
            consumer.mark_as_consumed(message)

    node = start(app)
    node.await_event(BatchFailed, lambda event: event.offset == 6, count=2)
    cluster.await_committed(app, topic, {0: 6})
    assert cluster.committed(app, topic) == {0: 6}
    broken[0] = False
    cluster.await_committed(app, topic, {0: 10})
    assert all(offsets[0] == 6 for offsets in seen if 6 in offsets and offsets[0] != 0)


def test_with_manual_marking_a_return_commits_nothing(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app(manual_marking=True)
    cluster.fill(topic, 5)
    consume_into(app, topic, journal)
    node = start(app)
    journal.await_count(5)
    assert node.stop() == 0
    assert cluster.committed(app, topic) == {}


def test_with_manual_marking_exactly_the_mark_is_committed_and_the_rest_comes_again(
    cluster, start, journal, new_journal
):
    topic, first = cluster.topic(), cluster.app(manual_marking=True)
    cluster.fill(topic, 5)

    @first.consume(topic)
    def handle(batch, consumer):
        for message in batch:
            if message.offset == 2:
                consumer.mark_as_consumed(message)
        journal.add(batch)

    node = start(first)
    journal.await_count(5)
    assert node.stop() == 0
    assert cluster.committed(first, topic) == {0: 3}
    again, second = new_journal(), cluster.app(first.default_group)
    consume_into(second, topic, again)
    start(second)
    cluster.await_committed(second, topic, {0: 5})
    assert again.offsets() == [3, 4]


def test_a_blocking_mark_returns_when_the_broker_has_it(cluster, start):
    topic, app = cluster.topic(), cluster.app(kafka={"auto.commit.interval.ms": 60000})
    cluster.fill(topic, 4)
    seen = []

    @app.consume(topic)
    def handle(batch, consumer):
        for message in batch:
            done = consumer.mark_as_consumed(message, blocking=True)
            seen.append((done, cluster.committed(app, topic).get(0), message.offset + 1))

    node = start(app)
    node.await_event(BatchStarted)
    cluster.await_committed(app, topic, {0: 4})
    assert node.stop() == 0
    assert seen == [(True, offset, offset) for offset in range(1, 5)]


def test_a_mark_beyond_what_was_delivered_is_refused_and_moves_nothing(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app(manual_marking=True)
    cluster.fill(topic, 3)
    errors = []

    @app.consume(topic)
    def handle(batch, consumer):
        with pytest.raises(ValueError, match="is not delivered yet") as caught:
            consumer.mark_as_consumed(1000)
        errors.append(caught.value)
        journal.add(batch)

    node = start(app)
    journal.await_count(3)
    assert node.stop() == 0
    assert errors
    assert cluster.committed(app, topic) == {}


def test_a_mark_never_goes_back(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app(manual_marking=True)
    cluster.fill(topic, 5)

    @app.consume(topic)
    def handle(batch, consumer):
        journal.add(batch)
        if journal.offsets()[-1] == 4:
            consumer.mark_as_consumed(4)
            consumer.mark_as_consumed(1)

    node = start(app)
    cluster.await_committed(app, topic, {0: 5})
    assert node.stop() == 0
    assert cluster.committed(app, topic) == {0: 5}


def test_batches_are_no_larger_than_max_messages(cluster, start):
    topic, app = cluster.topic(), cluster.app(max_messages=7)
    cluster.fill(topic, 40)
    sizes = []

    @app.consume(topic)
    def handle(batch):
        sizes.append(len(batch))

    start(app)
    cluster.await_committed(app, topic, {0: 40})
    assert max(sizes) <= 7
    assert sum(sizes) == 40


def test_keys_headers_timestamps_and_tombstones_arrive_as_they_were_produced(cluster, start):
    topic, app = cluster.topic(), cluster.app()
    seen = []

    @app.consume(topic)
    def handle(batch):
        for message in batch:
            seen.append((message.raw_payload, message.key, message.headers, message.timestamp_ms, message.payload))

    cluster.produce(
        topic,
        Record(b"v", b"k", (("h", b"1"), ("h", b"2")), timestamp_ms=1_700_000_000_123),
        Record(None, b"k", timestamp_ms=1_700_000_000_456),
    )
    start(app)
    cluster.await_committed(app, topic, {0: 2})
    assert seen == [
        (b"v", b"k", [("h", b"1"), ("h", b"2")], 1_700_000_000_123, b"v"),
        (None, b"k", [], 1_700_000_000_456, None),
    ]


def test_a_new_group_that_starts_at_latest_is_given_only_what_comes_later(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app()
    cluster.fill(topic, 5)
    consume_into(app, topic, journal, initial_offset="latest")
    node = start(app)
    node.await_partitions(1)
    deadline = time.monotonic() + 30
    number = 5
    while not journal.entries and time.monotonic() < deadline:  # "latest" is known only once the first fetch is out
        cluster.fill(topic, 1, first=number)
        number += 1
        time.sleep(0.1)
    assert min(journal.offsets()) >= 5
    cluster.await_committed(app, topic)


def test_records_deleted_below_the_committed_offset_are_stepped_over(cluster, start, journal, new_journal):
    topic, first = cluster.topic(), cluster.app()
    for number in range(3):
        cluster.fill(topic, 1, first=number)
    consume_into(first, topic, journal)
    node = start(first)
    cluster.await_committed(first, topic, {0: 3})
    assert node.stop() == 0
    for number in range(3, 9):
        cluster.fill(topic, 1, first=number)
    cluster.broker.delete_records(topic, 0, 7)
    rest, second = new_journal(), cluster.app(first.default_group)
    consume_into(second, topic, rest)
    start(second)
    cluster.await_committed(second, topic, {0: 9})
    assert rest.values == [b"7", b"8"]


def test_one_class_may_have_several_topics_and_each_keeps_its_own_offsets(cluster, start):
    one, two, app = cluster.topic(), cluster.topic(), cluster.app()
    seen = set()

    @app.topic(one, two)
    class Both(Consumer):
        def consume(self, messages):
            seen.add((self.topic, id(self)))

    cluster.fill(one, 3)
    cluster.fill(two, 5)
    start(app)
    cluster.await_committed(app, one, {0: 3})
    cluster.await_committed(app, two, {0: 5})
    assert {topic for topic, _ in seen} == {one, two}
    assert len({instance for _, instance in seen}) == 2


def test_two_groups_of_one_app_read_the_same_topic_independently(cluster, start, journal, new_journal):
    topic, app = cluster.topic(), cluster.app()
    other, broken = new_journal(), [True]
    consume_into(app, topic, journal, group=f"{app.default_group}-a")

    @app.consume(topic, group=f"{app.default_group}-b")
    def handle(batch):
        if broken[0]:
            raise ValueError("b is broken")
        other.add(batch)

    cluster.fill(topic, 5)
    node = start(app)
    cluster.await_committed(f"{app.default_group}-a", topic, {0: 5})
    node.await_event(BatchFailed)
    assert cluster.committed(f"{app.default_group}-b", topic) == {}
    broken[0] = False
    cluster.await_committed(f"{app.default_group}-b", topic, {0: 5})
    assert journal.values == other.values


def test_a_record_that_cannot_be_decoded_holds_its_partition_until_it_can(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app()
    cluster.produce(topic, b"1", b"2", b"not a number", b"4")
    lenient = [False]

    def number(data):
        return -1 if lenient[0] and not data.isdigit() else int(data)

    seen = []

    @app.consume(topic, payload=number)
    def handle(batch, consumer):
        for message in batch:
            seen.append(message.payload)
            consumer.mark_as_consumed(message)

    node = start(app)
    failed = node.await_event(BatchFailed, count=2)
    assert (failed.topic, failed.partition, failed.offset) == (topic, 0, 2)
    assert f"{topic}[0] offset 2: the payload cannot be decoded" in str(failed.error)
    cluster.await_committed(app, topic, {0: 2})
    assert cluster.committed(app, topic) == {0: 2}
    lenient[0] = True
    cluster.await_committed(app, topic, {0: 4})
    assert seen == [1, 2, -1, 4]


def test_partitions_without_records_get_no_offset(cluster, start, journal):
    topic, app = cluster.topic(4), cluster.app()
    cluster.produce(topic, Record(b"x", partition=2))
    consume_into(app, topic, journal)
    node = start(app)
    journal.await_count(1)
    assert node.stop() == 0
    assert cluster.committed(app, topic) == {2: 1}


def test_topics_with_properties_of_their_own_get_a_client_of_their_own_in_the_same_group(cluster, start, journal):
    plain, special, app = cluster.topic(), cluster.topic(), cluster.app()
    consume_into(app, plain, journal)
    consume_into(app, special, journal, kafka={"fetch.message.max.bytes": 100_000})
    cluster.fill(plain, 3)
    cluster.fill(special, 3)
    node = start(app)
    cluster.await_committed(app, plain, {0: 3})
    cluster.await_committed(app, special, {0: 3})
    assert len(node.runtime.polls()) == 2
