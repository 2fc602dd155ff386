"""The embedded broker as its owner sees it: records, groups, faults, crashes and its end."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from confluent_kafka import Consumer, Producer

from swarm_consumer.testing import (
    BrokerError,
    EmbeddedBroker,
    Record,
    UnsupportedByBroker,
    await_committed,
    committed_offsets,
    end_offsets,
    produce,
    read_all,
)

QUIET = {"log_level": 0}


def gone(pid: int, within_s: float) -> bool:
    """Whether the process ends in time (a zombie of somebody else's has ended)."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], within_s)[0])
    finally:
        os.close(descriptor)


def test_records_come_back_as_they_were_produced(embedded_broker):
    embedded_broker.create_topic("records", 8)
    records = [
        Record(b"value", b"key", (("h", b"1"), ("h", None)), partition=3, timestamp_ms=1_700_000_000_000),
        Record(None, b"key", partition=7),
        Record({"a": 1}, partition=0),
        b"raw",
    ]
    positions = produce(embedded_broker.bootstrap, "records", records)
    assert [partition for partition, _ in positions[:3]] == [3, 7, 0]
    read = {(each.partition, each.offset): each for each in read_all(embedded_broker.bootstrap, "records")}
    assert read[3, positions[0][1]] == Record(
        b"value", b"key", (("h", b"1"), ("h", None)), 3, 1_700_000_000_000, positions[0][1]
    )
    assert read[7, positions[1][1]].value is None
    assert read[positions[2]].value == b'{"a":1}'
    assert sum(end_offsets(embedded_broker.bootstrap, "records").values()) == 4


def test_topics_lose_records_and_go(embedded_broker):
    embedded_broker.create_topic("t")
    for value in (b"1", b"2", b"3"):
        produce(embedded_broker.bootstrap, "t", [value])
    if "delete_records" not in embedded_broker.capabilities:
        pytest.skip("this librdkafka has no word for it")
    embedded_broker.delete_records("t", 0, 2)
    assert [each.value for each in read_all(embedded_broker.bootstrap, "t")] == [b"3"]
    with pytest.raises(BrokerError, match="could not delete the records of 't'/0 before offset 9"):
        embedded_broker.delete_records("t", 0, 9)
    embedded_broker.delete_topic("t")
    with pytest.raises(BrokerError, match="could not delete topic 't'"):
        embedded_broker.delete_topic("t")
    embedded_broker.create_topic("t")
    assert read_all(embedded_broker.bootstrap, "t") == []


def test_a_group_commits_and_an_outside_client_sees_it(embedded_broker):
    embedded_broker.create_topic("orders", 2)
    produce(embedded_broker.bootstrap, "orders", [Record(b"x", partition=number % 2) for number in range(10)])
    assert committed_offsets(embedded_broker.bootstrap, "g", "orders") == {}
    settings = {**embedded_broker.client_settings(), "group.id": "g", "auto.offset.reset": "earliest", **QUIET}
    consumer = Consumer(settings)
    consumer.subscribe(["orders"])
    seen = 0
    deadline = time.monotonic() + 20
    while seen < 10:
        assert time.monotonic() < deadline
        seen += consumer.poll(1.0) is not None
    consumer.commit(asynchronous=False)
    assert await_committed(embedded_broker.bootstrap, "g", "orders", timeout_s=10) == {0: 5, 1: 5}
    consumer.close()


def test_waiting_for_a_commit_that_does_not_come_says_what_is_there(embedded_broker):
    embedded_broker.create_topic("orders")
    produce(embedded_broker.bootstrap, "orders", [b"x"])
    with pytest.raises(
        TimeoutError, match=re.escape("has not committed {0: 1} of topic 'orders' within 0.2 s, only {}")
    ):
        await_committed(embedded_broker.bootstrap, "nobody", "orders", timeout_s=0.2)


def test_ports_are_the_ones_asked_for():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    with EmbeddedBroker({"t": 3}, ports=[port]) as broker:
        assert broker.bootstrap == f"127.0.0.1:{port}"
        assert len(produce(broker.bootstrap, "t", [b"x"])) == 1


def test_a_port_that_is_taken_is_refused_with_its_number():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(BrokerError, match=f"Port {port} on 127.0.0.1 is in use"):
            EmbeddedBroker(ports=[port]).start()


def test_a_broker_that_is_down_refuses_and_takes_records_again_when_it_is_up(embedded_broker):
    embedded_broker.create_topic("t")
    host, port = embedded_broker.bootstrap.split(":")
    for _ in range(3):
        embedded_broker.take_down()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), 5)
        embedded_broker.bring_up()
        produce(embedded_broker.bootstrap, "t", [b"x"])
    assert len(read_all(embedded_broker.bootstrap, "t")) == 3


def test_one_of_three_brokers_down_leaves_the_others_at_work():
    with EmbeddedBroker(brokers=3) as broker:
        broker.create_topic("t", 3)
        for partition in range(3):
            broker.move_leader("t", partition, partition + 1)
        broker.take_down(2)
        others = broker.bootstrap.split(",")[0]
        produce(others, "t", [Record(b"x", partition=0), Record(b"x", partition=2)])
        with pytest.raises(BrokerError, match="1 of 1 records for 't' were not acknowledged"):
            produce(others, "t", [Record(b"x", partition=1)], timeout_s=0.5)
        broker.bring_up(2)
        produce(others, "t", [Record(b"x", partition=1)])


def test_injected_errors_are_answered_once_each(embedded_broker):
    embedded_broker.create_topic("t")
    embedded_broker.track_requests()
    embedded_broker.inject_errors("Produce", ["NOT_LEADER_FOR_PARTITION", "_TRANSPORT"])
    produce(embedded_broker.bootstrap, "t", [b"x"])
    assert embedded_broker.request_counts()["Produce"] == 3  # two refused, one taken
    assert embedded_broker.request_counts() == {}
    embedded_broker.inject_errors("Produce", ["TOPIC_AUTHORIZATION_FAILED"])
    with pytest.raises(BrokerError, match="authorization failed"):
        produce(embedded_broker.bootstrap, "t", [b"x"])
    embedded_broker.inject_errors("Produce", ["TOPIC_AUTHORIZATION_FAILED"])
    embedded_broker.clear_errors("Produce")
    produce(embedded_broker.bootstrap, "t", [b"x"])
    assert len(read_all(embedded_broker.bootstrap, "t")) == 2


def test_a_round_trip_time_and_a_delayed_answer_delay_records(embedded_broker):
    embedded_broker.create_topic("t")
    embedded_broker.set_round_trip_time(0.2)
    begun = time.monotonic()
    produce(embedded_broker.bootstrap, "t", [b"x"])
    assert time.monotonic() - begun >= 0.2
    embedded_broker.set_round_trip_time(0.0)
    embedded_broker.inject_errors("Produce", [None], delay_s=0.7)
    begun = time.monotonic()
    produce(embedded_broker.bootstrap, "t", [b"x"])
    assert time.monotonic() - begun >= 0.7


def test_an_unknown_name_is_refused_with_the_nearest(embedded_broker):
    for call, sentence in (
        (lambda: embedded_broker.inject_errors("Produse", ["_TRANSPORT"]), "did you mean 'Produce'"),
        (lambda: embedded_broker.inject_errors("Produce", ["NOT_COORDINATR"]), "did you mean 'NOT_COORDINATOR'"),
        (lambda: embedded_broker.take_down(2), "There is no broker 2; this embedded broker has 1 to 1"),
        (lambda: embedded_broker.move_leader("t", 0, -1), "There is no broker -1"),
        (lambda: embedded_broker.create_topic("t", 0), "needs at least 1 partition and 1 to 1 replicas, not 0 and 1"),
    ):
        with pytest.raises(BrokerError, match=re.escape(sentence)):
            call()
    assert embedded_broker.alive


def test_a_killed_broker_says_so_and_restarts_on_its_port_with_its_topics(embedded_broker):
    embedded_broker.create_topic("t", 5)
    produce(embedded_broker.bootstrap, "t", [b"x"])
    address, pid = embedded_broker.bootstrap, embedded_broker.pid
    embedded_broker.kill()
    assert not embedded_broker.alive
    with pytest.raises(BrokerError, match="was killed by SIGKILL; restart it"):
        embedded_broker.create_topic("u")
    embedded_broker.restart()
    assert embedded_broker.bootstrap == address
    assert embedded_broker.pid != pid
    assert end_offsets(address, "t") == dict.fromkeys(range(5), 0)  # its topics, and nothing of its data
    produce(address, "t", [b"y"])


def test_a_broker_killed_by_somebody_else_restarts_too(embedded_broker):
    os.kill(embedded_broker.pid, signal.SIGKILL)
    assert gone(embedded_broker.pid, 5)
    with pytest.raises(BrokerError, match="was killed by SIGKILL"):
        embedded_broker.create_topic("t")
    embedded_broker.restart()
    embedded_broker.create_topic("t")


def test_a_request_that_is_not_answered_ends_at_its_deadline_and_hurts_no_later_one():
    with EmbeddedBroker(timeout_s=5) as broker:
        broker._timeout_s = 0.3
        os.kill(broker.pid, signal.SIGSTOP)
        with pytest.raises(BrokerError, match=r"did not answer 'create_topic' within 0\.3 s"):
            broker.create_topic("t")
        os.kill(broker.pid, signal.SIGCONT)
        broker._timeout_s = 5
        broker.create_topic("u")
        with pytest.raises(BrokerError, match="already exists"):
            broker.create_topic("t")  # the late answer belonged to the first request, which was carried out


OWNER = """
import os, sys, threading
from swarm_consumer.testing import EmbeddedBroker
broker = EmbeddedBroker().start()
if os.fork() == 0:  # a process that holds the owner's pipes open, as a swarm's node would
    os.close(1)
    threading.Event().wait(30)
    os._exit(0)
print(broker.pid, flush=True)
threading.Event().wait(30)
"""


def test_the_broker_ends_with_an_owner_that_is_killed_although_a_fork_of_it_lives():
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, start_new_session=True) as owner:
        pid = int(owner.stdout.readline())
        try:
            owner.kill()
            assert gone(pid, 1.0)
        finally:
            os.killpg(owner.pid, signal.SIGKILL)


def test_the_broker_outlives_the_thread_that_started_it():
    broker = EmbeddedBroker()
    thread = threading.Thread(target=broker.start)
    thread.start()
    thread.join()
    with broker:
        broker.create_topic("t")  # the death of the starting thread sent its signal before this request
        assert len(produce(broker.bootstrap, "t", [b"x"])) == 1


def test_a_forked_child_may_not_use_the_broker_and_does_not_end_it(embedded_broker):
    child = os.fork()
    if child == 0:
        try:
            embedded_broker.create_topic("t")
        except Exception as error:
            embedded_broker.close()
            os._exit(7 if "was forked from it" in str(error) else 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    embedded_broker.create_topic("t")


def test_the_fallback_serves_records_and_says_what_it_cannot_do():
    with EmbeddedBroker(hidden_symbols=["rd_kafka_mock_cluster_new"]) as broker:
        assert broker.capabilities == {"create_topic"}
        assert "does not export rd_kafka_mock_cluster_new" in broker.limitation
        broker.create_topic("t", 4)
        produce(broker.bootstrap, "t", [b"x"])
        assert len(read_all(broker.bootstrap, "t")) == 1
        for call in (
            lambda: broker.create_topic("u", 3),
            broker.take_down,
            broker.restart,
            lambda: broker.inject_errors("Produce", ["_TRANSPORT"]),
        ):
            with pytest.raises(UnsupportedByBroker, match="use a real broker"):
                call()
    with pytest.raises(UnsupportedByBroker, match="cannot use a port of your choice"):
        EmbeddedBroker(ports=[19092], hidden_symbols=["rd_kafka_mock_cluster_new"]).start()


def test_one_missing_symbol_takes_away_only_what_needs_it():
    with EmbeddedBroker(hidden_symbols=["rd_kafka_mock_coordinator_set"]) as broker:
        assert broker.limitation is None
        assert "move_coordinator" not in broker.capabilities
        with pytest.raises(UnsupportedByBroker, match="does not export rd_kafka_mock_coordinator_set"):
            broker.move_coordinator("g", 1)
        broker.take_down()
        broker.bring_up()


def test_using_a_broker_that_does_not_run_says_so():
    broker = EmbeddedBroker()
    for call in (broker.take_down, broker.kill, broker.restart):
        with pytest.raises(BrokerError, match="does not run: start it before"):
            call()
    broker.close()


def test_the_outside_client_leaves_no_thread_behind(embedded_broker):
    before = set(os.listdir("/proc/self/task"))
    embedded_broker.create_topic("t")
    produce(embedded_broker.bootstrap, "t", [b"x"])
    read_all(embedded_broker.bootstrap, "t")
    end_offsets(embedded_broker.bootstrap, "t")
    committed_offsets(embedded_broker.bootstrap, "g", "t")
    assert set(os.listdir("/proc/self/task")) <= before


def test_a_classic_group_survives_a_move_of_its_coordinator():
    with EmbeddedBroker({"t": 2}, brokers=2) as broker:
        broker.move_coordinator("g", 1)
        produce(broker.bootstrap, "t", [Record(b"x", partition=0)])
        settings = {**broker.client_settings("classic"), "group.id": "g", "auto.offset.reset": "earliest", **QUIET}
        consumer = Consumer(settings)
        consumer.subscribe(["t"])
        deadline = time.monotonic() + 30
        while consumer.poll(1.0) is None:
            assert time.monotonic() < deadline
        broker.move_coordinator("g", 2)
        broker.track_requests()
        while True:
            try:
                consumer.commit(asynchronous=False)
                break
            except Exception:
                assert time.monotonic() < deadline
                consumer.poll(0.1)
        assert committed_offsets(broker.bootstrap, "g", "t") == {0: 1}
        consumer.close()


FOREGROUND = ["-m", "swarm_consumer.testing.embedded_broker", "--port", "0", "--topic", "flights:8"]


def test_the_foreground_command_serves_until_a_signal_ends_it():
    command = [sys.executable, *FOREGROUND, "--error", "Produce:_TRANSPORT:2"]
    for number in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                address = process.stdout.readline().strip()
                produce(address, "flights", [Record(b"x", partition=7)])
                process.send_signal(number)
                assert process.wait(10) == 0
                assert "Ctrl-C ends it" in process.stderr.read()
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", int(address.split(":")[1])), 5)
            finally:
                process.kill()


def test_the_foreground_command_refuses_bad_options_with_exit_code_2():
    for arguments, sentence in (
        (["--topic", "flights"], "'flights' is not NAME:PARTITIONS"),
        (["--topic", "flights:0"], "'flights:0' is not NAME:PARTITIONS"),
        (["--error", "Produce"], "'Produce' is not an error to inject"),
        (["--brokers", "0"], "at least one broker"),
    ):
        done = subprocess.run([sys.executable, *FOREGROUND, *arguments], capture_output=True, text=True, timeout=30)
        assert done.returncode == 2
        assert sentence in done.stderr


def test_a_producer_of_the_plain_client_works_across_a_restart(embedded_broker):
    embedded_broker.create_topic("t")
    producer = Producer({"bootstrap.servers": embedded_broker.bootstrap, "reconnect.backoff.max.ms": 200, **QUIET})
    producer.produce("t", b"1")
    assert producer.flush(10) == 0
    embedded_broker.restart()
    producer.produce("t", b"2")
    assert producer.flush(20) == 0
    assert [each.value for each in read_all(embedded_broker.bootstrap, "t")] == [b"2"]
