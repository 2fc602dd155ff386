"""The runtime against the embedded broker: handling, committing, errors, the end."""

from __future__ import annotations

import logging
import threading

import msgspec
import pytest

from swarm_consumer import App, ConfigurationError, Consumer, Runtime, Selection, check_cluster
from swarm_consumer.events import Assigned, BatchFailed, ClientError, StateChanged, StatisticsEmitted
from swarm_consumer.testing.outside_client import Record as Produced
from swarm_consumer.testing.outside_client import (
    await_committed,
    committed_offsets,
    produce,
)


class Flight(msgspec.Struct):
    number: int


def records(count, partitions=1):
    return [Produced({"number": number}, partition=number % partitions) for number in range(count)]


def test_every_record_is_handled_in_order_and_committed_on_stop(embedded_broker, make_app, start):
    embedded_broker.create_topic("flights", 4)
    produce(embedded_broker.bootstrap, "flights", records(1000, 4))
    app = make_app(concurrency=3, kafka={"auto.commit.interval.ms": 60000})
    seen: dict[int, list[int]] = {}

    @app.topic("flights", group="delays", payload=Flight)
    class Delays(Consumer):
        def consume(self, messages):
            assert {message.partition for message in messages} == {self.partition}
            seen.setdefault(self.partition, []).extend(message.payload.number for message in messages)

    running = start(app)
    running.wait_for(lambda: sum(map(len, seen.values())) >= 1000)
    assert running.stop() == 0
    assert seen == {partition: list(range(partition, 1000, 4)) for partition in range(4)}
    assert committed_offsets(embedded_broker.bootstrap, "delays", "flights") == dict.fromkeys(range(4), 250)
    assert [event.state for event in running.of(StateChanged)] == ["running", "stopping", "stopped"]


def test_a_failing_handler_is_retried_at_the_first_unmarked_offset(embedded_broker, make_app, start, caplog):
    embedded_broker.create_topic("flights", 2)
    produce(embedded_broker.bootstrap, "flights", records(20, 2))
    app = make_app(concurrency=2)
    attempts = []
    others = []

    @app.topic("flights", group="delays", payload=Flight, retry_backoff=0.05)
    class Delays(Consumer):
        def consume(self, messages):
            if self.partition == 1:
                others.extend(messages)
                return
            attempts.append((self.attempt, self.retrying, messages.first_offset, messages.last_offset))
            for message in messages:
                if message.offset == 4 and self.attempt < 4:
                    raise RuntimeError("the weather is missing")
                self.mark_as_consumed(message)

    with caplog.at_level(logging.ERROR, "swarm_consumer"):
        running = start(app)
        running.wait_for(lambda: len(attempts) == 4 and len(others) == 10)
        assert running.stop() == 0
    assert attempts == [(1, False, 0, 9), (2, True, 4, 9), (3, True, 4, 9), (4, True, 4, 9)]
    failures = running.of(BatchFailed)
    assert [(event.offset, event.offset_in_hand, event.attempt) for event in failures] == [
        (4, 4, 1),
        (4, 4, 2),
        (4, 4, 3),
    ]
    assert [event.retry_in_s for event in failures] == [0.05, 0.1, 0.2]
    assert "flights[0] offset 4: attempt 1 failed: RuntimeError: the weather is missing" in caplog.text
    assert committed_offsets(embedded_broker.bootstrap, "delays", "flights") == {0: 10, 1: 10}


def test_a_record_that_cannot_be_decoded_is_named_and_nothing_is_skipped(embedded_broker, make_app, start, caplog):
    embedded_broker.create_topic("flights", 2)
    good = [Produced({"number": number}, partition=0) for number in range(5)]
    bad = Produced(b'{"number": "seven"}', partition=0)
    other = [Produced({"number": number}, partition=1) for number in range(50)]
    produce(embedded_broker.bootstrap, "flights", [*good, bad, *good, *other])
    app = make_app(kafka={"auto.commit.interval.ms": 100}, concurrency=2)
    handled: dict[int, list[int]] = {0: [], 1: []}

    @app.topic("flights", group="delays", payload=Flight, retry_backoff=0.05, retry_backoff_max=0.1)
    class Delays(Consumer):
        def consume(self, messages):
            for message in messages:
                handled[self.partition].append(message.payload.number)
                self.mark_as_consumed(message)

    with caplog.at_level(logging.ERROR, "swarm_consumer"):
        running = start(app)
        running.wait_for(lambda: len(running.of(BatchFailed)) >= 3 and len(handled[1]) == 50)
        await_committed(embedded_broker.bootstrap, "delays", "flights", {0: 5, 1: 50})
    assert handled[0] == [0, 1, 2, 3, 4], "what is behind the bad record waits, what was marked is not repeated"
    line = "flights[0] offset 5: the payload cannot be decoded: Expected `int`, got `str` - at `$.number`"
    assert line in caplog.text
    assert committed_offsets(embedded_broker.bootstrap, "delays", "flights")[0] == 5


def test_nothing_is_stored_when_the_output_is_not_acknowledged(embedded_broker, make_app, start):
    embedded_broker.create_topic("flights", 1)
    embedded_broker.create_topic("enriched", 1)
    produce(embedded_broker.bootstrap, "flights", records(5))
    embedded_broker.inject_errors("Produce", ["TOPIC_AUTHORIZATION_FAILED"] * 3)
    app = make_app(producer={"retries": 0})
    starts = []

    @app.topic("flights", group="delays", retry_backoff=0.05)
    class Enrich(Consumer):
        def consume(self, messages):
            starts.append(self.attempt)
            self.produce("enriched", b"x")

    running = start(app)
    failure = running.wait_for_event(BatchFailed)
    assert "not delivered to enriched" in str(failure)
    running.wait_for(lambda: len(starts) >= 2)
    await_committed(embedded_broker.bootstrap, "delays", "flights", {0: 5})
    assert running.stop() == 0


def test_a_topic_that_does_not_exist_is_reported_once_and_taken_up_when_it_appears(embedded_broker, make_app, start):
    app = make_app("classic", kafka={"topic.metadata.refresh.interval.ms": 200})
    seen = []

    @app.consume("later", group="delays")
    def handle(messages):
        seen.extend(messages.raw_payloads())

    report = check_cluster(app, Selection(), 10.0)
    assert report.reachable
    assert report.topics == {"later": None}
    running = start(app)
    error = running.wait_for_event(ClientError)
    assert (error.fatal, error.code) == (False, "UNKNOWN_TOPIC_OR_PART")
    assert "later" in error.reason
    embedded_broker.create_topic("later", 1)
    produce(embedded_broker.bootstrap, "later", [b"at last"])
    running.wait_for(lambda: seen == [b"at last"])
    assert len([event for event in running.of(ClientError) if event.code == "UNKNOWN_TOPIC_OR_PART"]) == 1


def test_an_absent_broker_is_named_and_waited_for(embedded_broker, make_app, start):
    embedded_broker.create_topic("flights", 1)
    produce(embedded_broker.bootstrap, "flights", [b"one"])
    app = make_app()
    seen = []

    @app.consume("flights", group="delays")
    def handle(messages):
        seen.extend(messages.raw_payloads())

    embedded_broker.take_down()
    report = check_cluster(app, Selection(), 1.0)
    assert not report.reachable
    assert report.error
    assert "after" not in report.error
    running = start(app)
    error = running.wait_for_event(ClientError)
    assert embedded_broker.bootstrap in error.reason
    assert running.runtime.fatal_error() is None
    embedded_broker.bring_up()
    running.wait_for(lambda: seen == [b"one"])
    assert running.stop() == 0


def test_stopping_with_the_broker_away_ends_within_the_budget(embedded_broker, make_app, start):
    app = make_app()
    app.consume("flights", group="delays")(lambda messages: None)
    embedded_broker.take_down()
    running = start(app, drain_timeout=5.0)
    running.wait_for_event(ClientError)
    assert running.stop(timeout=8.0) in (0, 4)


def test_the_library_starts_nothing_before_run_and_runs_once(make_app):
    before = set(threading.enumerate())
    app = make_app()
    app.consume("flights", group="delays")(lambda messages: None)
    runtime = Runtime(app)
    assert set(threading.enumerate()) == before
    runtime.stop()
    assert runtime.run() == 0
    with pytest.raises(RuntimeError, match="runs only once"):
        runtime.run()


def test_observation_tells_ages_positions_and_what_is_at_work(embedded_broker, make_app, start):
    embedded_broker.create_topic("flights", 1)
    produce(embedded_broker.bootstrap, "flights", records(10))
    app = make_app(max_messages=5, kafka={"max.poll.interval.ms": 60000})
    entered, release = threading.Event(), threading.Event()
    batches = []

    @app.consume("flights", group="delays", long_running=True, consuming_ttl=77.0)
    def handle(messages):
        entered.set()
        assert release.wait(30)

    running = start(app)
    runtime = running.runtime
    runtime.after_batch(lambda: batches.append(1))
    assert entered.wait(20)
    (run,) = runtime.runs()
    assert (run.topic, run.partition, run.action) == ("flights", 0, "consume")
    assert (run.first_offset, run.last_offset, run.ttl_s, run.max_poll_interval_s) == (0, 4, 77.0, 60.0)
    (poll,) = runtime.polls()
    assert poll.subscription_group == "delays"
    assert poll.max_poll_interval_s == 60.0
    first = poll.last_poll
    running.wait_for(lambda: poll.last_poll > first, what="another poll while the handler is busy")
    release.set()
    running.wait_for(lambda: len(batches) == 2)
    statistics = runtime.statistics()
    assert (statistics["state"], statistics["messages"], statistics["batches"]) == ("running", 10, 2)
    (partition,) = statistics["partitions"]
    assert (partition["topic"], partition["partition"], partition["position"]) == ("flights", 0, 10)
    assert running.stop() == 0


def test_whoever_observes_is_told_of_every_state_at_its_beginning(embedded_broker, make_app, start):
    embedded_broker.create_topic("flights", 1)
    app = make_app()
    app.consume("flights", group="delays")(lambda messages: None)
    states = []

    def look():
        states.append(running.runtime.phase)
        raise SystemExit("an observer that fails hurts nobody")

    running = start(app)
    running.wait_for(lambda: running.runtime.phase == "running")
    running.runtime.after_state(look)
    running.runtime.quiet()
    running.wait_for(lambda: running.runtime.phase == "quiet")
    assert running.stop() == 0
    assert states == ["quieting", "quiet", "stopping", "stopped"]


def test_nothing_is_left_to_run_is_refused(make_app):
    with pytest.raises(ConfigurationError, match="the app has no active topic"):
        Runtime(make_app())


def test_app_run_without_signals_installs_no_handler(embedded_broker):
    import signal

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    app = App("test", {"bootstrap.servers": embedded_broker.bootstrap, "log_level": 0})
    app.consume("flights", group="delays")(lambda messages: None)
    during = []

    @app.on(StateChanged)
    def look(event):
        during.append((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))

    runtime = Runtime(app)
    runtime.stop()
    assert runtime.run() == 0
    assert set(during) == {before}


def test_statistics_that_nobody_can_read_do_not_end_the_node(embedded_broker, make_app, start):
    embedded_broker.create_topic("flights", 1)
    app = make_app(kafka={"statistics.interval.ms": 0})
    app.consume("flights", group="g")(lambda messages: None)
    told = []
    app.on(StatisticsEmitted)(told.append)
    running = start(app)
    running.wait_for_event(Assigned)
    (connection,) = running.runtime._connections
    for text in ("", "[" * 5000, '{"topics": \ud800', '{"name": 1}'):
        connection._owner._take_statistics(text)
    assert [event.statistics for event in told] == [{"name": 1}]
    assert running.stop() == 0


def test_what_the_producer_tells_has_no_secret(embedded_broker, make_app, start):
    """librdkafka repeats what it does not understand of this property."""
    app = make_app(
        kafka={
            "security.protocol": "sasl_plaintext", "sasl.mechanisms": "OAUTHBEARER",
            "enable.sasl.oauthbearer.unsecure.jwt": True, "sasl.oauthbearer.config": "principal=me hidden=hunter2",
        }
    )  # fmt: skip
    app.consume("flights", group="g")(lambda messages: None)
    running = start(app)

    def told():
        running.runtime.producer.client.poll(0.05)  # errors are told when it is served
        return next((event for event in running.of(ClientError) if event.subscription_group == "producer"), None)

    error = running.wait_for(told, what="an error of the producer")
    assert "Unrecognized" in error.reason
    assert all("hunter2" not in str(event) for event in running.events)
    running.stop()


def test_nothing_is_produced_into_the_transaction_of_somebody_else(embedded_broker, make_app, start):
    """A node has one producer: outside of a transaction of its own, a message would share the fate of another's."""
    embedded_broker.create_topic("flights", 1)
    produce(embedded_broker.bootstrap, "flights", [b"one"])
    app = make_app(producer={"transactional.id": "swarm"}, retry_backoff=5.0)

    @app.topic("flights", group="g")
    class Forwards(Consumer):
        def consume(self, messages):
            self.produce("elsewhere", b"lost, if the other one aborts")

    running = start(app)
    failed = running.wait_for_event(BatchFailed)
    assert "produce inside `with self.transaction():`" in str(failed.error)
    assert not running.runtime.producer.used
    assert running.stop() == 0
