"""Lifecycle: quiet and stop in every state, and what is committed when run() has returned."""

import threading
import time

from swarm_consumer import Consumer
from swarm_consumer.events import BatchFailed, BatchStarted, DrainOverrun, Lost, PartitionPaused


def consume_into(app, topic, journal, **options):
    @app.consume(topic, **options)
    def handle(batch):
        journal.add(batch)


def test_quiet_finishes_what_is_at_work_takes_no_more_and_keeps_the_membership(
    cluster, start, journal, new_journal, gate
):
    topic, app = cluster.topic(2), cluster.app(max_messages=5)
    other_journal, other = new_journal(), None
    cluster.fill(topic, 40, partitions=2)

    @app.consume(topic)
    def handle(batch):
        gate.wait(30)
        journal.add(batch)

    node = start(app)
    node.await_event(BatchStarted)
    node.runtime.quiet()
    node.await_phase("quieting")
    gate.set()
    node.await_phase("quiet")
    handled = len(journal.entries)
    first = journal.entries[0][0]  # how many of its records a first poll brings is the client's affair
    done = sum(number == first for number, _ in journal.places)
    committed = cluster.await_committed(app, topic, {first: done})
    assert sum(committed.values()) == handled < 40
    other = cluster.app(app.default_group)
    consume_into(other, topic, other_journal)
    second = start(other)
    second.await_partitions(1)  # it shares with the quiet member, which is still one
    time.sleep(0.5)
    assert len(node.partitions) == 1
    assert len(journal.entries) == handled
    assert node.stop() == 0
    cluster.await_committed(app, topic, {0: 20, 1: 20})
    assert sorted(journal.places + other_journal.places) == [(n, offset) for n in (0, 1) for offset in range(20)]


def test_a_quiet_node_takes_nothing_that_comes_later(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app()
    consume_into(app, topic, journal)
    cluster.fill(topic, 5)
    node = start(app)
    cluster.await_committed(app, topic, {0: 5})
    node.runtime.quiet()
    node.await_phase("quiet")
    cluster.fill(topic, 5, first=5)
    time.sleep(0.7)
    assert cluster.committed(app, topic) == {0: 5}
    assert node.stop() == 0
    assert len(journal.entries) == 5


def test_stop_waits_for_the_batch_in_hand_and_commits_it(cluster, start, journal, gate):
    topic, app = cluster.topic(), cluster.app(max_messages=5, kafka={"auto.commit.interval.ms": 60000})
    cluster.fill(topic, 20)

    @app.consume(topic)
    def handle(batch):
        gate.wait(30)
        journal.add(batch)

    node = start(app)
    node.await_event(BatchStarted)
    node.runtime.stop()
    time.sleep(0.3)
    assert node.thread.is_alive()
    gate.set()
    assert node.join() == 0
    assert journal.offsets() == [0, 1, 2, 3, 4]
    assert cluster.committed(app, topic) == {0: 5}


def test_a_batch_that_outlives_the_drain_is_not_committed_and_comes_again(cluster, start, journal, gate):
    topic, first = cluster.topic(), cluster.app()
    cluster.fill(topic, 5)

    @first.consume(topic)
    def handle(batch):
        gate.wait(60)

    node = start(first, drain_timeout=1.0)
    node.await_event(BatchStarted)
    begun = time.monotonic()
    assert node.stop() == 4
    assert time.monotonic() - begun < 1.0 + 3.0
    assert node.of(DrainOverrun)
    assert cluster.committed(first, topic) == {}
    second = cluster.app(first.default_group)
    consume_into(second, topic, journal)
    start(second)
    cluster.await_committed(second, topic, {0: 5})
    assert journal.offsets() == [0, 1, 2, 3, 4]


def test_a_handler_that_sees_the_stop_may_leave_early_with_what_it_has_marked(cluster, start):
    topic, app = cluster.topic(), cluster.app()
    cluster.fill(topic, 100)
    marked = []

    @app.consume(topic)
    def handle(batch, consumer):
        for message in batch:
            if consumer.is_stopping:
                return
            consumer.mark_as_consumed(message)
            marked.append(message.offset)
            time.sleep(0.02)

    node = start(app)
    while len(marked) < 5:
        time.sleep(0.01)
    assert node.stop() == 0
    assert len(marked) < 100
    assert cluster.committed(app, topic) == {0: len(marked)}


def test_stop_right_after_the_start_ends_cleanly_and_leaves_everything(cluster, start, journal, new_journal):
    topic, first = cluster.topic(), cluster.app()
    cluster.fill(topic, 5)
    consume_into(first, topic, journal)
    node = start(first)
    assert node.stop() == 0
    done = cluster.committed(first, topic).get(0, 0)
    assert journal.offsets() == list(range(done))
    rest, second = new_journal(), cluster.app(first.default_group)
    consume_into(second, topic, rest)
    start(second)
    cluster.await_committed(second, topic, {0: 5})
    assert rest.offsets() == list(range(done, 5))


def test_stop_before_run_ends_at_once_and_touches_nothing(cluster, start, journal):
    from swarm_consumer import Runtime

    topic, app = cluster.topic(), cluster.app()
    cluster.fill(topic, 5)
    consume_into(app, topic, journal)
    runtime = Runtime(app)
    runtime.stop()
    begun = time.monotonic()
    assert runtime.run() == 0
    assert time.monotonic() - begun < 10
    assert cluster.committed(app, topic) == {0: len(journal.entries)} or journal.entries == []


def test_stop_during_a_rebalance_ends_and_the_others_get_everything(cluster, start, journal):
    topic, first = cluster.topic(4), cluster.app()
    consume_into(first, topic, journal)
    one = start(first)
    one.await_partitions(4)
    others = []
    for _ in range(2):
        app = cluster.app(first.default_group)
        consume_into(app, topic, journal)
        others.append(start(app))
    others[0].runtime.stop()  # it has just joined
    assert one.stop() == 0
    assert others[0].join() == 0
    others[1].await_partitions(4)
    cluster.fill(topic, 40, partitions=4)
    cluster.await_committed(first, topic, dict.fromkeys(range(4), 10))
    assert sorted(journal.places) == [(number, offset) for number in range(4) for offset in range(10)]


def test_stop_does_not_wait_for_a_back_off(cluster, start):
    topic = cluster.topic()
    app = cluster.app(retry_backoff=300.0, retry_backoff_max=300.0)
    cluster.fill(topic, 5)

    @app.consume(topic)
    def handle(batch, consumer):
        consumer.mark_as_consumed(1)
        raise ValueError("for ever")

    node = start(app)
    node.await_event(BatchFailed)
    begun = time.monotonic()
    assert node.stop() == 0
    assert time.monotonic() - begun < 10
    assert cluster.committed(app, topic) == {0: 2}


def test_stop_does_not_wait_for_a_pause(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app(max_messages=2)
    cluster.fill(topic, 5)

    @app.consume(topic)
    def handle(batch, consumer):
        journal.add(batch)
        consumer.pause()

    node = start(app)
    node.await_event(PartitionPaused)
    begun = time.monotonic()
    assert node.stop() == 0
    assert time.monotonic() - begun < 10
    assert cluster.committed(app, topic) == {0: len(journal.entries)}
    assert len(journal.entries) <= 2


def test_stop_while_quieting_lets_the_batch_in_hand_finish(cluster, start, journal, gate):
    topic, app = cluster.topic(), cluster.app(max_messages=5, kafka={"auto.commit.interval.ms": 60000})
    cluster.fill(topic, 20)

    @app.consume(topic)
    def handle(batch):
        gate.wait(30)
        journal.add(batch)

    node = start(app)
    node.await_event(BatchStarted)
    node.runtime.quiet()
    node.await_phase("quieting")
    node.runtime.stop()
    node.await_phase("stopping")
    assert cluster.committed(app, topic) == {}
    gate.set()
    assert node.join() == 0
    assert journal.offsets() == [0, 1, 2, 3, 4]
    assert cluster.committed(app, topic) == {0: 5}


def test_stop_of_a_quiet_node_commits_and_leaves(cluster, start, journal, new_journal):
    topic, first = cluster.topic(), cluster.app(kafka={"auto.commit.interval.ms": 60000})
    consume_into(first, topic, journal)
    cluster.fill(topic, 5)
    node = start(first)
    journal.await_count(5)
    node.runtime.quiet()
    node.await_phase("quiet")
    assert node.stop() == 0
    assert cluster.committed(first, topic) == {0: 5}
    later, second = new_journal(), cluster.app(first.default_group)
    consume_into(second, topic, later)
    start(second)
    cluster.fill(topic, 1, first=5)
    cluster.await_committed(second, topic, {0: 6})
    assert later.offsets() == [5]


def test_the_hook_shutdown_is_called_once_a_partition_and_its_marks_count(cluster, start, journal):
    topic, app = cluster.topic(2), cluster.app(manual_marking=True)
    cluster.fill(topic, 10, partitions=2)
    calls = []

    @app.topic(topic)
    class Flushes(Consumer):
        def consume(self, messages):
            self.last = messages[-1]
            journal.add(messages)

        def shutdown(self):
            calls.append(self.partition)
            self.mark_as_consumed(self.last)

    node = start(app)
    journal.await_count(10)
    assert cluster.committed(app, topic) == {}
    assert node.stop() == 0
    assert sorted(calls) == [0, 1]
    assert cluster.committed(app, topic) == {0: 5, 1: 5}


def test_stop_from_inside_a_handler_lets_it_finish(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app(max_messages=3)
    cluster.fill(topic, 9)
    nodes = []
    known = threading.Event()

    @app.consume(topic)
    def handle(batch):
        known.wait(30)
        nodes[0].runtime.stop("the handler has seen enough")
        journal.add(batch)

    nodes.append(start(app))
    known.set()
    assert nodes[0].join() == 0
    done = len(journal.entries)
    assert done >= 3  # a batch that was handed out before the stop was seen is finished as well
    assert journal.offsets() == list(range(done))
    assert cluster.committed(app, topic) == {0: done}


def test_many_short_lives_lose_and_repeat_nothing(cluster, start, journal):
    topic, group = cluster.topic(2), None
    for life in range(4):
        app = cluster.app(group, max_messages=7)
        group = app.default_group
        consume_into(app, topic, journal)
        cluster.fill(topic, 60, partitions=2, first=60 * life)
        node = start(app)
        journal.await_count(60 * life + 20)
        assert node.stop() == 0
        committed = cluster.committed(app, topic)
        assert sum(committed.values()) == len(journal.entries)
    last = cluster.app(group)
    consume_into(last, topic, journal)
    start(last)
    cluster.await_committed(last, topic, {0: 120, 1: 120})
    assert sorted(journal.places) == [(number, offset) for number in (0, 1) for offset in range(120)]


def test_a_group_that_nobody_runs_keeps_its_offsets(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app()
    consume_into(app, topic, journal)
    cluster.fill(topic, 5)
    node = start(app)
    cluster.await_committed(app, topic, {0: 5})
    assert node.stop() == 0
    time.sleep(0.3)
    assert cluster.committed(app, topic) == {0: 5}
    assert not node.of(Lost)
