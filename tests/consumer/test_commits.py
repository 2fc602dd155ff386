"""Commits: waited for without holding up the owner thread, and told when they are refused."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from swarm_consumer import App, Consumer
from swarm_consumer._connection import commits, transaction_offsets
from swarm_consumer._connection.connection import Connection
from swarm_consumer._connection.due import Due
from swarm_consumer._connection.ending import Ending
from swarm_consumer._connection.intake import Intake
from swarm_consumer._connection.rebalances import Rebalances
from swarm_consumer._connection.transaction_offsets import group_metadata
from swarm_consumer._connection.workers import Workers
from swarm_consumer._scheduling.commit_turns import REFUSED_S, CommitTurns
from swarm_consumer.events import Assigned, BatchFinished, ClientError, CommitRefused, Committed
from swarm_consumer.routing.client_properties import ClientProperties
from swarm_consumer.testing import Record, committed_offsets, produce


def test_a_blocking_mark_in_an_outage_does_not_hold_up_the_owner(embedded_broker, make_app, start, topic_name):
    """The owner thread stayed in commit() for as long as librdkafka looks for a coordinator: 45 s without a poll."""
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 2)
    produce(embedded_broker.bootstrap, topic, [Record(b"%d" % number, partition=number % 2) for number in range(4)])
    app = make_app(concurrency=2)
    answers, at_work, go = [], threading.Event(), threading.Event()

    @app.topic(topic, group=topic)
    class Handler(Consumer):
        def consume(self, messages):
            if messages.partition == 0:
                at_work.set()
                assert go.wait(60)
                answers.append(self.mark_as_consumed(messages[-1], blocking=True, timeout=2.0))

    running = start(app, drain_timeout=5.0)
    running.wait_for_event(BatchFinished)
    assert at_work.wait(30)  # the other partition may have come first
    embedded_broker.take_down()
    try:
        go.set()
        running.wait_for(lambda: answers)
        assert answers == [False]
        (connection,) = running.runtime._connections
        asked = time.monotonic()
        running.wait_for(lambda: connection.last_poll > asked, timeout=15, what="a poll after the mark was given up")
    finally:
        embedded_broker.bring_up()
    running.stop()


def test_a_blocking_mark_inside_a_revocation_is_answered(embedded_broker, make_app, start, topic_name):
    """While the owner waits for this handler inside librdkafka's callback no answer to a commit can be polled."""
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 2)
    produce(embedded_broker.bootstrap, topic, [Record(b"%d" % number, partition=number % 2) for number in range(4)])
    app = make_app(kafka={"auto.commit.interval.ms": 3600_000}, concurrency=2)
    answers = []

    @app.topic(topic, group=topic)
    class Handler(Consumer):
        def consume(self, messages):
            deadline = time.monotonic() + 60
            while not self.is_revoked and time.monotonic() < deadline and not answers:
                time.sleep(0.01)
            if self.is_revoked:
                answers.append(self.mark_as_consumed(messages[-1], blocking=True, timeout=20.0))

    running = start(app)
    running.wait_for_event(Assigned, lambda event: event.partitions)
    other = make_app()
    other.consume(topic, group=topic)(lambda messages: None)
    start(other)
    running.wait_for(lambda: answers, timeout=60)
    assert answers == [True]


class Reported:
    """As much of a connection as a report needs."""

    def __init__(self):
        from swarm_consumer._reporting.bus import Bus
        from swarm_consumer.kafka.client_errors import Repetitions

        self.bus, self.refusals, self.awaited, self.unpolled = Bus(), Repetitions(), {}, False
        self.kept = None
        self._lock, self.turns = threading.Lock(), CommitTurns(5.0, time.monotonic())
        self._changed = threading.Condition(self._lock)
        self.group = type("Named", (), {"name": "delays", "consumer_group": "delays"})
        self.statistics = type("Statistics", (), {"committed": lambda self, offsets: None})()
        self.events = []
        self.bus.subscribe(self.events.append)


def place(offset, error=None):
    return TopicPartition("flights", 3, offset)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (KafkaError.OFFSET_METADATA_TOO_LARGE, "shorten metadata"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "READ on group delays"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "READ on the topic"),
        (KafkaError.UNKNOWN_MEMBER_ID, "handled again"),
    ],
)
def test_a_commit_that_stays_refused_is_a_warning(code, remedy):
    connection = Reported()
    for _ in range(5):
        commits.report(connection, KafkaError(code), [place(17)])
    (told,) = [event for event in connection.events if isinstance(event, CommitRefused)]
    assert told.level == logging.WARNING
    assert remedy in str(told)
    assert "flights[3]" in str(told)
    assert len([event for event in connection.events if isinstance(event, Committed)]) == 5


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError._WAIT_COORD,
        KafkaError.ILLEGAL_GENERATION,  # it was sent behind a JoinGroup, under the generation before
    ],
)
def test_a_commit_that_may_be_taken_later_is_no_news(code):
    connection = Reported()
    commits.report(connection, KafkaError(code), [place(17)])
    assert not [event for event in connection.events if isinstance(event, CommitRefused)]


def test_the_owner_may_stop_while_it_waits_for_its_own_id(embedded_broker, make_app, start, topic_name, monkeypatch):
    """The connection is closed then; draining polled it, which ended the node with 1."""
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 1)
    produce(embedded_broker.bootstrap, topic, [b"1"])
    app = make_app(revocation_timeout=0.2)
    entered, gate = threading.Event(), threading.Event()

    @app.consume(topic, group=topic)
    def handle(messages):
        entered.set()
        assert gate.wait(60)

    running = start(app, drain_timeout=30.0)
    assert entered.wait(60)
    (connection,) = running.runtime._connections
    connection._owner._own_id_refused = 5  # as the broker's refusal sets it
    running.wait_for(lambda: connection._owner._client is None)
    running.runtime.stop()
    running.wait_for(lambda: connection.stopping)
    gate.set()
    assert running.join() == 0
    assert not running.of(ClientError)


def test_a_commit_that_cannot_even_be_sent_leaves_nobody_waiting():
    """Each attempt left an answer behind, which every later revocation asked the broker about."""
    from swarm_consumer._scheduling.ledger import Ledger

    class Client:
        def commit(self, **options):
            raise KafkaException(KafkaError(KafkaError._STATE))

    key, ledger = ("flights", 3), Ledger()
    epoch = ledger.assign(key)
    ledger.deliver(key, epoch, 0, 6)
    ledger.mark(key, epoch, 6)
    connection = Reported()
    connection.partitions = SimpleNamespace(ledger=ledger)
    connection.requests = SimpleNamespace(ask=lambda function, timeout_s: function(Client()))
    for _ in range(5):
        assert commits.commit_blocking(connection, key, epoch, 1.0) is False
    assert all(answer.done() for waiting in connection.awaited.values() for _, answer in waiting)
    assert sum(map(len, connection.awaited.values())) <= 1


class Unsure:
    """A client whose broker does not answer twice, then is not sure, then answers."""

    def __init__(self):
        self.timeouts = []

    def committed(self, partitions, timeout):
        self.timeouts.append(timeout)
        (one,) = partitions
        if len(self.timeouts) < 3:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        failed = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS) if len(self.timeouts) == 3 else None
        return [SimpleNamespace(topic=one.topic, partition=one.partition, error=failed, metadata="up to here")]


def a_connection():
    app = App("flights", {"bootstrap.servers": "localhost:9092"})
    app.consume("flights")(lambda messages: None)
    (group,) = app.subscription_groups()
    workers = Workers(1, None, None)
    return Connection(group, None, ClientProperties(group, "flights", None), workers, app.bus, lambda: None, 30.0)


def test_metadata_is_asked_for_in_short_slices_until_the_broker_knows_it():
    """The owner thread waits for each answer: as long as the handler's whole timeout, it polled for nobody."""
    connection, client, ended = a_connection(), Unsure(), threading.Event()

    def own():
        while not ended.is_set():
            connection.requests.serve(client)
            time.sleep(0.001)

    owner = threading.Thread(target=own)
    owner.start()
    try:
        assert commits.committed_metadata(connection, ("flights", 3), 60.0) == "up to here"
    finally:
        ended.set()
        owner.join(30)
    assert len(client.timeouts) == 4
    assert max(client.timeouts) <= 1.0


def test_requests_of_many_handlers_leave_room_for_polls(monkeypatch):
    monkeypatch.setattr("swarm_consumer._connection.requests.SERVE_S", 0.0, raising=False)
    connection, served = a_connection(), []
    for number in range(3):
        connection.requests._queue.append(lambda client, number=number: served.append(number))
    connection.requests.serve(None)
    assert served == [0]
    connection.requests.serve(None)
    assert served == [0, 1]


def test_seeks_of_many_partitions_leave_room_for_polls(monkeypatch):
    sought = []
    monkeypatch.setattr("swarm_consumer._connection.due.SEEKS_S", 0.0, raising=False)
    monkeypatch.setattr("swarm_consumer._connection.seeks.seek", lambda connection, client, lane: sought.append(lane))
    connection = a_connection()
    for partition in range(3):
        lane = connection.partitions.assign(("flights", partition), connection.group.route_of("flights"), 0.0).lanes[0]
        lane.partition.pending_seek = 5
    Due(connection).attend(None, time.monotonic())
    assert len(sought) == 1
    assert connection.attention, "the others are sought at the next turns"


class Recording:
    """A client that keeps what it is told to commit."""

    def __init__(self):
        self.sent = []

    def commit(self, offsets, asynchronous):
        assert asynchronous, "the owner waits for no commit"
        self.sent += [(one.partition, one.offset) for one in offsets]


def gone_back(connection, make_records, partition=3):
    """Return a lane whose client went back from 10 to 0, and whose handler has done what is before 2."""
    lane = connection.partitions.assign(("flights", partition), connection.group.route_of("flights"), 0.0).lanes[0]
    connection.partitions.begin(lane.partition, 10, commit=False)
    connection.partitions.receive(lane.partition, make_records(0, 2, partition=partition))
    assert lane.partition.went_back
    run = connection.partitions.take(lane, 0.0)
    connection.partitions.finish(run, False, 0.0)
    return lane


def test_a_going_back_that_was_refused_is_committed_again_soon(make_records, monkeypatch):
    """It waited as long as one that is not answered: a node that stopped meanwhile left the group beyond the end."""
    connection, client = a_connection(), Recording()
    lane = gone_back(connection, make_records)
    commits.commit_now(connection, client, [lane.key])
    commits.report(connection, KafkaError(KafkaError.REBALANCE_IN_PROGRESS), [place(2)])
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 2 * REFUSED_S)
    commits.commit_due(connection, client)
    assert client.sent == [(3, 2), (3, 2)]
    commits.report(connection, None, [place(2)])
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 3600)
    commits.commit_due(connection, client)
    assert client.sent == [(3, 2), (3, 2)], "it is confirmed"


def test_a_going_back_that_nobody_confirmed_is_committed_before_the_partition_leaves(make_records):
    """The next owner began beyond the end, and later past new records."""
    connection, client = a_connection(), Recording()
    lanes = [gone_back(connection, make_records, partition) for partition in (3, 4)]
    commits.commit_now(connection, client, [lanes[0].key])
    commits.report(connection, KafkaError(KafkaError.REBALANCE_IN_PROGRESS), [place(2)])
    client.sent.clear()
    places = [TopicPartition(*lane.key) for lane in lanes]
    Rebalances(connection, 0.0, lambda: None).revoke(client, places)
    assert sorted(client.sent) == [(3, 2), (4, 2)]


def test_a_log_that_is_cut_during_the_drain_takes_back_what_was_done(make_records):
    """What was done before was committed afterwards, past the records that have its offsets now."""
    connection, client = a_connection(), Recording()
    lane = connection.partitions.assign(("flights", 3), connection.group.route_of("flights"), 0.0).lanes[0]
    connection.partitions.receive(lane.partition, make_records(0, 17, partition=3))
    connection.partitions.finish(connection.partitions.take(lane, 0.0), False, 0.0)
    commits.collect(connection)
    connection.partitions.frozen = True
    client.poll = lambda timeout: make_records(0, 1, partition=3)[0]
    Intake(connection, None, None).poll(client, 0.0, drain=False)
    assert client.sent == [(3, 0)]
    Intake(connection, None, None).poll(client, 0.0, drain=False)
    assert client.sent == [(3, 0)], "once for each cut"


def test_a_log_that_is_cut_during_the_drain_keeps_what_is_not_done_open(make_records):
    """Under "latest" the client begins again at the end of the log, and what had come before that was committed."""
    connection, client = a_connection(), Recording()
    lane = connection.partitions.assign(("flights", 3), connection.group.route_of("flights"), 0.0).lanes[0]
    connection.partitions.receive(lane.partition, make_records(0, 170, partition=3))
    connection.partitions.finish(connection.partitions.take(lane, 0.0), False, 0.0)
    commits.collect(connection)
    connection.partitions.frozen = True
    client.poll = lambda timeout: make_records(150, 1, partition=3)[0]
    Intake(connection, None, None).poll(client, 0.0, drain=False)
    assert client.sent == [(3, 100)]


def offsets_of(events):
    return [offset for event in events for _, _, offset in event.offsets if event.error is None]


def test_no_commit_is_overtaken_by_a_later_one(embedded_broker, make_app, start, topic_name):
    """librdkafka retried the first after a back-off: it arrived behind the second, and took the group back."""
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 1)
    app = make_app(kafka={"auto.commit.interval.ms": 20})
    handled = []
    app.consume(topic, group=topic)(lambda messages: handled.extend(messages))
    running = start(app)
    running.wait_for_event(Assigned, lambda event: event.partitions)
    embedded_broker.inject_errors("OffsetCommit", ["COORDINATOR_LOAD_IN_PROGRESS"])
    for number in range(20):
        produce(embedded_broker.bootstrap, topic, [b"%d" % number])
        running.wait_for(lambda number=number: len(handled) > number)
    running.wait_for(lambda: 20 in offsets_of(running.of(Committed)))
    running.stop()
    told = offsets_of(running.of(Committed))
    assert told == sorted(told)


def test_a_blocking_mark_stays_taken(embedded_broker, make_app, start, topic_name):
    """It was answered, and then an older commit of the same partition took the group back."""
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 1)
    produce(embedded_broker.bootstrap, topic, [b"%d" % number for number in range(40)])
    app = make_app(kafka={"auto.commit.interval.ms": 20}, max_messages=1)
    answers = []

    @app.topic(topic, group=topic)
    class Handler(Consumer):
        def consume(self, messages):
            (message,) = messages
            if message.offset % 10 == 2:
                embedded_broker.inject_errors("OffsetCommit", ["COORDINATOR_LOAD_IN_PROGRESS"])
                time.sleep(0.06)  # the automatic commit meets it
            if message.offset % 10 == 3:
                answers.append(self.mark_as_consumed(message, blocking=True, timeout=30.0))
                time.sleep(0.2)  # longer than librdkafka's back-off

    running = start(app)
    running.wait_for(lambda: 40 in offsets_of(running.of(Committed)))
    running.stop()
    assert answers == [True] * 4
    told = offsets_of(running.of(Committed))
    assert told == sorted(told)


def with_a_commit_under_way(make_records):
    """Return a connection, its client and a lane whose four messages are done and not answered for."""
    connection, client = a_connection(), Recording()
    lane = connection.partitions.assign(("flights", 3), connection.group.route_of("flights"), 0.0).lanes[0]
    connection.partitions.receive(lane.partition, make_records(0, 4, partition=3))
    connection.partitions.finish(connection.partitions.take(lane, 0.0), False, 0.0)
    commits.commit_now(connection, client, [lane.key])
    return connection, client, lane


def test_a_transaction_begins_when_no_commit_is_under_way(make_records):
    """One that waits for its next attempt would arrive after the transaction and take the group back behind it."""
    connection, client, lane = with_a_commit_under_way(make_records)
    asked, found = [], []
    client.consumer_group_metadata = lambda: "metadata"
    client.committed = lambda partitions, timeout: asked.append(partitions)
    asking = threading.Thread(
        target=lambda: found.append(group_metadata(connection, lane.key, lane.epoch, 30.0, after_commits=True))
    )
    asking.start()
    while not connection.requests.waiting:
        time.sleep(0.001)
    connection.requests.serve(client)
    assert not asked
    assert not found
    commits.report(connection, None, [place(4)])
    while asking.is_alive():
        connection.requests.serve(client)
    assert found == ["metadata"]
    assert asked


def test_inside_a_callback_no_transaction_passes_a_commit_that_is_not_answered(make_records):
    """No answer can be polled there. The transaction is undone, and its records are handled by the next owner."""
    connection, client, lane = with_a_commit_under_way(make_records)
    connection.unpolled = True
    connection.requests.ask = lambda function, timeout_s: function(client)
    with pytest.raises(KafkaException, match="not answered"):
        group_metadata(connection, lane.key, lane.epoch, 30.0, after_commits=True)


def test_a_revocation_waits_for_a_commit_that_is_under_way(make_records):
    """The last commit was sent at once, and an older one that librdkafka tried again arrived after it."""
    connection, client, lane = with_a_commit_under_way(make_records)
    asked = []

    def committed(partitions, timeout):
        asked.append(len(client.sent))
        return [TopicPartition("flights", 3, 4 if len(asked) == 3 else 0)]

    client.committed = committed
    Rebalances(connection, 0.0, lambda: None).revoke(client, [TopicPartition(*lane.key)])
    assert len(asked) == 3


def test_requests_that_come_all_the_time_do_not_keep_the_owner_from_polling():
    """Each ended the wait for room early, before a poll was due: the membership was lost, and no answer came."""
    connection, polls = a_connection(), []
    lane = connection.partitions.assign(("flights", 3), connection.group.route_of("flights"), 0.0).lanes[0]
    lane.backlog.held_bytes = connection.partitions.held_bytes = 2**30
    lane.backlog.held, connection.partitions.held_total = [None] * 10_000, 10_000
    client = SimpleNamespace(poll=polls.append, pause=lambda where: None)
    intake = Intake(connection, None, None)
    until = time.monotonic() + 30
    while not polls:
        assert time.monotonic() < until
        connection.requests._queue.append(lambda client: None)
        intake.turn(client, time.monotonic())
        connection.requests.serve(client)


def test_a_transaction_is_not_waited_for_beyond_its_time(make_records):
    """With no time left the question was asked again and again without a pause."""
    connection, client, lane = with_a_commit_under_way(make_records)
    connection.requests.ask = lambda function, timeout_s: function(client)
    with pytest.raises(TimeoutError, match="no answer to a commit"):
        group_metadata(connection, lane.key, lane.epoch, 0.1, after_commits=True)


def test_the_last_commit_of_a_partition_takes_what_was_done_and_nothing_that_a_transaction_has_committed(make_records):
    """librdkafka's own last commit is of what was once stored, be it behind a transaction: its output came twice."""
    connection, client = a_connection(), Recording()
    lanes = []
    for partition in (3, 4):
        lane = connection.partitions.assign(("flights", partition), connection.group.route_of("flights"), 0.0).lanes[0]
        connection.partitions.receive(lane.partition, make_records(0, 4, partition=partition))
        connection.partitions.finish(connection.partitions.take(lane, 0.0), False, 0.0)
        lanes.append(lane)
    commits.collect(connection)
    with connection._lock:  # as a transaction does when it has committed more
        connection.partitions.ledger.committed(lanes[0].key, lanes[0].epoch, 4)
        connection.turns.forget([lanes[0].key])
    Rebalances(connection, 0.0, lambda: None).revoke(client, [TopicPartition(*lane.key) for lane in lanes])
    assert client.sent == [(4, 4)]


def test_one_refused_partition_is_no_refusal_of_the_others(make_records):
    """librdkafka gives its error as that of the whole request: blocking marks of all the others returned False."""
    connection, client = a_connection(), Recording()
    for partition in (3, 4):
        lane = connection.partitions.assign(("flights", partition), connection.group.route_of("flights"), 0.0).lanes[0]
        connection.partitions.receive(lane.partition, make_records(0, 4, partition=partition))
        connection.partitions.finish(connection.partitions.take(lane, 0.0), False, 0.0)
    told = []
    connection.bus.subscribe(told.append)
    commits.commit_now(connection, client, [("flights", 3), ("flights", 4)])
    answers = {partition: Future() for partition in (3, 4)}
    connection.awaited = {("flights", partition): [(0, answer)] for partition, answer in answers.items()}
    error = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)
    good, bad = (SimpleNamespace(topic="flights", partition=number, offset=4, error=None) for number in (3, 4))
    bad.error = error
    commits.report(connection, error, [good, bad])
    assert answers[3].result(0) is None
    with pytest.raises(KafkaException):
        answers[4].result(0)
    (refusal,) = [event for event in told if isinstance(event, CommitRefused)]
    assert refusal.partitions == (("flights", 4),)
    assert connection.turns.wanted([("flights", 3), ("flights", 4)]) == [("flights", 4)]


def a_blocking_mark(connection, client, lane):
    """Begin one on a thread; return that and where its answer comes, once it waits."""
    connection.requests.ask = lambda function, timeout_s: function(client)
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(commits.commit_blocking(connection, lane.key, lane.epoch, 60.0)), daemon=True
    )
    asking.start()
    until = time.monotonic() + 30
    while not connection.awaited:
        assert time.monotonic() < until
        time.sleep(0.001)
    return asking, answers


def test_a_blocking_mark_is_not_answered_by_a_commit_from_before_a_seek_back(make_records):
    """The mark of offset 0 was answered by the commit of 4, which it had just been sought back from."""
    connection, client, lane = with_a_commit_under_way(make_records)
    lane.partition.pending_seek = 0
    connection.partitions.sought(lane.partition, 0)
    connection.partitions.receive(lane.partition, make_records(0, 1, partition=3))
    connection.partitions.finish(connection.partitions.take(lane, 0.0), False, 0.0)
    asking, answers = a_blocking_mark(connection, client, lane)
    commits.report(connection, None, [place(4)])
    commits.commit_due(connection, client)
    assert client.sent == [(3, 4), (3, 1)]
    assert answers == []
    commits.report(connection, None, [place(1)])
    asking.join(30)
    assert answers == [True]


def test_a_mark_beyond_a_transaction_that_is_under_way_is_committed(make_records):
    """Another thread of the handler made it: the transaction's answer had it forgotten for good."""
    connection, client = a_connection(), Recording()
    lane = connection.partitions.assign(("flights", 3), connection.group.route_of("flights"), 0.0).lanes[0]
    connection.partitions.receive(lane.partition, make_records(0, 10, partition=3))
    run = connection.partitions.take(lane, 0.0)
    connection.partitions.ledger.mark(lane.key, run.epoch, 8)
    commits.collect(connection)
    transaction_offsets.committed(connection, run, (6, None, None))
    assert connection.turns.wanted([lane.key]) == [lane.key]
    transaction_offsets.committed(connection, run, (8, None, None))
    assert connection.turns.wanted([lane.key]) == [], "it would take the group back behind what comes next"
    assert client.sent == []


def test_a_transaction_waits_for_what_was_marked_since_it_asked(make_records):
    """It was forgotten, or would have arrived after the transaction and taken the group back."""
    connection, client, lane = with_a_commit_under_way(make_records)
    commits.report(connection, None, [place(4)])
    connection.partitions.receive(lane.partition, make_records(4, 2, partition=3))
    connection.partitions.finish(connection.partitions.take(lane, 0.0), False, 0.0)
    commits.collect(connection)
    client.consumer_group_metadata = lambda: "metadata"
    client.committed = lambda partitions, timeout: None
    found = []
    asking = threading.Thread(
        target=lambda: found.append(group_metadata(connection, lane.key, lane.epoch, 30.0, after_commits=True)),
        daemon=True,
    )
    asking.start()
    while not connection.requests.waiting:
        time.sleep(0.001)
    connection.requests.serve(client)
    assert not found
    commits.commit_due(connection, client)
    assert client.sent == [(3, 4), (3, 6)]
    commits.report(connection, None, [place(6)])
    until = time.monotonic() + 30
    while asking.is_alive():
        assert time.monotonic() < until
        connection.requests.serve(client)
    assert found == ["metadata"]


def test_what_is_under_way_as_a_partition_leaves_is_sent_once_more(make_records):
    """Its refusal is heard of only after the partition has gone: nobody committed it then."""
    connection, client, lane = with_a_commit_under_way(make_records)

    def nothing_is_known(partitions, timeout):
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    client.committed = nothing_is_known
    Rebalances(connection, 0.0, lambda: None).revoke(client, [TopicPartition(*lane.key)])
    assert client.sent == [(3, 4), (3, 4)]


def test_a_blocking_mark_of_a_lost_partition_ends_at_once(make_records):
    connection, client, lane = with_a_commit_under_way(make_records)
    asking, answers = a_blocking_mark(connection, client, lane)
    Rebalances(connection, 0.0, lambda: None).lose(client, [TopicPartition(*lane.key)])
    asking.join(30)
    assert answers == [False]


def test_a_refusal_during_the_drain_is_tried_again_before_the_client_is_closed(make_records):
    """Inside close() nobody hears of it: what a node had done was done again by the next owner."""
    connection, client = a_connection(), Recording()
    lane = connection.partitions.assign(("flights", 3), connection.group.route_of("flights"), 0.0).lanes[0]
    connection.partitions.receive(lane.partition, make_records(0, 4, partition=3))
    connection.partitions.finish(connection.partitions.take(lane, 0.0), False, 0.0)
    answers = [KafkaError(KafkaError.STALE_MEMBER_EPOCH), KafkaError(KafkaError.STALE_MEMBER_EPOCH), None]

    def poll(client, timeout):
        if connection.turns.is_under_way():
            commits.report(connection, answers.pop(0), [place(4)])
        time.sleep(0.01)

    Ending(connection, SimpleNamespace(poll=poll), None).commit_the_rest(client, time.monotonic() + 30)
    assert client.sent == [(3, 4)] * 3
    assert answers == []
    assert not connection.turns.wanted([lane.key])


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_node_that_a_handler_ends_has_committed_what_was_done(kafka_broker, topic_name, start, protocol):
    """In a rebalance librdkafka left the group first, and called back for the revocation then: by no member."""
    topic = topic_name("flights")
    kafka_broker.create_topic(topic, 6)
    done, busy, go = [], threading.Event(), threading.Event()

    def node():
        properties = {**kafka_broker.client_settings(protocol), "auto.commit.interval.ms": 3600_000, "log_level": 0}
        app = App("test", properties, group=topic, concurrency=3)

        @app.consume(topic)
        def handle(messages):
            if messages.raw_payloads() == [b"busy"]:
                busy.set()
                assert go.wait(60)
            elif messages.raw_payloads() == [b"end"]:
                raise SystemExit(3)
            else:
                done.append(messages.last_offset)

        return start(app, drain_timeout=30.0)

    def partitions(running):
        return sorted(key[1] for connection in running.runtime._connections for key in connection.assigned())

    def put(partition, *values):
        produce(kafka_broker.bootstrap, topic, [Record(value, partition=partition) for value in values])

    one = node()
    one.wait_for(lambda: len(partitions(one)) == 6)
    two = node()
    one.wait_for(lambda: len(partitions(one)) == len(partitions(two)) == 3)
    first, second, third = partitions(one)
    put(first, *[b"x"] * 10)
    one.wait_for(lambda: 9 in done)
    put(second, b"busy")
    assert busy.wait(60)
    put(third, b"end")
    one.wait_for(lambda: one.runtime.fatal_error() is not None)
    two.stop()
    time.sleep(3.0)  # nothing tells that the callback of the rebalance waits: nobody polls any more
    go.set()
    assert one.join(60) == 1
    assert committed_offsets(kafka_broker.bootstrap, topic, topic) == {first: 10, second: 1}
