"""What the runtime tells of lag and position on brokers: where a group begins, and that lag ends at 0."""

from __future__ import annotations

import time

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

FAST = {"statistics.interval.ms": 200, "auto.commit.interval.ms": 200}


def partition(running):
    """The only partition's figures; {} while there is none."""
    return next(iter(running.runtime.statistics()["partitions"]), {})


def test_a_handler_that_fails_from_its_first_record_has_a_lag(world):
    topic = world.topic()
    world.produce(topic, range(50))
    app = world.app(kafka=FAST, retry_backoff=0.1)

    @app.consume(topic)
    def fail(messages):
        raise RuntimeError("poison")

    running = world.start(app)
    running.wait_for(lambda: partition(running).get("lag") == 50, what="a lag of 50")
    told = partition(running)
    assert (told["group"], told["position"], told["committed"], told["messages"]) == (app.default_group, 0, None, 0)
    assert told["lag_s"] >= 0
    running.wait_for(lambda: partition(running)["lag_s"] > told["lag_s"], what="a lag that grows older")
    running.stop()


def test_a_group_that_comes_back_is_where_it_was(world):
    topic = world.topic()
    world.produce(topic, range(10))
    for fails in (False, True):
        app = world.app(kafka=FAST, retry_backoff=0.1)

        @app.consume(topic)
        def handle(messages, fails=fails):
            if fails:
                raise RuntimeError("a bug of the second release")

        running = world.start(app)
        if not fails:
            world.await_committed(topic, {0: 10})
        else:
            world.produce(topic, range(5))
            running.wait_for(lambda running=running: partition(running).get("lag") == 5, what="a lag of 5")
            assert partition(running)["position"] == 10
            running.wait_for(lambda running=running: partition(running)["committed"] == 10, what="what is committed")
        running.stop()


def test_lag_ends_at_0_behind_a_transaction_that_was_committed_and_one_that_was_aborted(real_world):
    topic = real_world.topic()
    producer = Producer({"bootstrap.servers": real_world.broker.bootstrap, "transactional.id": topic})
    producer.init_transactions()
    for commit in (True, False):
        producer.begin_transaction()
        for number in range(5):
            producer.produce(topic, b"%d" % number, partition=0)
        producer.flush(30)
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    app = real_world.app(kafka=FAST)
    app.consume(topic)(lambda messages: None)
    running = real_world.start(app)
    running.wait_for(lambda: partition(running).get("messages") == 5, what="the five records that count")
    running.wait_for(lambda: partition(running)["lag"] == 0, what="a lag of 0 although the end is at 12")
    assert partition(running)["lag_s"] == 0
    # An open transaction is no lag either: nothing of it can be read.
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    producer.flush(30)
    until = time.monotonic() + 1.0
    running.wait_for(lambda: time.monotonic() > until, what="some statistics to pass by")
    assert partition(running)["lag"] == 0
    producer.commit_transaction()
    running.wait_for(lambda: partition(running)["messages"] == 6, what="the sixth record")
    running.wait_for(lambda: partition(running)["lag"] == 0, what="a lag of 0 again")
    running.stop()


def test_lag_is_0_in_a_log_that_was_emptied_up_to_its_end(real_world):
    """No record will ever come for the offsets that were there."""
    topic = real_world.topic()
    real_world.produce(topic, range(10))
    admin = AdminClient({"bootstrap.servers": real_world.broker.bootstrap})
    (emptied,) = admin.delete_records([TopicPartition(topic, 0, 10)]).values()
    emptied.result(30)
    app = real_world.app(kafka=FAST)
    app.consume(topic)(lambda messages: None)
    running = real_world.start(app)
    running.wait_for(lambda: partition(running).get("lag") == 0, what="a lag of 0")
    assert (partition(running)["position"], partition(running)["messages"]) == (10, 0)
    running.stop()
