"""`swarm-cli broker`: a fixed port, topics, brokers and faults, as a client sees them; its end; wrong options."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

ROOT = Path(__file__).resolve().parent.parent.parent


class BrokerProcess:
    """The command as a user runs it."""

    def __init__(self, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "swarm_cli", "broker", *arguments],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self.popen.stdout is not None
        self.bootstrap = self.popen.stdout.readline().strip()  # the address is its whole output: for a script
        assert self.bootstrap, self.popen.communicate(timeout=30)[1]

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.popen.send_signal(number)
        _, told = self.popen.communicate(timeout=30)
        return self.popen.returncode, told


@pytest.fixture
def start_broker() -> Iterator[Callable[..., BrokerProcess]]:
    started: list[BrokerProcess] = []

    def start(*arguments: str) -> BrokerProcess:
        started.append(BrokerProcess(*arguments))
        return started[-1]

    yield start
    for broker in started:
        if broker.popen.poll() is None:
            os.killpg(broker.popen.pid, signal.SIGKILL)
        broker.popen.communicate(timeout=10)


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody has."""
    for first in range(20_000 + os.getpid() % 10_000, 60_000, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for number, each in enumerate(sockets):
                each.bind(("127.0.0.1", first + number))
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
        return first
    raise AssertionError("no free ports")


def metadata(bootstrap: str) -> Any:
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=20)


def produced(bootstrap: str, count: int, **properties: Any) -> list[str | None]:
    """The names of the errors that records had, None where one arrived; one request each, never tried again."""
    outcomes: list[str | None] = []
    settings = {"bootstrap.servers": bootstrap, "log_level": 0, "retries": 0, "message.timeout.ms": 20_000}
    client = Producer({**settings, **properties})
    for number in range(count):
        client.produce("orders", b"x", callback=lambda error, _: outcomes.append(error and error.name()))
        while len(outcomes) == number:
            client.poll(1)
    return outcomes


def test_port_brokers_and_topics_are_as_given(start_broker: Callable[..., BrokerProcess]) -> None:
    port = free_ports(3)
    broker = start_broker("--port", str(port), "--brokers", "3", "--topic", "orders:4", "--topic", "order-totals:2")
    assert broker.bootstrap.split(",") == [f"127.0.0.1:{port + number}" for number in range(3)]
    seen = metadata(broker.bootstrap)
    assert sorted(each.port for each in seen.brokers.values()) == [port, port + 1, port + 2]
    assert {name: len(topic.partitions) for name, topic in seen.topics.items()} == {"orders": 4, "order-totals": 2}
    code, told = broker.end(signal.SIGINT)
    assert code == 0, told
    assert told == f"Kafka (embedded broker, in memory only) at {broker.bootstrap}; Ctrl-C ends it.\n"
    again = start_broker("--port", str(port))
    assert again.bootstrap == f"127.0.0.1:{port}", "the port is free again"
    assert metadata(again.bootstrap).topics == {}, "and nothing is left of the first one's data"
    assert again.end()[0] == 0


def test_faults_meet_the_next_requests_of_their_kind_and_no_more(start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker(
        "--port", "0", "--topic", "orders:1",
        "--fault", "Produce:MSG_SIZE_TOO_LARGE", "--fault", "Produce:INVALID_REQUIRED_ACKS:2",
        "--fault", "FindCoordinator:GROUP_AUTHORIZATION_FAILED:100",
    )  # fmt: skip
    assert produced(broker.bootstrap, 5) == [
        "MSG_SIZE_TOO_LARGE", "INVALID_REQUIRED_ACKS", "INVALID_REQUIRED_ACKS", None, None,
    ]  # fmt: skip
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    described = admin.describe_consumer_groups(["any"], request_timeout=10)["any"]
    with pytest.raises(KafkaException) as caught:
        described.result(20)
    assert caught.value.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED
    assert broker.end()[0] == 0


def test_a_dropped_connection_and_a_slow_answer(start_broker: Callable[..., BrokerProcess]) -> None:
    faults = ("--fault", "Produce:_TRANSPORT", "--round-trip-time", "400")
    broker = start_broker("--port", "0", "--topic", "orders:1", *faults)
    first, second = produced(broker.bootstrap, 2, **{"reconnect.backoff.ms": 10})
    assert first == "_TRANSPORT"
    assert second is None
    started = time.monotonic()
    metadata(broker.bootstrap)
    assert time.monotonic() - started >= 0.4, "each answer takes that long at least"
    assert broker.end()[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "65536"], "--port"),
        (["--port", "65535", "--brokers", "2"], "give a lower --port"),
        (["--brokers", "0"], "--brokers"),
        (["--topic", "orders"], "NAME:PARTITIONS"),
        (["--topic", "orders:0"], "NAME:PARTITIONS"),
        (["--topic", "my orders:1"], "is not a topic name"),
        (["--topic", "a:1", "--topic", "a:2"], "names the same topic twice"),
        (["--fault", "Produce"], "API:ERROR"),
        (["--fault", "Produce:_TRANSPORT:0"], "API:ERROR"),
        (["--fault", "Produse:_TRANSPORT"], "did you mean 'Produce'"),
        (["--fault", "Produce:NO_SUCH"], "no Kafka error named 'NO_SUCH'"),
        (["--round-trip-time", "-1"], "--round-trip-time"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_exit_2(arguments: list[str], says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "swarm_cli", "broker", "--port", "0", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "swarm_cli", "broker", "--port", str(port)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert f"Port {port} on 127.0.0.1 is in use by another process" in done.stderr
