"""What is told of a partition: where it begins, how far it is behind, since when. Unknown is never 0."""

import json

import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm_consumer import App, Consumer
from swarm_consumer._connection.client_statistics import NOTHING, ClientStatistics, KnownPartition
from swarm_consumer._connection.partition_figures import partition_figures
from swarm_consumer._scheduling.counters import DURATION_BOUNDS_S, Counters
from swarm_consumer._scheduling.ledger import Ledger
from swarm_consumer._scheduling.partitions import Partitions

KEY = ("flights", 3)


class Handler(Consumer):
    def consume(self, messages):
        """Never called here."""


def document(**partition):
    return json.dumps({"topics": {KEY[0]: {"partitions": {str(KEY[1]): partition}}}})


def told(**partition):
    statistics = ClientStatistics()
    statistics.update(document(**partition), 1.0)
    return statistics


@pytest.fixture
def partitions():
    app = App("lag", {"bootstrap.servers": "nowhere:1"})
    app.topic(KEY[0], max_messages=3)(Handler)
    partitions = Partitions(Ledger())
    partitions.assign(KEY, app.routes[0], 0.0)
    return partitions


def figures(partitions, known=NOTHING, committed=None, end=None):
    return partition_figures(partitions.by_key[KEY], partitions.ledger.position(KEY), known, committed, end)


def handle(partitions, failed=False):
    run = partitions.take(partitions.by_key[KEY].lanes[0], 0.0)
    partitions.finish(run, failed, 0.1)


def oldest(lane, marked):
    return lane.oldest_unhandled(marked).offset()


class TestPosition:
    def test_it_begins_at_what_is_committed(self, partitions):
        assert figures(partitions, KnownPartition(committed=7, end=12), 7).position == 7

    def test_it_begins_at_the_first_record_that_comes_where_nothing_is_committed(self, partitions, make_records):
        partitions.receive(partitions.by_key[KEY], make_records(40, 5))
        handle(partitions, failed=True)
        assert figures(partitions, KnownPartition(end=50)).position == 40, (
            "of a handler that fails from its first record"
        )
        assert figures(partitions, KnownPartition(end=50)).lag == 10

    def test_it_begins_where_the_policy_says_before_anything_comes(self, partitions):
        assert figures(partitions, KnownPartition(end=9, fetched=9)).position == 9
        assert figures(partitions, KnownPartition(end=9, fetched=9, waiting=4)).position is None, "it is further back"

    def test_then_it_is_what_was_handled(self, partitions, make_records):
        partitions.receive(partitions.by_key[KEY], make_records(40, 5))
        handle(partitions)
        assert (
            figures(partitions, KnownPartition(end=50)).position,
            figures(partitions, KnownPartition(end=50)).lag,
        ) == (43, 7)

    def test_a_seek_begins_anew(self, partitions, make_records):
        partition = partitions.by_key[KEY]
        partitions.receive(partition, make_records(40, 2))
        partitions.sought(partition, 10)
        assert figures(partitions, KnownPartition(end=50)).lag == 40
        partitions.receive(partition, make_records(10, 2))
        assert figures(partitions, KnownPartition(end=50)).position == 10


class TestLag:
    def test_what_nobody_knows_is_not_zero(self, partitions, make_records):
        assert figures(partitions).lag is None
        assert figures(partitions, NOTHING, committed=5).lag is None, "the end is not known"
        assert figures(partitions, KnownPartition(end=5)).lag is None, "the position is not known"
        partitions.receive(partitions.by_key[KEY], make_records(0, 3))
        assert figures(partitions).lag == 3, "at least what is here"
        handle(partitions)
        assert figures(partitions).lag is None, "whether more has come, nobody knows"

    def test_what_has_come_since_the_statistics_counts(self, partitions, make_records):
        partitions.receive(partitions.by_key[KEY], make_records(0, 6))
        assert figures(partitions, KnownPartition(end=2)).lag == 6

    @pytest.mark.parametrize("last", [5, 9])
    def test_offsets_without_records_at_the_end_are_no_lag(self, partitions, make_records, last):
        """The marker of a transaction, an aborted one, a record that compaction took: nothing of it ever comes."""
        partitions.receive(partitions.by_key[KEY], make_records(0, 3))
        at_the_end = KnownPartition(end=last, fetched=last)
        assert figures(partitions, at_the_end).lag == last, "not before the records are handled"
        handle(partitions)
        assert figures(partitions, at_the_end).lag == 0
        assert figures(partitions, KnownPartition(end=last, fetched=3)).lag == last - 3, "nor before it was fetched"
        assert figures(partitions, KnownPartition(end=last, fetched=last, waiting=1)).lag == last - 3

    def test_what_a_batch_in_work_holds_is_lag(self, partitions, make_records):
        partitions.receive(partitions.by_key[KEY], make_records(0, 3))
        partitions.take(partitions.by_key[KEY].lanes[0], 0.0)
        assert figures(partitions, KnownPartition(end=4, fetched=4)).lag == 4

    def test_what_retention_has_deleted_is_no_lag(self, partitions):
        assert figures(partitions, KnownPartition(committed=2, start=10, end=12), 2).lag == 2

    def test_an_end_that_was_asked_for_counts(self, partitions):
        assert figures(partitions, KnownPartition(committed=2, end=5, fetched=5), 2, end=20).lag == 18

    @settings(max_examples=300, deadline=None)
    @given(
        committed=st.none() | st.integers(0, 50),
        end=st.none() | st.integers(0, 60),
        fetched=st.none() | st.integers(0, 60),
        waiting=st.integers(0, 1),
        first=st.integers(0, 40),
        held=st.integers(0, 12),
        handled=st.integers(0, 4),
    )
    def test_zero_is_told_only_when_all_that_is_known_of_is_handled(
        self, committed, end, fetched, waiting, first, held, handled
    ):
        app = App("lag", {"bootstrap.servers": "nowhere:1"})
        app.topic(KEY[0], max_messages=3)(Handler)
        partitions = Partitions(Ledger())
        partition = partitions.assign(KEY, app.routes[0], 0.0)
        if held:
            partitions.receive(
                partition, [Message(topic=KEY[0], partition=3, offset=first + one) for one in range(held)]
            )
        for _ in range(min(handled, -(-held // 3))):
            handle(partitions)
        known = KnownPartition(committed=committed, end=end, fetched=fetched, waiting=waiting)
        now = figures(partitions, known, committed)
        assert now.lag is None or now.lag >= 0
        if now.lag == 0:
            assert end is not None
            assert partition.drained
            position = now.position if now.position is not None else 0
            assert position >= end or (fetched is not None and fetched >= end and not waiting)
        if held and not handled:
            assert now.lag


class TestOldest:
    def test_it_is_the_first_record_that_is_not_handled(self, partitions, make_records):
        lane = partitions.by_key[KEY].lanes[0]
        assert figures(partitions).oldest_at is None
        partitions.receive(lane.partition, make_records(0, 6))
        run = partitions.take(lane, 0.0)
        assert oldest(lane, None) == 0
        partitions.ledger.mark(KEY, run.epoch, 2)
        assert oldest(lane, partitions.ledger.position(KEY)) == 2
        partitions.finish(run, True, 0.1)
        assert oldest(lane, partitions.ledger.position(KEY)) == 2, "it waits for its next attempt"
        partitions.ledger.mark(KEY, run.epoch, 3)
        assert oldest(lane, partitions.ledger.position(KEY)) == 3


class TestClientStatistics:
    def test_behind_the_last_stable_offset_nothing_can_be_read(self):
        assert told(hi_offset=40, ls_offset=15).known(KEY).end == 15
        assert told(hi_offset=40, ls_offset=-1).known(KEY).end == 40

    def test_names_of_offsets_are_no_offsets(self):
        assert told(committed_offset=-1001, hi_offset=-1001, lo_offset=-2, next_offset=-1).known(KEY) == NOTHING

    def test_what_the_broker_has_taken_wins_over_what_the_client_found(self):
        statistics = told(committed_offset=5)
        assert statistics.committed_offset(KEY) == 5
        statistics.committed([(*KEY, 8)])
        assert statistics.committed_offset(KEY) == 8
        statistics.assigned([KEY])
        assert statistics.committed_offset(KEY) is None, "of an earlier assignment"

    @given(st.lists(st.integers(0, 1000), max_size=30))
    def test_bytes_only_grow_also_when_the_client_is_made_anew(self, readings):
        statistics, before = ClientStatistics(), 0
        for reading in readings:
            statistics.update(document(rxbytes=reading), 1.0)
            assert statistics.received_bytes(KEY) >= max(before, reading)
            before = statistics.received_bytes(KEY)
        statistics.update(json.dumps({"topics": {}}), 2.0)
        assert statistics.received_bytes(KEY) == before, "nor do they fall when the partition leaves"


class TestCounters:
    @given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.booleans(), st.floats(0, 1000)), max_size=30))
    def test_topics_are_the_sum_of_what_their_partitions_did(self, runs):
        counters = Counters()
        for partition in range(3):
            counters.assigned(("flights", partition))

        class Run:
            def __init__(self, partition):
                self.lane = type("Lane", (), {"key": ("flights", partition)})
                self.attempt = 1
                self.records = [None] * 4

        for partition, failed, diverted, duration in runs:
            counters.count(Run(partition), failed or diverted, diverted, duration)
        topic = counters.topics()["flights"]
        parts = [counters.of(("flights", partition)) for partition in range(3)]
        assert topic.messages == sum(part["messages"] for part in parts) == counters.totals()["messages"]
        assert topic.errors == sum(part["errors"] for part in parts)
        assert sum(topic.durations) == len(runs)
        assert len(topic.durations) == len(DURATION_BOUNDS_S) + 1

    def test_a_partition_that_came_begins_at_zero(self):
        counters = Counters()
        counters.assigned(KEY)
        assert counters.topics()[KEY[0]].messages == 0
        assert counters.of(KEY) == {"messages": 0, "batches": 0, "errors": 0}
