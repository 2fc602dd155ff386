"""run_messages with several handlers: what one produces the next one handles; typos; transactions. No broker."""

from __future__ import annotations

import threading

import pytest

from swarm_consumer import App, ConfigurationError, Consumer, ConsumptionError, DeadLetters
from swarm_consumer.events import DeadLettered
from swarm_consumer.testing import Record, run_messages


def make_app(**options):
    return App("shop", kafka={"bootstrap.servers": "in-memory"}, **options)


def test_a_topic_that_nothing_consumes_is_refused_with_the_nearest():
    app = make_app()
    app.consume("orders")(lambda batch: None)
    app.consume("left", active=False)(lambda batch: None)
    with pytest.raises(
        ConfigurationError, match=r"consumes the topic 'ordrs'; did you mean 'orders'\? \(there is orders"
    ):
        run_messages(app, {"orders": [b"1"], "ordrs": []})
    with pytest.raises(ConfigurationError, match="consumes the topic 'left'"):
        run_messages(app, {"left": [b"1"]})
    with pytest.raises(ConfigurationError, match="consumes the topic 'messages'"):
        run_messages(app, [b"1"])
    with pytest.raises(ConfigurationError, match="consumes the topic 'orders'"):
        run_messages(lambda batch: None, {"orders": [b"1"]})
    run_messages(lambda batch: None, {"orders": [b"1"]}, topic="orders")


def chained():
    app, seen = make_app(), []

    @app.consume("orders", group="a")
    def price(batch, consumer):
        for message in batch:
            consumer.produce("prices", message.payload + b"!", key=message.key, partition=message.partition)

    @app.consume("^price", group="b")
    def note(batch, consumer):
        seen.extend((message.partition, message.key, message.payload) for message in batch)
        consumer.produce("noted", b"%d" % len(batch))

    return app, seen


def test_output_is_not_handled_unless_it_is_asked_for():
    app, seen = chained()
    outcome = run_messages(app, {"orders": [b"1"]})
    assert seen == []
    assert [record.value for record in outcome.produced["prices"]] == [b"1!"]


def test_with_chain_what_one_handler_produces_the_next_one_handles():
    app, seen = chained()
    orders = [Record(b"%d" % number, b"k%d" % number, partition=number % 3) for number in range(300)]
    outcome = run_messages(app, {"orders": orders}, chain=True)
    assert sorted(seen) == sorted((number % 3, b"k%d" % number, b"%d!" % number) for number in range(300))
    assert outcome.committed == {(topic, part): 100 for topic in ("orders", "prices") for part in range(3)}
    assert len(outcome.produced["prices"]) == 300
    assert sum(int(record.value) for record in outcome.produced["noted"]) == 300


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_chain_of_many_groups_ends_when_the_last_record_is_handled(concurrency):
    app, seen, lock = make_app(concurrency=concurrency), [], threading.Lock()
    for step in range(6):

        def handle(batch, consumer, step=step):
            for message in batch:
                if step < 5:
                    consumer.produce(f"step-{step + 1}", message.payload)
                else:
                    with lock:
                        seen.append(message.payload)

        app.consume(f"step-{step}", group=f"group-{step}")(handle)
    for _ in range(5):
        seen.clear()
        run_messages(app, {"step-0": [b"%d" % number for number in range(50)]}, chain=True)
        assert sorted(seen, key=int) == [b"%d" % number for number in range(50)]


def test_dead_letters_are_handled_by_their_own_handler_in_a_chain():
    app, seen = make_app(), []

    @app.consume("orders", dead_letters=DeadLetters(topic="dead", max_retries=0))
    def refuse(batch):
        raise ValueError("no")

    @app.consume("dead", group="replay")
    def replay(batch):
        seen.extend(batch.raw_payloads())

    run_messages(app, {"orders": [b"1", b"2"]}, chain=True)
    assert seen == [b"1", b"2"]


def test_a_chain_without_an_end_is_ended_by_the_time():
    app = make_app()

    @app.consume("echo")
    def echo(batch, consumer):
        consumer.produce("echo", b"again")

    with pytest.raises(TimeoutError, match=r"handled within 0\.3 s"):
        run_messages(app, {"echo": [b"1"]}, chain=True, timeout_s=0.3)


# -- transactions ----------------------------------------------------------------------------------------------------


class Copy(Consumer):
    """Copies each message in a transaction; fails once at a poison."""

    def consume(self, messages):
        with self.transaction():
            for message in messages:
                self.produce("copies", message.payload)
                if message.payload == b"poison" and not self.retrying:
                    raise ValueError("poison")


def test_a_transaction_shows_output_and_offset_together():
    app = make_app(producer={"transactional.id": "shop"})
    app.topic("orders")(Copy)
    outcome = run_messages(app, {"orders": [b"1", b"2", b"3"]})
    assert [record.value for record in outcome.produced["copies"]] == [b"1", b"2", b"3"]
    assert outcome.committed == {("orders", 0): 3}


def test_an_aborted_transaction_leaves_nothing():
    app = make_app(producer={"transactional.id": "shop"})
    app.topic("orders")(Copy)
    outcome = run_messages(app, {"orders": [b"1", b"poison"]}, attempts=2)
    assert [record.value for record in outcome.produced["copies"]] == [b"1", b"poison"]
    assert [record.offset for record in outcome.produced["copies"]] == [0, 1]
    assert outcome.committed == {("orders", 0): 2}


def test_the_output_of_a_transaction_is_chained_once_it_is_committed():
    app, seen = make_app(producer={"transactional.id": "shop"}), []
    app.topic("orders")(Copy)
    app.consume("copies", group="b")(lambda batch: seen.extend(batch.raw_payloads()))
    run_messages(app, {"orders": [b"1", b"poison"]}, attempts=2, chain=True)
    assert seen == [b"1", b"poison"]


# -- pydantic --------------------------------------------------------------------------------------------------------


def test_pydantic_models_go_in_and_out():
    pydantic = pytest.importorskip("pydantic")

    class Order(pydantic.BaseModel):
        number: int

    app = make_app()

    @app.consume("orders", payload=Order)
    def handle(batch, consumer):
        for order in batch.payloads():
            consumer.produce("doubled", Order(number=2 * order.number))
            consumer.produce("wrapped", {"order": order})

    outcome = run_messages(app, {"orders": [Order(number=2)]})
    assert [record.value for record in outcome.produced["doubled"]] == [b'{"number":4}']
    assert [record.value for record in outcome.produced["wrapped"]] == [b'{"order":{"number":2}}']


def test_what_cannot_become_json_is_refused_in_a_sentence():
    class Odd:
        pass

    with pytest.raises(TypeError, match=r"an object of type .*Odd cannot be encoded as JSON: produce bytes instead"):
        run_messages(lambda batch, consumer: consumer.produce("out", Odd()), [b"1"])


# -- the limits of dead letters --------------------------------------------------------------------------------------


def diverting(poison, **limits):
    def handle(batch):
        for message in batch:
            if poison(message.offset):
                raise ValueError("poison")

    app = make_app()
    app.consume("orders", dead_letters=DeadLetters(topic="dead", max_retries=0, **limits))(handle)
    return app


def test_a_fault_that_hits_everything_does_not_empty_the_topic_by_default():
    app, letters = diverting(lambda offset: True), []
    app.on(DeadLettered)(letters.append)
    with pytest.raises(
        ConsumptionError, match="more than 50% of the last messages would be dead letters, over max_ratio"
    ):
        run_messages(app, {"orders": [b"x"] * 300})
    assert len(letters) == 99


def test_poison_among_good_messages_is_within_the_default():
    outcome = run_messages(diverting(lambda offset: offset % 5 < 2), {"orders": [b"x"] * 300}, timeout_s=60)
    assert len(outcome.dead_lettered) == 120
    assert outcome.committed == {("orders", 0): 300}


@pytest.mark.parametrize("limit", [1, None])
def test_the_limit_can_be_lifted(limit):
    outcome = run_messages(diverting(lambda offset: True, max_ratio=limit), {"orders": [b"x"] * 200}, timeout_s=60)
    assert len(outcome.dead_lettered) == 200
