"""A real Apache Kafka broker for tests and development. The owner's view; `_brokers/kafka_host.py` is its warden's.

One KRaft node on free loopback ports, with its data in a temporary folder. Java and Maven are needed, or
KAFKA_BOOTSTRAP_SERVERS: then every real broker is that cluster.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from swarm_consumer.testing._brokers import kafka_distribution as distribution
from swarm_consumer.testing._brokers.host_process import HostProcess
from swarm_consumer.testing._foreground import add_topic_option, run_in_foreground
from swarm_consumer.testing.errors import BrokerError, KafkaUnavailable, UnsupportedByBroker

HOST_MODULE = "swarm_consumer.testing._brokers.kafka_host"
BOOTSTRAP_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
DEFAULT_PORT = 9092
GroupProtocol = Literal["classic", "consumer"]

# One node: every replication factor is 1. Tests rebalance and crash on purpose: group timeouts are short, and may be
# set shorter. A default is also the lowest value allowed for groups of group.protocol=consumer, so that both are given.
# After a crash a broker waits until its own former session has ended (broker.session.timeout.ms, 9 s by default).
DEFAULT_PROPERTIES = {
    "num.partitions": "1",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "200",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "3000",
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "log.cleaner.enable": "false",
    "log.retention.ms": "-1",  # records of tests may be of any age: each five minutes a broker deletes what is too old
}


class KafkaBroker:
    """A real broker: started here with Java, or the cluster that KAFKA_BOOTSTRAP_SERVERS names.

    ``port`` fixes the port (0: a free one, kept over restarts); ``properties`` are broker properties that win over
    DEFAULT_PROPERTIES. Use it as a context manager, or call start() and close().
    """

    def __init__(
        self,
        *,
        port: int = 0,
        properties: Mapping[str, str | int] | None = None,
        version: str = distribution.KAFKA_VERSION,
        start_timeout_s: float = 60.0,
        bootstrap: str | None = None,
    ) -> None:
        self._port = port
        self._properties = {**DEFAULT_PROPERTIES, **{key: str(value) for key, value in (properties or {}).items()}}
        self._version = version
        self._start_timeout_s = start_timeout_s
        self._external = bootstrap if bootstrap is not None else os.environ.get(BOOTSTRAP_VARIABLE) or None
        self._bootstrap = self._external or ""
        self._folder: Path | None = None
        self._process: HostProcess | None = None

    def start(self) -> Self:
        """Start the broker and wait until it answers. Does nothing when it runs, or for an external cluster.

        Raises KafkaUnavailable when Java or Maven is missing, and BrokerError when Kafka does not start.
        """
        if self._external or self._process is not None:
            return self
        java = distribution.find_program("java")
        libraries = distribution.resolve(self._version)
        self._process = HostProcess(HOST_MODULE, "Kafka broker's warden")
        try:
            ready = self._request(
                "start", java=java, libraries=str(libraries), port=self._port, properties=self._properties
            )
        except BaseException:
            self.close()
            raise
        self._bootstrap = ready["bootstrap"]
        self._folder = Path(ready["folder"])
        return self

    def close(self) -> None:
        """End the broker and remove its data. A no-op when closed, or in a process forked from the owner."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bootstrap(self) -> str:
        """The value for bootstrap.servers; the same before and after restart()."""
        return self._bootstrap

    @property
    def folder(self) -> Path | None:
        """The folder with the broker's data, server.properties and kafka.log; None when it does not run here."""
        return self._folder

    @property
    def external(self) -> bool:
        """Whether this is an external cluster, which is used but never stopped."""
        return self._external is not None

    @property
    def alive(self) -> bool:
        """Whether the broker's process runs; True for an external cluster."""
        if self._external:
            return True
        return self._process is not None and self._process.alive and bool(self._request("status")["alive"])

    @property
    def pid(self) -> int | None:
        """The process id of the broker (Java), None when it does not run here."""
        pid: int | None = None if self._process is None else self._request("status")["pid"]
        return pid

    def client_settings(self, group_protocol: GroupProtocol = "consumer") -> dict[str, str | int]:
        """Return Kafka properties for a consumer of this broker, its address included, that make tests fast."""
        settings: dict[str, str | int] = {
            "bootstrap.servers": self._bootstrap,
            "group.protocol": group_protocol,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "topic.metadata.refresh.interval.ms": 1000,
        }
        if group_protocol == "classic":
            settings |= {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300}
        return settings

    def create_topic(self, name: str, partitions: int = 1, replication: int = 1) -> None:
        """Create a topic and wait until it can be used; raises BrokerError when it exists."""
        from swarm_consumer.testing.outside_client import create_topic

        create_topic(self._bootstrap, name, partitions, replication)

    def delete_topic(self, name: str) -> None:
        """Delete a topic and its records; raises BrokerError when there is none."""
        from swarm_consumer.testing.outside_client import delete_topic

        delete_topic(self._bootstrap, name)

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """Delete a partition's records before an offset, as retention would; raises BrokerError."""
        from swarm_consumer.testing.outside_client import delete_records

        delete_records(self._bootstrap, topic, partition, before_offset)

    def kill(self) -> None:
        """End the broker with SIGKILL, as a crash would; its data stays for restart()."""
        self._request("kill")

    def restart(self) -> None:
        """Start the broker again on the same port with its data; a running one is stopped gracefully first."""
        self._request("restart")

    def _request(self, command: str, **arguments: object) -> Any:
        if self._external:
            raise UnsupportedByBroker(
                f"{BOOTSTRAP_VARIABLE} names a foreign cluster, which is not ours to {command}; unset it."
            )
        if self._process is None:
            raise BrokerError(f"The Kafka broker does not run: start it before you {command} it.")
        if command in ("start", "restart"):
            arguments["timeout_s"] = self._start_timeout_s
        # Twice: formatting the data folder, or stopping in order, comes before the start and has no limit of its own.
        return self._process.request(command, arguments, 2 * self._start_timeout_s)


def _default_port() -> int:
    with contextlib.suppress(OSError), socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", DEFAULT_PORT))
        return DEFAULT_PORT
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a real Kafka broker in the foreground until SIGINT or SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m swarm_consumer.testing.kafka_broker", description=main.__doc__)
    parser.add_argument("--port", type=int, help=f"default: {DEFAULT_PORT} when it is free, else any free one")
    parser.add_argument("--property", action="append", default=[], metavar="NAME=VALUE", help="of the broker")
    add_topic_option(parser)
    options = parser.parse_args(arguments)
    properties = dict(text.partition("=")[::2] for text in options.property)
    port = _default_port() if options.port is None else options.port
    broker = KafkaBroker(port=port, properties={"auto.create.topics.enable": "true", **properties})
    if broker.external:
        sys.stderr.write(f"{BOOTSTRAP_VARIABLE} is set to {broker.bootstrap}; unset it to run a broker here.\n")
        return 2
    try:
        broker.start()
    except BrokerError as error:
        sys.stderr.write(f"{error}\n")
        return 1 if isinstance(error, KafkaUnavailable) else 2
    except KeyboardInterrupt:
        return 0

    def create_topics() -> None:
        for name, partitions in options.topic:
            broker.create_topic(name, partitions)

    description = f"Apache Kafka {distribution.KAFKA_VERSION}, data removed at the end"
    return run_in_foreground(broker, description, create_topics, after_restart=lambda: None)  # the data has outlived it


if __name__ == "__main__":
    sys.exit(main())
