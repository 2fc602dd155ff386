"""A partition continues where its last owner was, and starts at its committed offset where that is not sure."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from confluent_kafka import Consumer as PlainConsumer
from confluent_kafka import TopicPartition

from swarm_consumer import Consumer
from swarm_consumer._connection.kept_progress import KeptProgress
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._scheduling.remembrance import is_token
from swarm_consumer._scheduling.take_over import Refusal, refusal, suspects_survive
from swarm_consumer.events import Committed, ErrorOccurred, TakenOver, TakeOverRefused
from tests.consumer.notebook import Notebook, remembered

NEVER = {"auto.commit.interval.ms": 3600_000}
TOKEN = "swarm:abc"


def commit(world, topic, offset, metadata=None):
    client = PlainConsumer({"bootstrap.servers": world.bootstrap, "group.id": world.group})
    place = TopicPartition(topic, 0, offset) if metadata is None else TopicPartition(topic, 0, offset, metadata)
    client.commit(offsets=[place], asynchronous=False)
    client.close()


def committed_in(world, topic):
    client = PlainConsumer({"bootstrap.servers": world.bootstrap, "group.id": world.group})
    try:
        return client.committed([TopicPartition(topic, 0)], timeout=10)[0]
    finally:
        client.close()


def metadata_of(world, topic):
    return committed_in(world, topic).metadata


def await_metadata(world, topic, condition):
    deadline = time.monotonic() + 30
    while not condition(found := metadata_of(world, topic)):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def consumer_of(world, topic, **settings):
    app = world.app(kafka=NEVER, max_messages=10, **settings)
    seen = []
    app.consume(topic)(lambda messages: seen.extend(message.offset for message in messages))
    return app, seen


def figures(running):
    told = running.runtime.statistics()
    return told["taken_over"], told["take_overs_refused"]


def note_of(topic, position, committed, **fields):
    return {(topic, 0): remembered(position=position, committed=committed, token=TOKEN, life=(3, 7), **fields)}


def test_a_partition_continues_where_its_last_owner_was(world):
    topic, memory = world.topic(), Notebook()
    world.produce(topic, [b"%d" % number for number in range(100)], partition=0)
    commit(world, topic, 30, TOKEN)
    memory.notes = note_of(topic, 60, 30)
    app, seen = consumer_of(world, topic)
    running = world.start(app, memory=memory)
    running.wait_for(lambda: len(seen) == 40)
    (told,) = running.of(TakenOver)
    assert (told.topic, told.partition, told.position, told.committed) == (topic, 0, 60, 30)
    assert (told.node_id, told.generation) == (3, 7)
    assert "continues at offset 60" in str(told)
    assert "node 3 (generation 7)" in str(told)
    assert figures(running) == (1, 0)
    assert seen == list(range(60, 100))
    assert len(memory.scopes) == 1
    assert world.bootstrap in next(iter(memory.scopes))
    assert running.stop() == 0
    assert world.committed(topic) == {0: 100}


def test_where_it_continues_is_committed_at_once_with_its_own_token(world):
    """Without that commit a second death would go back to what the first owner had committed."""
    topic, memory = world.topic(), Notebook()
    world.produce(topic, [b"%d" % number for number in range(100)], partition=0)
    commit(world, topic, 30, TOKEN)
    memory.notes = note_of(topic, 60, 30)
    app, entered, leave = world.app(kafka=NEVER, max_messages=10), threading.Event(), threading.Event()

    @app.consume(topic)
    def handle(messages):
        entered.set()
        assert leave.wait(60)

    running = world.start(app, memory=memory)
    assert entered.wait(60)
    try:
        running.wait_for(lambda: world.committed(topic) == {0: 60})
        found = metadata_of(world, topic)
        assert found is not None
        assert found.startswith("swarm:")
        assert found != TOKEN
        running.wait_for(lambda: memory.notes[topic, 0].committed == 60)
        note = memory.notes[topic, 0]
        assert note.token == found
        assert (note.in_hand.first, note.in_hand.last, note.in_hand.attempt) == (60, 69, 1)
    finally:
        leave.set()
    assert running.stop() == 0


@pytest.mark.parametrize(
    ("committed", "metadata", "fields", "why"),
    [
        (30, None, {}, Refusal.OTHER_COMMIT),
        (30, "swarm:abd", {}, Refusal.OTHER_COMMIT),
        (30, "mine", {}, Refusal.APPLICATION_METADATA),
        (20, TOKEN, {}, Refusal.WENT_BACK),
        (None, None, {}, Refusal.COMMIT_GONE),
        (30, TOKEN, {"complete": False}, Refusal.INCOMPLETE),
        (30, TOKEN, {"position": 101}, Refusal.BEYOND_END),
        (60, TOKEN, {}, None),
        (30, TOKEN, {"released": True}, None),
    ],
)
def test_what_is_not_sure_starts_at_the_committed_offset(world, committed, metadata, fields, why):
    topic, memory = world.topic(), Notebook()
    world.produce(topic, [b"%d" % number for number in range(100)], partition=0)
    if committed is not None:
        commit(world, topic, committed, metadata)
    fields = {"position": 60, "committed": 30, **fields}
    memory.notes = note_of(topic, **fields)
    app, seen = consumer_of(world, topic)
    running = world.start(app, memory=memory)
    first = committed or 0
    running.wait_for(lambda: len(seen) >= 100 - first)
    assert seen == list(range(first, 100))
    assert running.of(TakenOver) == []
    told = running.of(TakeOverRefused)
    if why is None:
        assert told == []
    else:
        assert [(one.position, one.committed, one.reason) for one in told] == [
            (fields["position"], committed, why.sentence)
        ]
        assert why.sentence in str(told[0])
    assert figures(running) == (0, int(why is not None))
    assert running.stop() == 0
    assert world.committed(topic) == {0: 100}


def test_a_new_group_commits_its_start_so_that_its_notes_are_sure(world):
    topic, memory = world.topic(), Notebook()
    world.produce(topic, [b"%d" % number for number in range(30)], partition=0)
    app, seen = consumer_of(world, topic)
    running = world.start(app, memory=memory)
    running.wait_for(lambda: len(seen) == 30)
    found = await_metadata(world, topic, bool)
    assert world.committed(topic)[0] in (0, 10, 20, 30)
    running.wait_for(lambda: memory.notes[topic, 0].committed is not None)
    assert memory.notes[topic, 0].token == found
    assert memory.notes[topic, 0].position == 30
    assert memory.notes[topic, 0].in_hand is None
    assert running.stop() == 0
    assert memory.notes[topic, 0].released
    assert memory.notes[topic, 0].position is None


def test_metadata_of_the_application_is_neither_noted_nor_overwritten(world):
    topic, memory = world.topic(), Notebook()
    world.produce(topic, [b"%d" % number for number in range(20)], partition=0)
    commit(world, topic, 10, "where I was")
    app = world.app(kafka=NEVER, max_messages=5, manual_marking=True)
    found, seen, go_on = [], [], threading.Event()

    @app.topic(topic)
    class Marks(Consumer):
        def consume(self, messages):
            found.append(self.offset_metadata())
            seen.extend(message.offset for message in messages)
            if len(seen) == 5:
                self.mark_as_consumed(messages[-1], metadata="further", blocking=True)
                found.append(self.offset_metadata())
                go_on.wait(60)
            else:
                self.mark_as_consumed(messages[-1], blocking=True)
                found.append(self.offset_metadata())

    running = world.start(app, memory=memory)
    running.wait_for(lambda: len(found) == 2)
    assert metadata_of(world, topic) == "further"
    assert memory.notes[topic, 0].position is None
    go_on.set()
    running.wait_for(lambda: len(found) == 4)
    assert found[:3] == ["where I was", "further", "further"]
    assert not found[3], "a token is no metadata of the application's"
    assert memory.notes[topic, 0].position == 20
    assert metadata_of(world, topic).startswith("swarm:")
    assert running.stop() == 0


def test_a_seek_is_noted_from_the_next_mark_on(world):
    topic, memory = world.topic(), Notebook()
    world.produce(topic, [b"%d" % number for number in range(100)], partition=0)
    app, seen = world.app(kafka=NEVER, max_messages=10), []

    @app.topic(topic)
    class Back(Consumer):
        def consume(self, messages):
            seen.extend(message.offset for message in messages)
            if len(seen) == 50:
                self.seek(20)

    running = world.start(app, memory=memory)
    running.wait_for(lambda: len(seen) >= 130)
    notes = [note for key, note in memory.written if key == (topic, 0)]
    renewed = [(one, after) for one, after in itertools.pairwise(notes) if one.token != after.token]
    assert all(after.position is None for _, after in renewed)
    assert any(one.position == 40 for one, _ in renewed), "the claim before the seek had gone as far as its last mark"
    running.wait_for(lambda: memory.notes[topic, 0].position == 100)
    assert running.stop() == 0


def test_a_memory_that_raises_costs_what_it_would_have_saved(world):
    class Broken(Notebook):
        def claim(self, scope, key, *, positions=True):
            raise OSError("no room")

        def recall(self, scope, keys):
            raise ValueError("no sense")

    topic = world.topic()
    world.produce(topic, [b"%d" % number for number in range(20)], partition=0)
    commit(world, topic, 10, TOKEN)
    app, seen = consumer_of(world, topic)
    running = world.start(app, memory=Broken())
    running.wait_for(lambda: len(seen) == 10)
    assert seen == list(range(10, 20))
    assert {str(event.error) for event in running.of(ErrorOccurred)} == {"no room", "no sense"}
    assert running.stop() == 0
    assert world.committed(topic) == {0: 20}
    assert not metadata_of(world, topic) or metadata_of(world, topic) == TOKEN


def test_a_memory_may_put_itself_right_once_a_second():
    class Restored(Notebook):
        restored = 0

        def restore(self):
            self.restored += 1
            if self.restored == 3:
                raise OSError("no memory")

    bus, events, memory = Bus(), [], Restored()
    bus.subscribe(events.append)
    kept = KeptProgress(memory, "scope", bus, positions=True)
    for now in (10.0, 10.9, 11.0, 11.5):
        kept.see_to(now)
    assert (memory.restored, events) == (2, [])
    for now in (12.0, 13.0, 14.0):
        kept.see_to(now)
    assert memory.restored == 3
    assert [str(event.error) for event in events] == ["no memory"]
    KeptProgress(Notebook(), "scope", bus, positions=True).see_to(10.0)  # it has nothing to put right


def test_a_listener_to_the_errors_of_a_memory_may_ask_for_figures(world):
    """A claim is made, and evidence is asked for, while the connection is locked: what is told then must wait."""

    class Broken(Notebook):
        def claim(self, scope, key, *, positions=True):
            raise OSError("no room")

    topic = world.topic()
    world.produce(topic, [b"%d" % number for number in range(20)], partition=0)
    app, seen = consumer_of(world, topic)
    asked, started = [], threading.Event()

    def ask(event):
        if isinstance(event, ErrorOccurred) and started.wait(30):
            asked.append(running.runtime.statistics())

    app.subscribe(ask)
    running = world.start(app, memory=Broken())
    started.set()
    running.wait_for(lambda: len(seen) == 20 and asked, timeout=20)
    assert running.stop() == 0


@pytest.mark.parametrize("committed", [10, None])
def test_records_of_a_topic_made_anew_are_not_suspected_beside_transactions(world, committed):
    """Transactions commit without a token, so what was committed at the start has to show that it is gone."""
    topic, memory = world.topic(), Notebook()
    world.produce(topic, [b"%d" % number for number in range(20)], partition=0)
    if committed is not None:
        commit(world, topic, committed)
    app = world.app(kafka=NEVER, producer={"transactional.id": world.name("id")})
    entered, leave = threading.Event(), threading.Event()

    @app.consume(topic)
    def handle(messages):
        entered.set()
        leave.wait(60)

    running = world.start(app, memory=memory, drain_timeout=1.0)
    assert entered.wait(60)
    note = memory.notes[topic, 0]
    assert (note.position, note.committed) == (None, committed)
    gone = refusal(note, None, None, time.monotonic_ns())
    assert suspects_survive(gone) is (committed is None)
    leave.set()
    running.runtime.stop()
    running.join()


@pytest.mark.real_kafka
def test_transactions_note_no_positions(real_world):
    world = real_world
    topic, memory = world.topic(), Notebook()
    commits = []
    world.produce(topic, [b"%d" % number for number in range(20)], partition=0)
    app = world.app(kafka=NEVER, producer={"transactional.id": world.name("id")}, max_messages=10)
    seen = []

    @app.topic(topic)
    class InTransactions(Consumer):
        def consume(self, messages):
            with self.transaction():
                seen.extend(message.offset for message in messages)
                self.mark_as_consumed(messages[-1])

    app.subscribe(lambda event: commits.append(event) if isinstance(event, Committed) else None)
    running = world.start(app, memory=memory)
    running.wait_for(lambda: len(seen) == 20)
    world.await_committed(topic, {0: 20})
    assert {note.position for _, note in memory.written} == {None}
    assert any(note.in_hand is not None for _, note in memory.written)
    assert [offset for event in commits for _, _, offset in event.offsets] == [10, 20], "no commit beside transactions"
    assert running.stop() == 0


def test_the_start_is_committed_as_the_last_owner_left_it(real_world):
    """With the epoch of the leader: without it the next owner could not find out that the log was cut since."""
    world = real_world
    topic, memory = world.topic(), Notebook()
    world.produce(topic, [b"%d" % number for number in range(100)], partition=0)
    app, seen = consumer_of(world, topic)
    running = world.start(app)
    running.wait_for(lambda: len(seen) == 100)
    assert running.stop() == 0
    before = committed_in(world, topic)
    assert before.leader_epoch is not None

    app, seen = consumer_of(world, topic)
    running = world.start(app, memory=memory)
    await_metadata(world, topic, is_token)
    running.wait_for(lambda: memory.notes[topic, 0].committed == 100)
    after = committed_in(world, topic)
    assert (after.offset, after.leader_epoch) == (100, before.leader_epoch)
    assert after.metadata == memory.notes[topic, 0].token
    assert running.stop() == 0
    assert not seen


def test_without_an_answer_about_the_end_a_note_is_not_used(world, monkeypatch):
    from swarm_consumer._connection import starts

    topic, memory = world.topic(), Notebook()
    world.produce(topic, [b"%d" % number for number in range(100)], partition=0)
    commit(world, topic, 30, TOKEN)
    memory.notes = note_of(topic, 60, 30)
    monkeypatch.setattr(starts, "ends", lambda client, keys: {})
    app, seen = consumer_of(world, topic)
    running = world.start(app, memory=memory)
    running.wait_for(lambda: len(seen) == 70)
    assert seen[0] == 30
    assert [event.reason for event in running.of(TakeOverRefused)] == [Refusal.END_UNKNOWN.sentence]
    assert running.stop() == 0
