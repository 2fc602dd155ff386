"""The real broker: its start, its crash and its end, and what the kit says where it cannot run."""

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from swarm_consumer.testing import BrokerError, KafkaBroker, KafkaUnavailable, UnsupportedByBroker
from swarm_consumer.testing._brokers import kafka_distribution as distribution
from swarm_consumer.testing.outside_client import (
    Record,
    add_partitions,
    await_committed,
    committed_offsets,
    end_offsets,
    produce,
    read_all,
)


def gone(pid: int, within_s: float) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], within_s)[0])
    finally:
        os.close(descriptor)


@pytest.fixture
def kafka_runs_here(kafka_broker):
    """Proves that a broker can be started on this machine."""
    if kafka_broker.external:
        pytest.skip("KAFKA_BOOTSTRAP_SERVERS is set, so that no broker runs on this machine")


@pytest.fixture
def own_broker(kafka_runs_here):
    """A broker that a test may kill."""
    with KafkaBroker() as broker:
        yield broker


def test_records_come_back_as_they_were_produced(kafka_broker, topic_name):
    topic = topic_name()
    kafka_broker.create_topic(topic, 2)
    record = Record(b"value", b"key", (("h", b"1"), ("h", None)), partition=1, timestamp_ms=1_700_000_000_000)
    assert produce(kafka_broker.bootstrap, topic, [record]) == [(1, 0)]
    assert read_all(kafka_broker.bootstrap, topic) == [
        Record(b"value", b"key", (("h", b"1"), ("h", None)), 1, 1_700_000_000_000, 0)
    ]
    with pytest.raises(BrokerError, match="already exists"):
        kafka_broker.create_topic(topic)
    assert committed_offsets(kafka_broker.bootstrap, topic_name("nobody"), topic) == {}


def test_topics_grow_lose_records_and_go(kafka_broker, topic_name):
    topic = topic_name()
    kafka_broker.create_topic(topic)
    produce(kafka_broker.bootstrap, topic, [b"1", b"2", b"3"])
    add_partitions(kafka_broker.bootstrap, topic, 3)
    assert end_offsets(kafka_broker.bootstrap, topic) == {0: 3, 1: 0, 2: 0}
    kafka_broker.delete_records(topic, 0, 2)
    assert [each.value for each in read_all(kafka_broker.bootstrap, topic)] == [b"3"]
    with pytest.raises(BrokerError, match="did not delete the records"):
        kafka_broker.delete_records(topic, 0, 9)
    kafka_broker.delete_topic(topic)
    with pytest.raises(BrokerError, match=f"did not delete topic '{topic}'"):
        kafka_broker.delete_topic(topic)


def test_waiting_for_a_commit_that_does_not_come_says_what_is_there(kafka_broker, topic_name):
    topic = topic_name()
    kafka_broker.create_topic(topic)
    produce(kafka_broker.bootstrap, topic, [b"x"])
    with pytest.raises(TimeoutError, match=r"has not committed \{0: 1\} .* only \{\}"):
        await_committed(kafka_broker.bootstrap, topic_name("nobody"), topic, timeout_s=0.2)


def test_the_outside_client_leaves_no_thread_behind(kafka_broker, topic_name):
    before = set(os.listdir("/proc/self/task"))
    topic = topic_name()
    kafka_broker.create_topic(topic)
    with pytest.raises(BrokerError):
        kafka_broker.create_topic(topic)
    produce(kafka_broker.bootstrap, topic, [b"x"])
    read_all(kafka_broker.bootstrap, topic)
    committed_offsets(kafka_broker.bootstrap, topic_name("g"), topic)
    assert set(os.listdir("/proc/self/task")) <= before


def test_a_crash_and_a_restart_keep_port_and_data(own_broker):
    address = own_broker.bootstrap
    own_broker.create_topic("t", 3)
    produce(address, "t", [Record(b"1", partition=2)])
    pid = own_broker.pid
    own_broker.kill()
    assert not own_broker.alive
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address.split(":")[1])), 5)
    own_broker.restart()
    assert own_broker.alive
    assert own_broker.bootstrap == address
    assert own_broker.pid != pid
    assert [each.value for each in read_all(address, "t")] == [b"1"]
    own_broker.restart()  # from running: an orderly stop comes first
    assert produce(address, "t", [Record(b"2", partition=2)]) == [(2, 1)]


OWNER = """
import sys, threading
from swarm_consumer.testing import KafkaBroker
broker = KafkaBroker().start()
print(broker.pid, broker.folder, flush=True)
threading.Event().wait(60)
"""


def test_broker_and_data_are_gone_when_the_owner_is_killed(kafka_runs_here):
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        pid, folder = owner.stdout.readline().split()
        assert Path(folder, "server.properties").exists()
        owner.kill()
        assert gone(int(pid), 1.0)
    for _ in range(100):
        if not Path(folder).exists():
            break
        select.select([], [], [], 0.05)
    assert not Path(folder).exists()


def test_java_dies_with_a_warden_that_is_killed_and_the_next_one_removes_the_data(kafka_runs_here, kafka_broker):
    with KafkaBroker() as broker:
        pid = broker.pid
        os.kill(broker._process.pid, signal.SIGKILL)
        assert gone(pid, 1.0)
        with pytest.raises(BrokerError, match=r"warden .* was killed by SIGKILL"):
            broker.restart()
        assert broker.folder.exists()  # nobody was left to remove it
    with KafkaBroker() as another:
        assert not broker.folder.exists()
        assert kafka_broker.folder.exists()
        assert another.folder.exists()


def test_a_broker_that_cannot_start_shows_kafkas_own_words(kafka_runs_here):
    with pytest.raises(BrokerError, match=r"Invalid value many for configuration log\.retention\.bytes"):
        KafkaBroker(properties={"log.retention.bytes": "many"}).start()


def test_the_foreground_command_serves_until_sigint_and_removes_its_data(kafka_runs_here):
    command = [sys.executable, "-m", "swarm_consumer.testing.kafka_broker", "--port", "0", "--topic", "flights:8"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip()
            assert len(end_offsets(address, "flights")) == 8
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", int(address.split(":")[1])), 5)
        finally:
            process.kill()


def test_without_java_or_maven_the_reason_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    with pytest.raises(KafkaUnavailable, match="needs Java 17 or newer, and there is no 'java' on PATH"):
        KafkaBroker().start()
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\n")
    java.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(KafkaUnavailable, match="needs Maven, and there is no 'mvn' on PATH"):
        KafkaBroker().start()


def fake_maven(folder, script):
    maven = folder / "mvn"
    maven.write_text(f"#!/bin/sh\n{script}\n")
    maven.chmod(0o755)


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


FETCH = """
for argument; do case $argument in -DoutputDirectory=*) out=${argument#*=};; esac; done
echo run >> "$(dirname "$0")/runs"
mkdir -p "$out" && touch "$out/kafka_2.13-9.9.9.jar"
"""


def test_two_that_resolve_at_once_fetch_once(empty_cache):
    fake_maven(empty_cache, FETCH)
    found = []
    threads = [threading.Thread(target=lambda: found.append(distribution.resolve("9.9.9"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [distribution.cache_folder("9.9.9")] * 4
    assert (empty_cache / "runs").read_text() == "run\n"
    assert [each.name for each in found[0].iterdir()] == ["kafka_2.13-9.9.9.jar"]


def test_a_failed_fetch_leaves_nothing_and_says_what_maven_said(empty_cache):
    fake_maven(empty_cache, "echo no such host >&2; exit 1")
    with pytest.raises(KafkaUnavailable, match=r"could not fetch Kafka 9\.9\.9 \(exit code 1\): no such host"):
        distribution.resolve("9.9.9")
    fake_maven(empty_cache, "exit 0")  # succeeds, and brings nothing
    with pytest.raises(KafkaUnavailable, match=r"could not fetch Kafka 9\.9\.9"):
        distribution.resolve("9.9.9")
    fake_maven(empty_cache, "exec sleep 30")
    with pytest.raises(KafkaUnavailable, match="did not fetch Kafka"):
        distribution.resolve("9.9.9", timeout_s=0.1)
    assert [each.name for each in distribution.cache_folder("9.9.9").parent.iterdir()] == [".9.9.9.lock"]


def test_a_lock_that_is_never_released_is_named(empty_cache):
    fake_maven(empty_cache, FETCH)
    folder = distribution.cache_folder("9.9.9").parent
    folder.mkdir(parents=True)
    with (folder / ".9.9.9.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(KafkaUnavailable, match=r"Another process holds .*\.9\.9\.9\.lock"):
            distribution.resolve("9.9.9", timeout_s=0.2)


def test_a_cluster_of_somebody_elses_is_used_and_never_stopped(monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka.example:9092")
    with KafkaBroker() as broker:
        assert broker.external
        assert broker.alive
        assert broker.bootstrap == "kafka.example:9092"
        assert broker.client_settings()["bootstrap.servers"] == "kafka.example:9092"
        for call in (broker.kill, broker.restart):
            with pytest.raises(UnsupportedByBroker, match="names a foreign cluster"):
                call()
