"""Running consumers on messages without a broker."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import msgspec
import pytest

from swarm_consumer import App, Consumer, DeadLetters, DeserializationError
from swarm_consumer.events import BatchStarted
from swarm_consumer.testing import Record, run_messages


class Order(msgspec.Struct):
    id: int
    price: float = 1.0


class Sums(Consumer):
    """Adds up the orders of a partition."""

    def initialized(self):
        self.total = 0.0

    def consume(self, messages):
        for order in messages.payloads():
            self.total += order.price
        self.produce("sums", {"total": self.total}, key=b"%d" % self.partition)


def test_a_class_is_run_on_values_and_what_it_did_can_be_looked_at():
    outcome = run_messages(Sums, [Order(1, 2.0), Order(2, 3.0), {"id": 3}], payload=Order, topic="orders")
    assert outcome.committed == {("orders", 0): 3}
    assert outcome.produced["sums"] == [Record(b'{"total":6.0}', b"0", (), 0, None, 0)]
    assert outcome.failures == []


def test_a_function_is_run_and_given_the_consumer_when_it_wants_it():
    seen = []

    def handle(batch, consumer):
        seen.append((consumer.topic, consumer.partition, batch.raw_payloads(), batch[0].key, batch[0].headers))
        consumer.mark_as_consumed(batch[-1], metadata="up to here", blocking=True)
        assert consumer.offset_metadata() == "up to here"

    outcome = run_messages(handle, [Record(b"1", b"k", (("h", b"x"),)), b"2", None])
    assert seen == [("messages", 0, [b"1", b"2", None], b"k", [("h", b"x")])]
    assert outcome.committed == {("messages", 0): 3}
    assert outcome.metadata == {("messages", 0): "up to here"}


def test_the_batches_are_the_runtimes_own():
    sizes = []
    outcome = run_messages(lambda batch: sizes.append(len(batch)), [b"x"] * 25, max_messages=10)
    assert sum(sizes) == 25
    assert max(sizes) <= 10
    assert len([event for event in outcome.events if isinstance(event, BatchStarted)]) == len(sizes)


def test_what_a_handler_raises_is_raised_in_the_test():
    def handle(batch):
        raise LookupError("no such order")

    with pytest.raises(LookupError, match="no such order"):
        run_messages(handle, [b"x"])


def test_an_assertion_in_a_handler_fails_the_test():
    def handle(batch):
        assert batch.raw_payloads() == [b"y"]

    with pytest.raises(AssertionError):
        run_messages(handle, [b"x"])


def test_a_payload_that_cannot_be_decoded_is_raised_with_its_place():
    with pytest.raises(DeserializationError, match=r"orders\[0\] offset 1: the payload cannot be decoded.*\$\.id"):
        run_messages(Sums, [Order(1), {"id": "one"}], payload=Order, topic="orders")


def test_retries_take_no_time_and_are_counted():
    attempts = []

    def handle(batch, consumer):
        attempts.append(consumer.attempt)
        if consumer.attempt < 4:
            raise ConnectionError("busy")

    begun = time.monotonic()
    outcome = run_messages(handle, [b"x"], attempts=4, retry_backoff=20.0)
    assert time.monotonic() - begun < 10
    assert attempts == [1, 2, 3, 4]
    assert [str(error) for error in outcome.failures] == ["busy"] * 3
    with pytest.raises(ConnectionError):
        run_messages(handle, [b"x"], attempts=3)


def test_dead_letters_are_among_what_was_produced():
    def handle(batch):
        for message in batch:
            if message.raw_payload == b"poison":
                raise ValueError("cannot")

    messages = [b"1", Record(b"poison", b"k"), b"3"]
    outcome = run_messages(handle, messages, dead_letters=DeadLetters(topic="dead", max_retries=1))
    (letter,) = outcome.produced["dead"]
    assert (letter.value, letter.key) == (b"poison", b"k")
    assert dict(letter.headers)["swarm-source-offset"] == b"1"
    assert [event.offset for event in outcome.dead_lettered] == [1]
    assert outcome.committed == {("messages", 0): 3}


def test_several_partitions_have_instances_of_their_own():
    seen = {}

    class Keeps(Consumer):
        def consume(self, messages):
            seen.setdefault(self.partition, set()).add(id(self))

    records = [Record(b"x", partition=number % 3) for number in range(30)]
    outcome = run_messages(Keeps, records, max_messages=2)
    assert outcome.committed == {("messages", number): 10 for number in range(3)}
    assert [len(instances) for instances in seen.values()] == [1, 1, 1]


def test_a_whole_app_is_run_with_its_own_settings_patterns_and_groups():
    app = App("shop", kafka={"bootstrap.servers": "nowhere.invalid:9092"})
    seen = []

    @app.consume("orders", group="a", payload=Order)
    def orders(batch):
        seen.extend(("orders", order.id) for order in batch.payloads())

    @app.consume("^log-.*", group="b")
    def logs(batch):
        seen.extend((batch.topic, value) for value in batch.raw_payloads())

    outcome = run_messages(app, {"orders": [Order(7)], "log-1": [b"x"], "log-2": [b"y"]})
    assert sorted(seen, key=str) == [("log-1", b"x"), ("log-2", b"y"), ("orders", 7)]
    assert outcome.committed == {("orders", 0): 1, ("log-1", 0): 1, ("log-2", 0): 1}


def test_the_hooks_are_called():
    calls = []

    class Hooked(Consumer):
        def initialized(self):
            calls.append("initialized")

        def consume(self, messages):
            calls.append("consume")

        def eofed(self):
            calls.append("eofed")

        def shutdown(self):
            calls.append("shutdown")

    run_messages(Hooked, [b"x"])
    assert calls == ["initialized", "consume", "eofed", "shutdown"]


def test_manual_marking_commits_what_was_marked():
    def handle(batch, consumer):
        consumer.mark_as_consumed(1)

    assert run_messages(handle, [b"x"] * 5, manual_marking=True).committed == {("messages", 0): 2}
    assert run_messages(lambda batch: None, [b"x"] * 5, manual_marking=True).committed == {}


def test_seeks_and_pauses_work():
    seen = []

    def handle(batch, consumer):
        seen.append(batch.first_offset)
        if len(seen) == 1:
            consumer.seek(datetime(2024, 1, 3, tzinfo=UTC))
        if len(seen) == 2:
            consumer.pause(0.05)

    day = 86_400_000
    first = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1000)
    records = [Record(b"x", timestamp_ms=first + number * day) for number in range(5)]
    outcome = run_messages(handle, records, max_messages=1)
    assert seen == [0, 2, 3, 4]
    assert outcome.committed == {("messages", 0): 5}


def test_a_pause_without_end_ends_the_run_where_it_stands():
    outcome = run_messages(lambda batch, consumer: consumer.pause(), [b"x"] * 5, max_messages=2)
    assert outcome.committed[("messages", 0)] in (1, 2)


def test_a_coroutine_is_awaited():
    seen = []

    async def handle(batch):
        seen.extend(batch.raw_payloads())

    run_messages(handle, [b"1", b"2"])
    assert seen == [b"1", b"2"]


def test_a_handler_that_hangs_ends_with_a_timeout():
    def handle(batch):
        time.sleep(2.0)

    with pytest.raises(TimeoutError, match=r"handled within 0\.2 s; the last events: .*BatchStarted"):
        run_messages(handle, [b"x"], timeout_s=0.2)


def test_no_messages_are_no_batch():
    assert run_messages(lambda batch: pytest.fail("there is nothing"), []).committed == {}


def test_offsets_may_be_given_and_only_grow():
    seen = []
    records = [Record(b"x", offset=5), b"y", Record(b"z", offset=9)]
    outcome = run_messages(lambda batch: seen.extend(message.offset for message in batch), records)
    assert seen == [5, 6, 9]
    assert outcome.committed == {("messages", 0): 10}
    with pytest.raises(ValueError, match="offsets only grow"):
        run_messages(lambda batch: None, [Record(b"x", offset=5), Record(b"y", offset=5)])


ALONE = """
import json, os, sys, threading
from swarm_consumer.testing import run_messages

def handle(batch, consumer):
    consumer.produce("out", b"x")
    during.extend(open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task"))

during = []
before = os.listdir("/proc/self/task")
outcome = run_messages(handle, [b"x"])
assert [record.value for record in outcome.produced["out"]] == [b"x"]
json.dump({"before": before, "during": during, "python": threading.active_count()}, sys.stdout)
sys.stdout.flush()
sys.stdin.read()  # whoever started us looks at what is left
"""


def test_no_broker_no_native_thread_and_no_thread_is_left():
    # In a process of its own: this one may have threads of clients that other tests use.
    with subprocess.Popen(
        [sys.executable, "-c", ALONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        decoder, text = json.JSONDecoder(), ""
        while not text.endswith("}"):
            chunk = process.stdout.read(1)
            assert chunk, f"the program ended with {process.wait(30)}"
            text += chunk
        told = decoder.decode(text)
        deadline = time.monotonic() + 10
        while len(os.listdir(f"/proc/{process.pid}/task")) > 1:
            assert time.monotonic() < deadline, "threads are left"
            time.sleep(0.01)
        process.stdin.close()
        assert process.wait(30) == 0
    assert told["before"] == [str(process.pid)]
    assert told["python"] == 1
    assert len(told["during"]) > 1  # the runtime works with threads of Python's,
    assert not [name for name in told["during"] if name.startswith("rdk:")]  # and none of librdkafka's


def test_a_run_is_fast():
    begun = time.monotonic()
    for _ in range(20):
        run_messages(lambda batch: None, [b"x"] * 10)
    assert time.monotonic() - begun < 20


def test_the_first_complaint_of_a_handler_stays_and_the_batch_goes_on():
    def handle(messages, consumer):
        consumer.unhealthy(77, f"no database for {messages.first_offset}")

    outcome = run_messages(handle, range(3), max_messages=1)
    assert outcome.complaint == (77, "messages[0]: no database for 0")
    assert outcome.committed == {("messages", 0): 3}
    assert run_messages(lambda messages: None, [1]).complaint is None


@pytest.mark.parametrize("code", [0, -1, 2**31, True, 1.5, "77"])
def test_a_complaint_needs_a_positive_code(code):
    with pytest.raises(ValueError, match="from 1 to"):
        run_messages(lambda messages, consumer: consumer.unhealthy(code, "why"), [1])
