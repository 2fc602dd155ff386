"""Transactions inside consumers: what goes together, what is undone together, and when."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from swarm_consumer import App, ConfigurationError, Consumer, ConsumptionError, DeadLetters, DeliveryError
from swarm_consumer._connection import transaction_offsets
from swarm_consumer._producing.transactions import Transactions
from swarm_consumer._producing.turns import Turns
from swarm_consumer._running.run_transactions import RunTransactions
from swarm_consumer._scheduling.ledger import Ledger
from swarm_consumer.events import Assigned, BatchFailed, Committed, ErrorOccurred, StatisticsEmitted
from swarm_consumer.testing import Record, await_committed, committed_offsets, produce, read_all, run_messages

KEY = ("messages", 0)
TX = {"transactional.id": "tests"}
TEN = [b"%d" % number for number in range(10)]


def values(outcome, topic="out"):
    return [record.value for record in outcome.produced.get(topic, ())]


def test_output_and_progress_of_a_batch_go_together():
    class Handler(Consumer):
        def consume(self, messages):
            with self.transaction():
                for message in messages:
                    self.produce("out", message.raw_payload)

    outcome = run_messages(Handler, TEN, producer=TX)
    assert values(outcome) == TEN
    assert outcome.committed == {KEY: 10}


def test_a_transaction_for_each_message_without_marks_loses_nothing():
    done, tries = [], []

    class Handler(Consumer):
        def consume(self, messages):
            for message in messages:
                with self.transaction():
                    tries.append(message.offset)
                    if message.offset == 3 and tries.count(3) < 2:
                        raise RuntimeError("the database is away")
                    self.produce("out", message.raw_payload)
                done.append(message.offset)

    outcome = run_messages(Handler, TEN, attempts=3, producer=TX)
    assert values(outcome) == TEN, "each once: what was before the error was undone with it"
    assert outcome.committed == {KEY: 10}
    assert set(done) == set(range(10))


def test_a_marked_block_stands_alone():
    tries = []

    class Handler(Consumer):
        def consume(self, messages):
            for message in messages:
                with self.transaction():
                    tries.append(message.offset)
                    self.produce("out", message.raw_payload)
                    if message.offset == 3 and tries.count(3) < 2:
                        raise RuntimeError("once")
                    self.mark_as_consumed(message)

    outcome = run_messages(Handler, TEN, attempts=3, producer=TX)
    assert values(outcome) == TEN
    assert tries == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9]


def test_an_error_behind_the_blocks_undoes_them():
    attempts = []

    class Handler(Consumer):
        def consume(self, messages):
            with self.transaction():
                self.produce("out", b"%d" % self.attempt)
            attempts.append(self.attempt)
            if self.attempt == 1:
                raise RuntimeError("after the block")

    outcome = run_messages(Handler, TEN, attempts=3, producer=TX)
    assert values(outcome) == [b"2"]
    assert attempts == [1, 2]


def test_a_block_whose_error_is_swallowed_fails_the_batch_when_others_were_undone_with_it():
    class Handler(Consumer):
        def consume(self, messages):
            with self.transaction():
                self.produce("out", b"first")
            try:
                with self.transaction():
                    raise ValueError("second")
            except ValueError:
                pass

    with pytest.raises(ConsumptionError, match="undid the earlier blocks"):
        run_messages(Handler, TEN, producer=TX)


def test_a_lone_block_whose_error_was_dealt_with_is_dealt_with():
    class Handler(Consumer):
        def consume(self, messages):
            try:
                with self.transaction():
                    self.produce("out", b"lost")
                    raise ValueError("poison")
            except ValueError:
                with self.transaction():
                    self.produce("dead", b"letter")

    outcome = run_messages(Handler, TEN, producer=TX)
    assert (values(outcome), values(outcome, "dead"), outcome.committed) == ([], [b"letter"], {KEY: 10})


def test_a_handler_that_leaves_early_commits_only_what_it_has_marked():
    class Handler(Consumer):
        def consume(self, messages):
            with self.transaction():
                self.produce("out", messages[0].raw_payload)
                self.mark_as_consumed(messages[0])
            self._context._lane.running.marks_only = True  # as is_stopping does while the node stops
            with self.transaction():
                self.produce("out", b"of messages that the next owner handles")

    outcome = run_messages(Handler, TEN, producer=TX)
    assert (values(outcome), outcome.committed) == ([b"0"], {KEY: 1})


def test_a_mark_behind_an_unmarked_block_is_its_mark():
    class Handler(Consumer):
        def consume(self, messages):
            with self.transaction():
                self.produce("out", b"x")
            self.mark_as_consumed(messages[4], metadata="four")
            raise RuntimeError("undone all the same")

    with pytest.raises(RuntimeError):
        run_messages(Handler, TEN, producer=TX)


@pytest.mark.parametrize("marks", [True, False])
def test_output_of_a_partition_that_is_gone_is_undone_with_or_without_a_mark(marks):
    class Handler(Consumer):
        def consume(self, messages):
            with self.transaction():
                self.produce("out", b"the next owner makes it again")
                connection = self._context._connection
                with connection._lock:
                    connection.partitions.ledger.release(KEY)
                if marks:
                    assert self.mark_as_consumed(messages[-1]) is False

    with pytest.raises(ConsumptionError, match="was taken away"):
        run_messages(Handler, TEN, manual_marking=True, producer=TX)


def test_an_explicit_commit_counts_as_a_plain_mark_until_it_has_arrived():
    ledger = Ledger()
    ledger.assign(KEY)
    epoch = ledger.restart(KEY, 5)
    ledger.committing(KEY)
    assert ledger.has_plain_marks(KEY)
    ledger.deliver(KEY, epoch, 5, 10)
    ledger.committed(KEY, epoch, 10)
    assert ledger.has_plain_marks(KEY), "a transaction whose outcome came late says nothing of what was sent meanwhile"
    ledger.plain_marks_arrived(KEY)
    assert not ledger.has_plain_marks(KEY)


def test_an_attempt_produces_nothing_once_the_one_before_turns_out_to_be_committed():
    runs = []

    class Handler(Consumer):
        def consume(self, messages):
            runs.append(self._context._lane.running)
            if len(runs) == 1:
                raise RuntimeError("its commit was not answered")
            transaction_offsets.committed(self._context._connection, runs[0], (10, None, None))  # now it is
            with pytest.raises(ConsumptionError, match="committed after all"), self.transaction():
                self.produce("out", b"a second time")

    outcome = run_messages(Handler, TEN, attempts=3, producer=TX)
    assert values(outcome) == []
    assert len(runs) == 2


def test_transactions_do_not_nest_and_are_left():
    class Nested(Consumer):
        def consume(self, messages):
            with self.transaction(), self.transaction():
                pytest.fail("not reached")

    with pytest.raises(ConsumptionError, match="do not nest"):
        run_messages(Nested, TEN, producer=TX)

    class Left(Consumer):
        def consume(self, messages):
            self.transaction().__enter__()

    with pytest.raises(ConsumptionError, match="leave the block"):
        run_messages(Left, TEN, producer=TX)


def test_without_an_id_and_outside_of_a_run_there_is_no_transaction():
    class Handler(Consumer):
        def consume(self, messages):
            with self.transaction():
                pytest.fail("not reached")

    with pytest.raises(ConfigurationError, match="transactions need an id"):
        run_messages(Handler, TEN)

    class Threaded(Consumer):
        def consume(self, messages):
            errors = []

            def work():
                try:
                    with self.transaction():
                        pytest.fail("not reached")
                except ConsumptionError as error:
                    errors.append(error)

            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            raise errors[0]

    with pytest.raises(ConsumptionError, match="in their own thread or task"):
        run_messages(Threaded, TEN, producer=TX)


@pytest.mark.parametrize("hook", ["shutdown", "eofed", "initialized"])
def test_hooks_may_have_transactions(hook):
    class Bulk(Consumer):
        def consume(self, messages):
            self.last = messages[-1]

    def flush(self):
        with self.transaction():
            self.produce("out", hook.encode())
            if hook != "initialized":
                self.mark_as_consumed(self.last)

    setattr(Bulk, hook, flush)
    outcome = run_messages(Bulk, TEN, manual_marking=True, producer=TX)
    assert not [event for event in outcome.events if isinstance(event, ErrorOccurred)]
    assert values(outcome) == [hook.encode()]
    assert outcome.committed == ({} if hook == "initialized" else {KEY: 10})


def test_a_letter_and_its_offset_go_together():
    class Handler(Consumer):
        def consume(self, messages):
            if any(message.raw_payload == b"1" for message in messages):
                raise ValueError("poison")

    outcome = run_messages(Handler, TEN[:3], producer=TX, dead_letters=DeadLetters(topic="dead", max_retries=0))
    assert values(outcome, "dead") == [b"1"]
    assert outcome.committed == {KEY: 3}
    by_transaction = [event.offsets for event in outcome.events if isinstance(event, Committed)]
    assert ((*KEY, 2),) in by_transaction


def test_what_a_transaction_has_committed_is_not_stored_once_more():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 10)
    ledger.committed(KEY, epoch, 5, "m")
    assert (ledger.position(KEY), ledger.take_committable(), ledger.has_plain_marks(KEY)) == (5, [], False)
    ledger.mark(KEY, epoch, 7)
    assert ledger.has_plain_marks(KEY)
    ledger.committed(KEY, epoch, 9)
    assert (ledger.take_committable(), ledger.release(KEY)) == ([], None)
    ledger.committed(KEY, epoch, 3)
    assert ledger.position(KEY) is None


def test_plain_progress_is_committed_before_a_transaction_overtakes_it():
    class Handler(Consumer):
        def consume(self, messages):
            if messages.first_offset == 4:
                with self.transaction():
                    self.produce("out", b"x")

    outcome = run_messages(Handler, TEN, max_messages=2, producer=TX)
    assert outcome.committed == {KEY: 10}
    assert values(outcome) == [b"x"]


def test_async_handlers_have_transactions_of_their_own_side_by_side():
    app = App("async", {"bootstrap.servers": "in-memory"}, producer=TX, concurrency=4)
    inside = []

    @app.topic("messages", max_messages=1)
    class Handler(Consumer):
        async def consume(self, messages):
            async with self.transaction():
                inside.append(self.partition)
                assert len(inside) == 1
                for message in messages:
                    self.produce("out", message.raw_payload + b" first half")
                    await asyncio.sleep(0.002)
                    self.produce("out", message.raw_payload + b" second half")
                inside.remove(self.partition)

    records = [Record(b"%d" % number, partition=number % 4) for number in range(40)]
    outcome = run_messages(app, {"messages": records}, timeout_s=60)
    assert outcome.committed == {("messages", partition): 10 for partition in range(4)}
    assert sorted(values(outcome)) == sorted(
        b"%d %s half" % (number, half) for number in range(40) for half in (b"first", b"second")
    )


def test_a_plain_with_in_an_async_handler_is_refused_with_what_to_write():
    class Handler(Consumer):
        async def consume(self, messages):
            with self.transaction():
                pytest.fail("not reached")

    with pytest.raises(ConsumptionError, match=r"write `async with self\.transaction"):
        run_messages(Handler, TEN, producer=TX)


def test_turns_come_in_order_and_one_at_a_time():
    turns = Turns()
    assert turns.take(0)
    assert not turns.take(0.01)
    order, threads = [], []

    def wait(number):
        assert turns.take(30)
        order.append(number)
        turns.give()

    for number in range(4):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        while sum(not each.cancelled() for each in turns._waiting) <= number:
            time.sleep(0.001)
    turns.give()
    for thread in threads:
        thread.join(30)
    assert order == [0, 1, 2, 3]
    assert turns.take(0)

    async def waits():
        assert not await turns.take_async(0.01)
        asyncio.get_running_loop().call_later(0.01, turns.give)
        return await turns.take_async(30)

    assert asyncio.run(waits())
    turns.give()
    assert turns.take(0)


class _Committing:
    """A client whose commit answers with these errors, each after some seconds, and then succeeds."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.timeouts = []
        self.aborted = 0

    def begin_transaction(self):
        pass

    def commit_transaction(self, timeout):
        self.timeouts.append(timeout)
        if self.answers:
            share, error = self.answers.pop(0)
            time.sleep(max(0.0, timeout * share))
            raise KafkaException(error)

    def abort_transaction(self, timeout):
        self.aborted += 1


def _transactions(client):
    return Transactions(lambda: client, lambda timeout: None, lambda error: None)


def test_a_commit_is_not_repeated_in_the_last_moment_of_its_time():
    late = KafkaError(KafkaError._TIMED_OUT, "late", False, True)
    client = _Committing((0.99, late))
    transactions = _transactions(client)
    with pytest.raises(DeliveryError, match="was not answered"):
        transactions.commit(transactions.begin(1.0), 0.5)
    assert len(client.timeouts) == 1
    assert client.aborted == 0


def test_an_error_of_state_while_a_commit_is_under_way_is_no_answer():
    state = KafkaError(KafkaError._STATE, "Operation not valid in state CommittingTransaction", False, False)
    client = _Committing((0.99, state))
    transactions = _transactions(client)
    scope = transactions.begin(1.0)
    done = []
    scope.on_committed.append(lambda: done.append(True))
    with pytest.raises(DeliveryError, match="was not answered"):
        transactions.commit(scope, 0.1)
    assert client.aborted == 0
    transactions.commit(transactions.begin(1.0), 0.5)
    assert done == [True]


# -- with a broker -----------------------------------------------------------------------------------------------


def test_a_commit_that_is_answered_late_is_found_out_and_nothing_is_done_twice(
    embedded_broker, make_app, start, topic_name
):
    topic, out = topic_name("flights"), topic_name("out")
    embedded_broker.create_topic(topic, 1)
    embedded_broker.create_topic(out, 1)
    app = make_app(
        group=topic, producer={"transactional.id": topic}, retry_backoff=0.2, retry_backoff_max=0.2, max_messages=1
    )
    attempts = []

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            attempts.append(messages.first_offset)
            with self.transaction(timeout=1.5):
                self.produce(out, messages[0].raw_payload)
                self.mark_as_consumed(messages[0])

    running = start(app)
    produce(embedded_broker.bootstrap, topic, [b"1"])
    running.wait_for_event(Committed)  # the embedded broker itself keeps no offset of a transaction
    embedded_broker.inject_errors("EndTxn", [None], broker=1, delay_s=5)
    produce(embedded_broker.bootstrap, topic, [b"2", b"3"])
    doubt = running.wait_for_event(BatchFailed)
    assert "was not answered within 1.5 s" in str(doubt.error)
    running.wait_for_event(Committed, lambda event: event.offsets == ((topic, 0, 3),))
    failures = [str(event.error) for event in running.of(BatchFailed)]
    assert "was committed after all" in failures[-1]
    assert not [failure for failure in failures if "aborted" in failure]
    assert [record.value for record in read_all(embedded_broker.bootstrap, out)] == [b"1", b"2", b"3"]
    assert attempts[0] == 0
    assert attempts[-1] == 2
    assert running.stop() == 0


def test_transactional_progress_is_never_stored_for_the_automatic_commit(embedded_broker, make_app, start, topic_name):
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 1)
    app = make_app(group=topic, kafka={"statistics.interval.ms": 100}, producer={"transactional.id": topic})
    stored = []

    @app.on(StatisticsEmitted)
    def look(event):
        for partition in event.statistics["topics"].get(topic, {}).get("partitions", {}).values():
            stored.append(partition["stored_offset"])

    @app.topic(topic)
    class Handler(Consumer):
        def consume(self, messages):
            with self.transaction():
                pass

    running = start(app)
    produce(embedded_broker.bootstrap, topic, [b"%d" % number for number in range(20)])
    running.wait_for_event(Committed, lambda event: event.offsets == ((topic, 0, 20),))
    seen = len(stored)
    running.wait_for(lambda: len(stored) > seen + 5, what="later statistics")
    assert {offset for offset in stored if offset >= 0} == set()
    assert running.stop() == 0


def test_a_producer_that_is_fenced_ends_its_node(kafka_broker, topic_name, start):
    topic, out = topic_name("flights"), topic_name("out")
    kafka_broker.create_topic(topic, 1)
    kafka_broker.create_topic(out, 1)
    app = App("test", kafka_broker.client_settings(), producer={"transactional.id": topic}, group=topic)

    @app.topic(topic, retry_backoff=0.1)
    class Handler(Consumer):
        def consume(self, messages):
            with self.transaction(timeout=20):
                self.produce(out, messages[-1].raw_payload)

    running = start(app)
    produce(kafka_broker.bootstrap, topic, [b"1"])
    await_committed(kafka_broker.bootstrap, topic, topic, {0: 1})
    other = Producer({"bootstrap.servers": kafka_broker.bootstrap, "transactional.id": topic})
    other.init_transactions(30)
    del other
    produce(kafka_broker.bootstrap, topic, [b"2"])
    assert running.join(60) == 1
    assert running.runtime.fatal_error()
    assert committed_offsets(kafka_broker.bootstrap, topic, topic) == {0: 1}


def test_async_transactions_of_many_partitions_are_whole_for_whoever_reads_committed(kafka_broker, topic_name, start):
    topic, out = topic_name("flights"), topic_name("out")
    kafka_broker.create_topic(topic, 4)
    kafka_broker.create_topic(out, 1)
    produce(kafka_broker.bootstrap, topic, [Record(b"%d" % number, partition=number % 4) for number in range(40)])
    settings = kafka_broker.client_settings()
    app = App("test", settings, producer={"transactional.id": topic}, group=topic, concurrency=4)

    @app.topic(topic, max_messages=3)
    class Handler(Consumer):
        async def consume(self, messages):
            for message in messages:
                async with self.transaction():
                    self.produce(out, message.raw_payload + b"a")
                    await asyncio.sleep(0.005)
                    self.produce(out, message.raw_payload + b"b")
                    if message.offset == 5 and self.attempt == 1:
                        raise RuntimeError("once")

    running = start(app)
    await_committed(kafka_broker.bootstrap, topic, topic, dict.fromkeys(range(4), 10), timeout_s=90)
    assert running.stop() == 0
    assert running.code == 0
    there = [record.value for record in read_all(kafka_broker.bootstrap, out)]
    assert sorted(there) == sorted(b"%d%s" % (number, half) for number in range(40) for half in (b"a", b"b"))


def test_a_block_whose_task_is_cancelled_at_its_end_is_ended_once(monkeypatch):
    given, real = [], transaction_offsets.group_metadata
    cancelled = threading.Event()

    def after_the_cancellation(*arguments, **options):
        assert cancelled.wait(30), "the commit is under way until the handler's patience is over"
        return real(*arguments, **options)

    def give(turns):
        given.append(threading.current_thread().name)
        return real_give(turns)

    real_give = Turns.give
    monkeypatch.setattr(Turns, "give", give)
    monkeypatch.setattr(transaction_offsets, "group_metadata", after_the_cancellation)

    class Handler(Consumer):
        async def consume(self, messages):
            task = asyncio.current_task()
            asyncio.get_running_loop().call_later(0.05, lambda: (task.cancel(), cancelled.set()))
            try:
                async with self.transaction():
                    self.produce("out", "one")
                    self.mark_as_consumed(messages[-1])
            except asyncio.CancelledError:
                task.uncancel()

    outcome = run_messages(Handler, TEN, producer=TX, timeout_s=60)
    assert values(outcome) == [b"one"]
    assert outcome.committed == {KEY: 10}
    assert len(given) == 1, given


def test_a_mark_of_an_earlier_message_takes_no_transaction_back():
    class Handler(Consumer):
        def consume(self, messages):
            for number in (9, 4):
                with self.transaction():
                    self.produce("out", str(number))
                    self.mark_as_consumed(messages[number])

    outcome = run_messages(Handler, TEN, producer=TX, manual_marking=True)
    assert values(outcome) == [b"9", b"4"]
    assert outcome.committed == {KEY: 10}


def test_blocks_of_one_batch_side_by_side_are_refused_at_once():
    class Handler(Consumer):
        async def consume(self, messages):
            async def one(message):
                async with self.transaction():
                    self.produce("out", message.raw_payload)

            await asyncio.gather(*map(one, messages))

    with pytest.raises(ConsumptionError, match="do not run side by side"):
        run_messages(Handler, TEN, producer=TX)


def test_a_transaction_that_begins_after_its_batch_has_ended_is_given_back(monkeypatch):
    asked, ended = threading.Event(), threading.Event()
    real = Transactions._begin

    def late(transactions, timeout):
        if not asked.is_set():
            asked.set()
            assert ended.wait(30)
        return real(transactions, timeout)

    monkeypatch.setattr(Transactions, "_begin", late)
    blocks = []

    async def block(consumer):
        async with consumer.transaction():
            await asyncio.sleep(0)

    class Handler(Consumer):
        async def consume(self, messages):
            if not blocks:
                blocks.append(asyncio.create_task(block(self)))
                while not asked.is_set():
                    await asyncio.sleep(0.01)
                asyncio.get_running_loop().call_later(0.2, ended.set)
                raise RuntimeError("the first attempt")
            await asyncio.wait(blocks)
            async with self.transaction(timeout=5):
                self.produce("out", "second")

    outcome = run_messages(Handler, TEN, producer=TX, attempts=2, timeout_s=60)
    assert isinstance(blocks[0].exception(), ConsumptionError)
    assert values(outcome) == [b"second"]


def test_nothing_is_stored_while_nobody_knows_whether_a_transaction_is_committed():
    ledger = Ledger()
    epoch = ledger.assign(KEY)
    ledger.deliver(KEY, epoch, 0, 10)
    ledger.doubt(KEY, epoch, doubtful=True)
    ledger.mark(KEY, epoch, 2)
    assert ledger.take_committable() == []
    assert ledger.present(KEY) is None
    ledger.committed(KEY, epoch, 6)
    ledger.doubt(KEY, epoch, doubtful=False)
    assert ledger.take_committable() == [], "the transaction has committed more"
    ledger.doubt(KEY, epoch, doubtful=True)
    ledger.mark(KEY, epoch, 8)
    ledger.doubt(KEY, epoch, doubtful=False)
    assert [one.offset for one in ledger.take_committable()] == [8]
    ledger.doubt(KEY, epoch, doubtful=True)
    ledger.mark(KEY, epoch, 9)
    assert ledger.release(KEY) is None, "the next owner begins at what the broker has"


def test_a_seek_in_a_batch_with_a_transaction_passes_nothing_behind_it(monkeypatch):
    """The whole batch was committed with the output: a node that ended before its seek lost what lay behind it."""
    committed, real = [], Transactions.commit

    def commit(self, scope, timeout):
        committed.append([place.offset for places, _ in scope.offsets for place in places])
        return real(self, scope, timeout)

    monkeypatch.setattr(Transactions, "commit", commit)
    targets = [3, 0]  # within the batch, and before it: that says nothing about what is done

    class Handler(Consumer):
        def consume(self, messages):
            with self.transaction():
                self.produce("out", b"x")
            if targets:
                self.seek(targets.pop(0))

    outcome = run_messages(Handler, [b"%d" % number for number in range(10)], producer=TX)
    assert committed == [[3], [], [10]]
    assert outcome.committed == {("messages", 0): 10}


@pytest.mark.parametrize("plain", ["a batch", "a seek", "latest", "nothing"])
def test_a_stop_takes_the_group_back_behind_no_transaction(kafka_broker, topic_name, start, plain):
    """librdkafka committed what was once stored as the partition left: 9 of 9 outputs were there twice afterwards."""
    topic, out = topic_name("flights"), topic_name("out")
    kafka_broker.create_topic(topic, 1)
    kafka_broker.create_topic(out, 1)

    def consuming(number):
        properties = {**kafka_broker.client_settings(), "auto.commit.interval.ms": 20, "log_level": 0}
        app = App("test", properties, producer={"transactional.id": f"{topic}-{number}"}, group=topic)
        done = []

        @app.topic(topic, max_messages=1, initial_offset="latest" if plain == "latest" else "earliest")
        class Handler(Consumer):
            def consume(self, messages):
                if number == 1 and not done and plain in ("a batch", "a seek"):
                    done.append("plain")
                    if plain == "a seek":
                        self.seek(0)
                    return
                with self.transaction():
                    self.produce(out, messages[0].raw_payload)
                done.append(messages[0].offset)

        return start(app), done

    first, done = consuming(1)
    first.wait_for_event(Assigned, lambda event: event.partitions)
    if plain == "latest":  # where it begins is committed
        first.wait_for_event(Committed)
    produce(kafka_broker.bootstrap, topic, TEN)
    first.wait_for(lambda: done and done[-1] == 9)
    await_committed(kafka_broker.bootstrap, topic, topic, {0: 10})  # there once the transaction's markers are
    assert first.stop() == 0
    assert committed_offsets(kafka_broker.bootstrap, topic, topic) == {0: 10}
    second, again = consuming(2)
    produce(kafka_broker.bootstrap, topic, [b"last"])
    second.wait_for(lambda: again)
    assert again == [10]
    assert second.stop() == 0
    there = [record.value for record in read_all(kafka_broker.bootstrap, out)]
    assert there == [*TEN[1 if plain == "a batch" else 0 :], b"last"]


def test_a_transaction_whose_commits_are_not_answered_in_time_is_undelivered():
    """It was a TimeoutError, which mark_as_consumed() and transaction() do not name."""
    ledger = SimpleNamespace(has_plain_marks=lambda key: False)

    def not_answered(*_, **__):
        raise TimeoutError("no answer to a commit within 1 s")

    requests = SimpleNamespace(ask=not_answered)
    partitions = SimpleNamespace(ledger=ledger)
    connection = SimpleNamespace(_lock=threading.Lock(), partitions=partitions, requests=requests, turns=None)
    run = SimpleNamespace(epoch=1, topic="messages", partition=0)
    with pytest.raises(DeliveryError, match="could not be committed"):
        RunTransactions(connection, SimpleNamespace(key=KEY), None)._metadata(run, 1.0, after_plain_marks=True)
