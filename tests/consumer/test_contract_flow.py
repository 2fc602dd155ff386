"""Contract, flow: batches, concurrency, pauses, long work, bounded memory. On both brokers unchanged."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC

from swarm_consumer import Consumer

SOON = {"auto.commit.interval.ms": 50}


def numbers(count):
    return [{"number": number} for number in range(count)]


def test_partitions_run_side_by_side_and_each_in_order(world):
    topic = world.topic(4)
    world.produce(topic, numbers(80), range(4))
    app = world.app(kafka=SOON, concurrency=4, max_messages=5)
    together = threading.Barrier(4, timeout=30)
    active: dict[int, int] = {}
    overlaps = []

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            active[self.partition] = active.get(self.partition, 0) + 1
            if active[self.partition] > 1:
                overlaps.append(self.partition)
            if messages.first_offset == 0:
                together.wait()
            active[self.partition] -= 1

    running = world.start(app)
    world.await_committed(topic, dict.fromkeys(range(4), 20))
    assert overlaps == []
    assert running.stop() == 0


def test_one_slow_partition_does_not_hold_up_the_others(world):
    topic = world.topic(3)
    world.produce(topic, numbers(600), range(3))
    app = world.app(kafka=SOON, concurrency=2, max_messages=10, max_held_messages=20)
    release = threading.Event()

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            if self.partition == 0:
                release.wait(60)

    running = world.start(app)
    try:
        assert world.await_committed(topic, {1: 200, 2: 200}) == {1: 200, 2: 200}
    finally:
        release.set()
    world.await_committed(topic, dict.fromkeys(range(3), 200))
    assert running.stop() == 0


def test_a_paused_partition_waits_for_its_resume_and_others_do_not(world):
    topic = world.topic(2)
    world.produce(topic, numbers(20), range(2))
    app = world.app(kafka=SOON, max_messages=2, tick_interval=0.1)
    resume = threading.Event()
    ticks = []

    @app.topic(topic)
    class Handler(Consumer):
        paused = False

        def consume(self, messages):
            if self.partition == 0 and messages.first_offset == 0:
                self.paused = True
                self.pause()

        def tick(self):
            ticks.append(self.partition)
            if self.paused and resume.is_set():
                self.paused = False
                self.resume()

    running = world.start(app)
    assert world.await_committed(topic, {0: 2, 1: 10}) == {0: 2, 1: 10}
    resume.set()
    world.await_committed(topic, {0: 10})
    assert 0 in ticks
    assert running.stop() == 0


def test_an_async_handler_runs_on_one_loop_and_is_awaited_before_progress(world):
    topic = world.topic(2)
    world.produce(topic, numbers(20), range(2))
    app = world.app(kafka=SOON, concurrency=2)
    loops, order = set(), []

    @app.topic(topic, max_messages=10)
    class Handler(Consumer):
        async def consume(self, messages):
            loops.add(id(asyncio.get_running_loop()))
            await asyncio.sleep(0.2)
            order.append((self.partition, world.committed(topic).get(self.partition)))

    running = world.start(app)
    world.await_committed(topic, {0: 10, 1: 10})
    assert len(loops) == 1
    assert all(committed is None for _, committed in order)
    assert running.stop() == 0


def test_an_async_handler_that_raises_is_retried(world):
    topic = world.topic()
    world.produce(topic, numbers(2))
    app = world.app(kafka=SOON, retry_backoff=0.02)
    attempts = []

    @app.consume(topic)
    async def handle(messages, consumer):
        attempts.append(consumer.attempt)
        await asyncio.sleep(0)
        if consumer.attempt == 1:
            raise RuntimeError("once")

    running = world.start(app)
    world.await_committed(topic, {0: 2})
    assert attempts == [1, 2]
    assert running.stop() == 0


def test_one_instance_per_partition_lives_as_long_as_the_assignment(world):
    topic = world.topic(2)
    app = world.app(kafka=SOON, max_messages=1)
    instances: dict[int, set[int]] = {0: set(), 1: set()}
    kept = []

    @app.topic(topic)
    class Handler(Consumer):
        count = 0

        def consume(self, messages):
            self.count += len(messages)
            instances[self.partition].add(id(self))
            kept.append((self.partition, self.count, self))

    running = world.start(app)
    world.produce(topic, numbers(10), range(2))
    world.await_committed(topic, {0: 5, 1: 5})
    assert {partition: len(found) for partition, found in instances.items()} == {0: 1, 1: 1}
    assert max(count for _, count, _ in kept) == 5
    assert running.stop() == 0


def test_ticks_come_between_batches_and_never_during_one(world):
    topic = world.topic()
    world.produce(topic, numbers(1))
    app = world.app(kafka=SOON, tick_interval=0.05)
    inside = threading.Event()
    ticks = []

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            inside.set()
            threading.Event().wait(0.4)
            inside.clear()

        def tick(self):
            ticks.append(inside.is_set())

    running = world.start(app)
    running.wait_for(lambda: len(ticks) >= 3)
    assert not any(ticks)
    assert running.stop() == 0
    assert world.committed(topic) == {0: 1}


def test_the_batch_knows_its_place_its_times_and_its_lag(world):
    topic = world.topic()
    world.produce(topic, numbers(30))
    app = world.app(kafka={**SOON, "statistics.interval.ms": 100}, max_messages=10)
    facts = []

    @app.consume(topic)
    def handle(messages):
        threading.Event().wait(0.5)  # so that statistics have come before the last batch is made
        facts.append(
            (
                messages.topic,
                messages.first_offset,
                messages.last_offset,
                len(messages),
                messages.lag,
                messages.consumption_lag_s,
                messages.processing_lag_s,
                messages[0].offset,
                messages[-1].offset,
                messages.created_at,
                messages.received_at,
            )
        )

    running = world.start(app)
    world.await_committed(topic, {0: 30})
    assert [fact[:4] for fact in facts] == [(topic, 0, 9, 10), (topic, 10, 19, 10), (topic, 20, 29, 10)]
    assert facts[-1][4] == 0
    assert all(0 <= fact[5] < 60 and fact[6] >= 0.5 for fact in facts)
    assert [fact[7:9] for fact in facts] == [(0, 9), (10, 19), (20, 29)]
    assert all(created.tzinfo is received.tzinfo is UTC for *_, created, received in facts)
    assert all(abs((received - created).total_seconds() - fact[5]) < 60 for *fact, created, received in facts)
    assert running.stop() == 0


def test_a_large_backlog_is_worked_off_by_few_workers_without_loss(world):
    topic = world.topic(6)
    world.produce(topic, [b"x"] * 30000, range(6))
    app = world.app(kafka={"auto.commit.interval.ms": 3600_000}, concurrency=3, max_messages=200)
    counts: dict[int, int] = {}

    @app.topic(topic)
    class Handler(Consumer):
        next = 0

        def consume(self, messages):
            assert messages.first_offset == self.next
            self.next = messages.last_offset + 1
            counts[self.partition] = self.next

    running = world.start(app)
    running.wait_for(lambda: sum(counts.values()) == 30000)
    assert running.stop() == 0
    assert world.committed(topic) == dict.fromkeys(range(6), 5000)
