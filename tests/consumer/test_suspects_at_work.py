"""Suspects in a runtime: alone in their process, given up with their story, and no wait without an end."""

from __future__ import annotations

import threading
import time

import pytest

from swarm_consumer import Consumer, DeadLetters, NodeDied
from swarm_consumer._scheduling.remembrance import Epitaph, InHand, Suspects, Verdict
from swarm_consumer.events import DeadLettered, PartitionParked, SuspectsFound
from tests.consumer.notebook import Notebook, remembered

SOON = {"auto.commit.interval.ms": 50}
LIFE, STORY = (3, 7), Epitaph(Verdict.COUNTS, "killed by SIGSEGV", "File 'x.py', line 7 in crash")


def died_with(topic, in_hand=None, suspects=None, verdict=Verdict.COUNTS, partition=0, **fields):
    """A note of a dead process."""
    note = remembered(
        life=LIFE, in_hand=in_hand, suspects=suspects, epitaph=Epitaph(verdict, "killed by SIGSEGV"), story=STORY,
        **fields,
    )  # fmt: skip
    return {(topic, partition): note}


def culprit(offset, deaths_alone=2, *, evidence=-1, seen=True):
    return Suspects(
        offset, offset + 5, in_company=True, culprit=offset, deaths_alone=deaths_alone, evidence=evidence,
        witnessed=seen, life=(1, 1),
    )  # fmt: skip


def numbers(count):
    return [b"%d" % number for number in range(count)]


def test_suspects_are_handled_one_by_one_with_nothing_beside_them(world):
    topic, memory = world.topic(4), Notebook()
    world.produce(topic, numbers(400), partition=range(4))
    memory.notes = died_with(topic, InHand(0, 9, 1, alone=False)) | died_with(
        topic, InHand(0, 4, 1, alone=False), partition=1
    )
    app = world.app(kafka=SOON, max_messages=50, concurrency=4)
    lock, active, seen, beside, sizes = threading.Lock(), set(), set(), [], {}

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            suspect = messages.first_offset < {0: 10, 1: 5}.get(messages.partition, 0)
            with lock:
                active.add(messages.partition)
                if suspect:
                    beside.append(len(active) - 1)
                    sizes.setdefault(messages.partition, []).append(len(messages))
            time.sleep(0.002)
            with lock:
                if suspect:
                    beside.append(len(active) - 1)
                active.remove(messages.partition)
                seen.update((message.partition, message.offset) for message in messages)

    running = world.start(app, memory=memory)
    running.wait_for(lambda: len(seen) == 400)
    assert set(beside) == {0}
    assert sizes == {0: [1] * 10, 1: [1] * 5}
    told = {event.partition: event for event in running.of(SuspectsFound)}
    assert {key: (one.first, one.last, one.deaths, one.reason) for key, one in told.items()} == {
        0: (0, 9, 1, "killed by SIGSEGV"),
        1: (0, 4, 1, "killed by SIGSEGV"),
    }
    assert "offsets 0 to 9: a process died here (killed by SIGSEGV); handed out one at a time" in str(told[0])
    world.await_committed(topic)
    assert memory.notes[topic, 0].suspects is None
    assert running.stop() == 0


def test_the_suspects_are_in_the_new_note_before_anything_runs(world):
    topic, memory = world.topic(), Notebook()
    world.produce(topic, numbers(20))
    memory.notes = died_with(topic, InHand(3, 3, 1, alone=True), letters=2)
    app = world.app(kafka=SOON, max_messages=50)
    entered, go_on = threading.Event(), threading.Event()

    @app.topic(topic)
    class Handler(Consumer):
        def initialized(self):
            entered.set()
            go_on.wait(30)

        def consume(self, messages):
            pass

    running = world.start(app, memory=memory)
    assert entered.wait(60)
    note = memory.notes[topic, 0]
    assert note.life == (0, 1)
    assert note.suspects == Suspects(3, 3, culprit=3, deaths_alone=1, evidence=0, life=LIFE)
    assert note.letters == 2
    assert note.in_hand is None, "initialized() is not the record's fault"
    go_on.set()
    running.wait_for(lambda: memory.notes[topic, 0].suspects is None)
    assert running.stop() == 0


def test_a_culprit_gets_a_dead_letter_with_its_story_and_its_handler_never_sees_it(world):
    topic, dead, memory = world.topic(), world.topic(), Notebook()
    world.produce(topic, numbers(20))
    memory.notes = died_with(topic, suspects=culprit(4))
    app, seen = world.app(kafka=SOON), []
    app.consume(topic, dead_letters=DeadLetters(topic=dead))(
        lambda messages: seen.extend(message.offset for message in messages)
    )
    running = world.start(app, memory=memory)
    world.await_committed(topic, {0: 20})
    assert seen == [*range(4), *range(5, 20)]
    (event,) = running.of(DeadLettered)
    assert (event.offset, event.attempts, event.dead_letter_topic) == (4, 3, dead)
    assert isinstance(event.error, NodeDied)
    (letter,) = world.read(dead)
    assert letter.value == b"4"
    headers = dict(letter.headers)
    assert headers["swarm-source-offset"] == b"4"
    assert headers["swarm-attempts"] == b"3"
    assert headers["swarm-error"] == b"NodeDied: 3 processes died with this message: killed by SIGSEGV"
    assert headers["swarm-stack"] == b"File 'x.py', line 7 in crash"
    assert memory.notes[topic, 0].suspects is None
    assert running.stop() == 0


def test_without_a_dead_letter_topic_its_partition_is_parked_and_the_others_finish(world):
    topic, memory = world.topic(3), Notebook()
    world.produce(topic, numbers(60), partition=range(3))
    memory.notes = died_with(topic, suspects=culprit(4), partition=1)
    app, seen = world.app(kafka=SOON, retry_backoff=0.05, retry_backoff_max=0.1), set()
    app.consume(topic)(lambda messages: seen.update((message.partition, message.offset) for message in messages))
    running = world.start(app, memory=memory)
    running.wait_for(lambda: len(running.of(PartitionParked)) >= 3)
    world.await_committed(topic, {0: 20, 1: 4, 2: 20})
    assert {offset for partition, offset in seen if partition == 1} == set(range(4))
    event = running.of(PartitionParked)[0]
    assert (event.partition, event.offset, event.deaths) == (1, 4, 3)
    assert "there is no dead-letter topic" in str(event)
    assert "3 processes died with this message: killed by SIGSEGV" in str(event)
    topics = running.runtime.statistics()["topics"]
    (figures,) = [one for one in topics if one["topic"] == topic] if isinstance(topics, list) else [topics]
    assert figures["parked"] >= 3
    assert figures["suspected"] == 1
    assert figures["errors"] == 0
    assert running.stop() == 0


def test_a_parked_partition_keeps_nobody_out(world):
    """No handler is called for its message. So it need not wait for the others, nor they for it, for ever again."""
    topic, memory = world.topic(3), Notebook()
    world.produce(topic, numbers(3), partition=0)
    memory.notes = died_with(topic, suspects=culprit(0), partition=1)
    app = world.app(kafka=SOON, concurrency=2, retry_backoff=0.05, retry_backoff_max=0.05)
    entered, leave, seen = threading.Event(), threading.Event(), set()

    @app.consume(topic)
    def handle(messages):
        if messages.partition == 0:
            entered.set()
            leave.wait(60)
        seen.update((message.partition, message.offset) for message in messages)

    running = world.start(app, memory=memory)
    assert entered.wait(60)
    world.produce(topic, numbers(1), partition=1)
    running.wait_for(lambda: len(running.of(PartitionParked)) >= 3, timeout=20)
    world.produce(topic, numbers(5), partition=2)
    running.wait_for(lambda: len(seen) == 5, timeout=20)
    assert {partition for partition, _ in seen} == {2}
    leave.set()
    assert running.stop() == 0


def test_what_is_before_the_suspects_keeps_nobody_out(world):
    topic, memory = world.topic(2), Notebook()
    world.produce(topic, numbers(1), partition=0)
    memory.notes = died_with(topic, InHand(30, 34, 1, alone=False), partition=1)
    app, entered, leave, seen = world.app(kafka=SOON, concurrency=2), threading.Event(), threading.Event(), []

    @app.consume(topic, max_messages=10)
    def handle(messages):
        if messages.partition == 0:
            entered.set()
            leave.wait(60)
        else:
            seen.append((messages.first_offset, len(messages)))

    running = world.start(app, memory=memory)
    assert entered.wait(60)
    world.produce(topic, numbers(40), partition=1)
    running.wait_for(lambda: sum(size for _, size in seen) == 30, timeout=20)
    leave.set()
    world.await_committed(topic, {0: 1, 1: 40})
    assert [one for one in seen if 30 <= one[0] < 35] == [(offset, 1) for offset in range(30, 35)]
    assert running.stop() == 0


def test_where_nothing_else_was_handled_it_is_tried_again(world):
    topic, dead, memory = world.topic(), world.topic(), Notebook()
    world.produce(topic, numbers(10))
    memory.notes = died_with(topic, suspects=culprit(0, evidence=5, seen=False))
    app, seen = world.app(kafka=SOON, retry_backoff=0.05), []
    app.consume(topic, dead_letters=DeadLetters(topic=dead))(
        lambda messages: seen.extend(message.offset for message in messages)
    )
    running = world.start(app, memory=memory)
    world.await_committed(topic, {0: 10})
    assert seen == list(range(10))
    assert len(running.of(PartitionParked)) == 1
    assert "others go first" in str(running.of(PartitionParked)[0])
    assert not running.of(DeadLettered)
    assert not world.read(dead)
    assert running.stop() == 0


def test_a_letter_that_cannot_be_sent_parks_the_partition(world):
    topic, dead, memory = world.topic(), world.topic(), Notebook()
    world.produce(topic, [b"x" * 2000, *numbers(9)])
    memory.notes = died_with(topic, suspects=culprit(0))
    app = world.app(kafka=SOON, retry_backoff=0.05)
    seen = []
    app.producer_properties.update({"message.max.bytes": 1000})
    app.consume(topic, dead_letters=DeadLetters(topic=dead))(lambda messages: seen.append(len(messages)))
    running = world.start(app, memory=memory)
    event = running.wait_for(lambda: running.of(PartitionParked) or running.of(DeadLettered))[0]
    assert isinstance(event, PartitionParked)
    assert "could not be sent" in str(event)
    assert seen == []
    assert running.stop() in (0, 4)
    assert not world.read(dead)


def test_hooks_wait_for_a_suspect_and_a_stop_ends_in_time(world):
    topic, memory = world.topic(2), Notebook()
    world.produce(topic, numbers(8), partition=range(2))
    app = world.app(kafka=SOON, tick_interval=0.02, max_messages=1, concurrency=2)
    ticks, order, entered, leave = [], [], threading.Event(), threading.Event()

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            order.append(messages.partition)
            if messages.partition == 0 and messages.first_offset == 2:
                entered.set()
                leave.wait(60)

        def tick(self):
            ticks.append(self.partition)

        def shutdown(self):
            order.append("shutdown")

    memory.notes = died_with(topic, InHand(2, 2, 1, alone=False))
    running = world.start(app, memory=memory, drain_timeout=2.0)
    assert entered.wait(60)
    running.wait_for(lambda: memory.notes[topic, 0].in_hand == InHand(2, 2, 1, alone=True))
    before = len(ticks)
    time.sleep(0.3)
    assert len(ticks) == before, "a hook could kill the process, too"
    begun = time.monotonic()
    running.runtime.stop()
    assert running.join() == 4
    assert time.monotonic() - begun < 10
    assert memory.notes[topic, 0].in_hand == InHand(2, 2, 1, alone=True), "the proof stands"
    leave.set()


def test_a_suspect_that_runs_too_long_lets_others_in_and_proves_nothing(world):
    topic, memory = world.topic(2), Notebook()
    world.produce(topic, numbers(8), partition=range(2))
    app = world.app(kafka=SOON, concurrency=2)
    entered, leave, others = threading.Event(), threading.Event(), threading.Event()

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            if messages.partition == 0:
                entered.set()
                leave.wait(60)
            elif entered.is_set():
                others.set()

    memory.notes = died_with(topic, InHand(0, 0, 1, alone=False))
    running = world.start(app, memory=memory, drain_timeout=5.0)
    running.runtime._workers.gate.alone_s = 0.5
    assert entered.wait(60)
    world.produce(topic, numbers(4), partition=1)
    assert others.wait(60)
    assert memory.notes[topic, 0].in_hand == InHand(0, 0, 1, alone=False)
    leave.set()
    world.await_committed(topic, {0: 4, 1: 8})
    assert running.stop() == 0


def test_a_handler_that_raises_system_exit_dies_with_its_records(world):
    topic, memory = world.topic(), Notebook()
    world.produce(topic, numbers(10))
    app = world.app(kafka=SOON, max_messages=4)

    @app.consume(topic)
    def handle(messages):
        if messages.last_offset >= 4:
            raise SystemExit(3)

    running = world.start(app, memory=memory)
    assert running.join() == 1
    note = memory.notes[topic, 0]
    assert note.in_hand is not None
    assert note.in_hand.first <= 4 <= note.in_hand.last
    assert not note.released


def test_a_process_that_ends_because_of_its_client_blames_no_record(world):
    topic, memory = world.topic(), Notebook()
    world.produce(topic, numbers(10))
    app, entered, leave = world.app(kafka=SOON), threading.Event(), threading.Event()

    @app.consume(topic)
    def handle(messages):
        entered.set()
        leave.wait(60)

    running = world.start(app, memory=memory, drain_timeout=1.0)
    assert entered.wait(60)
    assert memory.notes[topic, 0].in_hand is not None
    running.runtime._connections[0].fail("the client is fenced")
    assert running.join() == 1
    assert memory.notes[topic, 0].in_hand is None
    leave.set()


def test_a_process_whose_main_thread_is_interrupted_blames_no_record(world):
    topic, memory = world.topic(), Notebook()
    world.produce(topic, numbers(10))
    app, entered, leave = world.app(kafka=SOON), threading.Event(), threading.Event()

    @app.consume(topic)
    def handle(messages):
        entered.set()
        leave.wait(60)

    def interrupt(*_):
        raise OSError("a signal handler of the application")

    running = world.start(app, memory=memory, drain_timeout=1.0)
    assert entered.wait(60)
    running.runtime._reminders.look = interrupt
    with pytest.raises(OSError, match="a signal handler"):
        running.join()
    assert memory.notes[topic, 0].in_hand is None
    leave.set()


@pytest.mark.real_kafka
def test_letter_and_offset_go_in_one_transaction_without_a_consumer(real_world):
    world = real_world
    topic, dead, memory = world.topic(), world.topic(), Notebook()
    world.produce(topic, numbers(10))
    memory.notes = died_with(topic, suspects=culprit(0))
    made = []
    app = world.app(kafka=SOON, producer={"transactional.id": world.name("id")})

    @app.topic(topic, dead_letters=DeadLetters(topic=dead))
    class Handler(Consumer):
        def __init__(self):
            made.append(len(world.read(dead)))

        def consume(self, messages):
            with self.transaction():
                self.mark_as_consumed(messages[-1])

    running = world.start(app, memory=memory)
    world.await_committed(topic, {0: 10})
    (letter,) = world.read(dead)
    assert dict(letter.headers)["swarm-attempts"] == b"3"
    assert made == [1], "the letter was readable, so committed, before any consumer was made"
    assert running.stop() == 0
