"""Flow: seek, pause, hooks, long handlers and memory, each with what the broker holds afterwards."""

import contextlib
import time
from datetime import UTC, datetime

import pytest

from swarm_consumer import Consumer
from swarm_consumer.events import BatchFailed, Lost, PartitionPaused, Revoked
from swarm_consumer.testing import Record


def test_a_seek_back_gives_the_records_again_and_progress_follows(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app()
    cluster.fill(topic, 5)
    once = []

    @app.consume(topic)
    def handle(batch, consumer):
        journal.add(batch)
        if not once and batch[-1].offset == 4:
            once.append(cluster.committed(app, topic))
            consumer.seek(2)

    node = start(app)
    journal.await_count(8)
    cluster.await_committed(app, topic, {0: 5})
    assert node.stop() == 0
    assert journal.offsets() == [0, 1, 2, 3, 4, 2, 3, 4]
    assert cluster.committed(app, topic) == {0: 5}


def test_a_node_that_stops_after_a_seek_back_has_committed_the_target(cluster, start, journal, gate):
    topic, app = cluster.topic(), cluster.app(max_messages=5)
    cluster.fill(topic, 5)

    @app.consume(topic)
    def handle(batch, consumer):
        journal.add(batch)
        if batch.first_offset == 0:
            consumer.seek(2)
        else:
            gate.wait(0.5)
            raise ValueError("what follows the target cannot be done")

    node = start(app)
    node.await_event(BatchFailed)
    cluster.await_committed(app, topic, {0: 2})
    assert node.stop() == 0
    assert cluster.committed(app, topic) == {0: 2}


def test_a_seek_forward_skips_what_lies_between(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app(max_messages=2)
    cluster.fill(topic, 20)

    @app.consume(topic)
    def handle(batch, consumer):
        journal.add(batch)
        if batch.first_offset == 0:
            consumer.seek(15)

    node = start(app)
    cluster.await_committed(app, topic, {0: 20})
    assert node.stop() == 0
    assert journal.offsets() == [*range(len(journal.entries) - 5), 15, 16, 17, 18, 19]
    assert len(journal.entries) <= 7


@pytest.mark.real_kafka
def test_a_seek_to_a_time_goes_on_at_the_first_record_from_then_on(kafka_cluster, start, journal):
    cluster = kafka_cluster
    topic, app = cluster.topic(), cluster.app(max_messages=1)
    noon = 1_700_000_000_000
    cluster.produce(topic, *(Record(b"%d" % hour, timestamp_ms=noon + hour * 3_600_000) for hour in range(10)))

    @app.consume(topic)
    def handle(batch, consumer):
        journal.add(batch)
        if batch.first_offset == 0:
            consumer.seek(datetime.fromtimestamp((noon + 7 * 3_600_000 - 1) / 1000, UTC))

    start(app)
    cluster.await_committed(app, topic, {0: 10})
    assert journal.offsets() == [0, 7, 8, 9]


def test_a_seek_in_a_batch_that_fails_is_forgotten(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app()
    cluster.fill(topic, 5)
    failures = []

    @app.consume(topic)
    def handle(batch, consumer):
        if not failures:
            failures.append(batch)
            consumer.seek("latest")
            raise ValueError("after the seek")
        journal.add(batch)

    start(app)
    cluster.await_committed(app, topic, {0: 5})
    assert journal.offsets() == [0, 1, 2, 3, 4]


def test_a_paused_partition_waits_its_time_and_the_others_go_on(cluster, start, journal):
    topic, app = cluster.topic(2), cluster.app(max_messages=1)
    cluster.fill(topic, 20, partitions=2)
    paused_at = []

    @app.consume(topic)
    def handle(batch, consumer):
        if batch.partition == 0 and not paused_at:
            paused_at.append(time.monotonic())
            consumer.pause(1.0)
        elif batch.partition == 0 and len(paused_at) == 1:
            paused_at.append(time.monotonic())
        journal.add(batch)

    node = start(app)
    node.await_event(PartitionPaused)
    cluster.await_committed(app, topic, {1: 10})
    assert cluster.committed(app, topic).get(0, 0) <= 1
    cluster.await_committed(app, topic, {0: 10, 1: 10})
    assert paused_at[1] - paused_at[0] >= 1.0
    assert journal.offsets(0) == list(range(10))


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_long_running_handler_outlasts_the_poll_interval_and_keeps_its_partitions(cluster, start, journal, protocol):
    topic = cluster.topic(2)
    session = {"session.timeout.ms": 1500} if protocol == "classic" else {}  # not longer than the poll interval
    app = cluster.app(
        protocol=protocol,
        kafka={"max.poll.interval.ms": 1600, **session},
        revocation_timeout=1.0,
        concurrency=2,
        long_running=True,
        consuming_ttl=60.0,
        max_messages=1,
    )
    cluster.fill(topic, 2, partitions=2)

    @app.consume(topic)
    def handle(batch):
        time.sleep(2.2)
        journal.add(batch)

    node = start(app)
    cluster.await_committed(app, topic, {0: 1, 1: 1})
    assert not node.of(Lost)
    assert not node.of(Revoked)
    assert sorted(journal.places) == [(0, 0), (1, 0)]


def test_a_slow_partition_holds_a_bounded_number_of_messages_and_all_are_handled(cluster, start, journal):
    topic = cluster.topic(2)
    app = cluster.app(max_messages=10, max_held_messages=50, kafka={"queued.max.messages.kbytes": 1024})
    cluster.fill(topic, 6000, partitions=2)
    most = [0]
    stuck = [True]

    @app.consume(topic)
    def handle(batch):
        if batch.partition == 0 and stuck[0]:
            raise ValueError("this partition is stuck for a while")
        journal.add(batch)

    node = start(app)
    while cluster.committed(app, topic).get(1) != 3000:
        (client,) = node.runtime.polls()
        held = [partition.held for partition in list(client.partitions.by_key.values())]
        most[0] = max([most[0], *held])
    assert most[0] <= 50 + 10 + 500  # the bound, and what one turn of the client may add to it
    stuck[0] = False
    cluster.await_committed(app, topic, {0: 3000, 1: 3000})
    assert journal.offsets(0) == list(range(3000))


def test_the_hook_eofed_is_called_at_the_end_and_may_use_what_was_handled(cluster, start):
    topic, app = cluster.topic(), cluster.app(manual_marking=True)
    cluster.fill(topic, 5)
    seen = []

    @app.topic(topic)
    class WholeFile(Consumer):
        def consume(self, messages):
            self.last = messages[-1]
            seen.extend(messages.raw_payloads())

        def eofed(self):
            if len(seen) == 5:
                self.mark_as_consumed(self.last)

    start(app)
    cluster.await_committed(app, topic, {0: 5})
    assert seen == [b"0", b"1", b"2", b"3", b"4"]


def test_the_hook_tick_may_mark_while_nothing_comes(cluster, start):
    topic, app = cluster.topic(), cluster.app(manual_marking=True, tick_interval=0.1)
    cluster.fill(topic, 3)

    @app.topic(topic)
    class Buffers(Consumer):
        def initialized(self):
            self.buffer = []

        def consume(self, messages):
            self.buffer.extend(messages)

        def tick(self):
            if self.buffer:
                self.mark_as_consumed(self.buffer.pop())
                self.buffer.clear()

    start(app)
    cluster.await_committed(app, topic, {0: 3})


def test_the_hook_initialized_is_tried_again_until_it_succeeds(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app()
    cluster.fill(topic, 3)
    tries = []

    @app.topic(topic)
    class Connects(Consumer):
        def initialized(self):
            tries.append(cluster.committed(app, topic))
            if len(tries) < 3:
                raise ConnectionError("the database is not there yet")

        def consume(self, messages):
            journal.add(messages)

    start(app)
    cluster.await_committed(app, topic, {0: 3})
    assert tries == [{}, {}, {}]
    assert journal.offsets() == [0, 1, 2]


def test_the_hook_wrap_surrounds_the_handler_and_its_failure_holds_the_offsets(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app()
    cluster.fill(topic, 3)
    trace, broken = [], [True]

    @app.topic(topic)
    class Wrapped(Consumer):
        @contextlib.contextmanager
        def wrap(self, action):
            trace.append(f"{action}:in")
            yield
            trace.append(f"{action}:out")
            if broken[0] and action == "consume":
                raise ConnectionError("the transaction did not commit")

        def consume(self, messages):
            trace.append("handler")
            journal.add(messages)

    node = start(app)
    node.await_event(BatchFailed)
    assert trace[:3] == ["consume:in", "handler", "consume:out"]
    assert cluster.committed(app, topic) == {}
    broken[0] = False
    cluster.await_committed(app, topic, {0: 3})


def test_hooks_that_raise_are_reported_and_hurt_nobody(cluster, start, journal):
    from swarm_consumer.events import ErrorOccurred

    topic, app = cluster.topic(), cluster.app(tick_interval=0.05)
    cluster.fill(topic, 3)

    @app.topic(topic)
    class Clumsy(Consumer):
        def consume(self, messages):
            journal.add(messages)

        def tick(self):
            raise ValueError("tick")

        def eofed(self):
            raise ValueError("eofed")

        def shutdown(self):
            raise ValueError("shutdown")

    node = start(app)
    node.await_event(ErrorOccurred, lambda event: "tick" in event.where)
    node.await_event(ErrorOccurred, lambda event: "eofed" in event.where)
    cluster.await_committed(app, topic, {0: 3})
    assert node.stop() == 0
    node.await_event(ErrorOccurred, lambda event: "shutdown" in event.where)
    assert cluster.committed(app, topic) == {0: 3}


def test_a_listener_that_raises_hurts_nobody(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app()
    cluster.fill(topic, 3)

    @app.consume(topic)
    def handle(batch):
        journal.add(batch)

    def listener(event):
        raise RuntimeError("a listener's own problem")

    app.subscribe(listener)
    node = start(app)
    cluster.await_committed(app, topic, {0: 3})
    assert node.stop() == 0


def test_max_wait_holds_nothing_back_that_is_there(cluster, start, journal):
    topic, app = cluster.topic(), cluster.app(max_wait=20.0)

    @app.consume(topic)
    def handle(batch):
        journal.add(batch)

    node = start(app)
    node.await_partitions(1)
    begun = time.monotonic()
    cluster.fill(topic, 1)
    cluster.await_committed(app, topic, {0: 1})
    assert time.monotonic() - begun < 10
    assert journal.offsets() == [0]
