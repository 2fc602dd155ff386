"""An embedded Kafka broker for tests, demos and development, with fault injection.

This is its owner's view; `_brokers/embedded_broker_host.py` is its process, which hosts librdkafka's mock cluster.
Its limits: all data is in memory and gone when the process ends; a partition keeps about 5 MiB and drops what is older;
transactions succeed without their meaning; with the classic group protocol static membership has no effect; there is no
admin API, no SASL and no TLS. What needs those needs a real broker.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, Self

from swarm_consumer.testing._brokers.host_process import HostProcess
from swarm_consumer.testing._foreground import add_topic_option, run_in_foreground
from swarm_consumer.testing.errors import BrokerError, UnsupportedByBroker

HOST_MODULE = "swarm_consumer.testing._brokers.embedded_broker_host"
GroupProtocol = Literal["classic", "consumer"]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


class EmbeddedBroker:
    """A mock Kafka cluster in a process of its own.

    ``topics`` maps names to partition counts; ``ports`` fixes the brokers' ports (0: a free one, kept over restarts);
    ``heartbeat_interval_s`` and ``session_timeout_s`` are for groups of ``group.protocol=consumer``;
    ``rebalance_delay_s`` is how long a new classic group waits for more members; ``hidden_symbols`` are C symbols to
    treat as missing, which is how the fallback can be tried. Use it as a context manager, or call start() and close().
    """

    def __init__(
        self,
        topics: Mapping[str, int] | None = None,
        *,
        brokers: int = 1,
        ports: Sequence[int] | None = None,
        heartbeat_interval_s: float = 0.2,
        session_timeout_s: float = 3.0,
        rebalance_delay_s: float = 0.1,
        timeout_s: float = 10.0,
        hidden_symbols: Collection[str] = (),
    ) -> None:
        if brokers < 1:
            raise BrokerError(f"An embedded broker needs at least one broker, not {brokers}.")
        self._ports = list(ports) if ports is not None else [0] * brokers
        if len(self._ports) != brokers:
            raise BrokerError(f"{brokers} brokers need {brokers} ports, not {len(self._ports)}.")
        self._brokers = brokers
        self._topics: dict[str, tuple[int, int]] = {name: (count, 1) for name, count in (topics or {}).items()}
        self._group_timing = (heartbeat_interval_s, session_timeout_s)
        self._rebalance_delay_s = rebalance_delay_s
        self._timeout_s = timeout_s
        self._hidden_symbols = sorted(hidden_symbols)
        self._process: HostProcess | None = None
        self._bootstrap = ""
        self._capabilities: frozenset[str] = frozenset()
        self._limitation: str | None = None

    def start(self) -> Self:
        """Start the process and create the topics; raises BrokerError when that fails. Does nothing when it runs."""
        if self._process is not None and self._process.alive:
            return self
        if self._process is not None:
            self._process.kill()  # it ended unexpectedly: reap it
        self._process = HostProcess(HOST_MODULE, "embedded broker")
        try:
            self._start_cluster()
        except BaseException:
            self.close()
            raise
        return self

    def _start_cluster(self) -> None:
        start = {"brokers": self._brokers, "ports": self._ports, "hidden": self._hidden_symbols}
        ready = self._request("start", **start)
        self._bootstrap = ready["bootstrap"]
        self._capabilities = frozenset(ready["capabilities"])
        self._limitation = ready["limitation"]
        if self._limitation is None:
            self._ports = [int(address.rsplit(":", 1)[1]) for address in self._bootstrap.split(",")]
        for command, arguments in (
            (
                "set_group_timing",
                dict(zip(("heartbeat_ms", "session_ms"), map(_milliseconds, self._group_timing), strict=True)),
            ),
            ("set_rebalance_delay", {"milliseconds": _milliseconds(self._rebalance_delay_s)}),
        ):
            if command in self._capabilities:
                self._request(command, **arguments)
        for name, (partitions, replication) in self._topics.items():
            self._request("create_topic", name=name, partitions=partitions, replication=replication)

    def close(self) -> None:
        """End the process; all data is gone. Does nothing when it has ended, or in a process forked from the owner."""
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
    def pid(self) -> int | None:
        """The process id of the hosting process, None when it was never started or was closed."""
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the hosting process runs."""
        return self._process is not None and self._process.alive

    @property
    def capabilities(self) -> frozenset[str]:
        """The methods that this librdkafka allows, by name."""
        return self._capabilities

    @property
    def limitation(self) -> str | None:
        """Why this is only librdkafka's plain mock cluster; None when it is fully under control."""
        return self._limitation

    def client_settings(self, group_protocol: GroupProtocol = "consumer") -> dict[str, str | int]:
        """Return Kafka properties for a consumer of this broker, its address included, that make tests fast.

        With the classic protocol the mock ends a rebalance only session.timeout.ms minus one second after it began, so
        that is short here; an empty fetch waits for the whole fetch.wait.max.ms, and new records do not cut it short.
        """
        settings: dict[str, str | int] = {
            "bootstrap.servers": self._bootstrap,
            "group.protocol": group_protocol,
            "fetch.wait.max.ms": 10,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "topic.metadata.refresh.interval.ms": 1000,
        }
        if group_protocol == "classic":
            settings |= {"session.timeout.ms": 1500, "heartbeat.interval.ms": 100}
        return settings

    def create_topic(self, name: str, partitions: int = 1, replication: int = 1) -> None:
        """Create a topic; raises BrokerError when it exists. A restarted broker has it again, empty."""
        self._request("create_topic", name=name, partitions=partitions, replication=replication)
        self._topics[name] = (partitions, replication)

    def delete_topic(self, name: str) -> None:
        """Delete a topic and its records; raises BrokerError when there is none."""
        self._request("delete_topic", name=name)
        self._topics.pop(name, None)

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """Delete a partition's records before an offset, as retention would; raises BrokerError."""
        self._request("delete_records", topic=topic, partition=partition, before_offset=before_offset)

    def set_topic_error(self, topic: str, error: str | None) -> None:
        """Answer metadata requests for the topic with an error, such as TOPIC_AUTHORIZATION_FAILED; None ends it."""
        self._request("set_topic_error", topic=topic, error=error)

    def take_down(self, broker: int | None = None) -> None:
        """Close a broker's port and connections, or every broker's; its data stays and no leader moves."""
        self._request("take_down", broker=broker)

    def bring_up(self, broker: int | None = None) -> None:
        """Open a broker's port again, or every broker's."""
        self._request("bring_up", broker=broker)

    def set_round_trip_time(self, seconds: float, broker: int | None = None) -> None:
        """Delay every response of a broker, or of all, by this many seconds."""
        self._request("set_round_trip_time", broker=broker, milliseconds=_milliseconds(seconds))

    def inject_errors(
        self, api: str, errors: Sequence[str | None], *, broker: int | None = None, delay_s: float = 0.0
    ) -> None:
        """Answer the next len(errors) requests of one kind with these errors, in order.

        ``api`` is a request's name ("Produce", "OffsetCommit", "Heartbeat"), an error a Kafka error's name
        ("NOT_COORDINATOR"); "_TRANSPORT" drops the connection and None is an answer as usual. With ``delay_s`` each of
        these answers also waits that many seconds. With a broker only its answers are concerned; with a delay and no
        broker, every broker has a list of its own.
        """
        self._request("inject_errors", api=api, errors=list(errors), broker=broker, milliseconds=_milliseconds(delay_s))

    def clear_errors(self, api: str) -> None:
        """Forget the injected errors that one kind of request has not used up yet."""
        self._request("clear_errors", api=api)

    def move_leader(self, topic: str, partition: int, broker: int) -> None:
        """Make a broker the leader of a partition."""
        self._request("move_leader", topic=topic, partition=partition, broker=broker)

    def move_coordinator(self, key: str, broker: int, kind: Literal["group", "transaction"] = "group") -> None:
        """Make a broker the coordinator of a group, or of a transactional id."""
        self._request("move_coordinator", kind=kind, key=key, broker=broker)

    def set_rebalance_delay(self, seconds: float) -> None:
        """Set how long a classic group that is new waits for more members; kept over restarts."""
        self._request("set_rebalance_delay", milliseconds=_milliseconds(seconds))
        self._rebalance_delay_s = seconds

    def set_group_timing(self, heartbeat_interval_s: float, session_timeout_s: float) -> None:
        """Set what members of ``group.protocol=consumer`` are told to keep to; kept over restarts."""
        timing = (heartbeat_interval_s, session_timeout_s)
        self._request("set_group_timing", heartbeat_ms=_milliseconds(timing[0]), session_ms=_milliseconds(timing[1]))
        self._group_timing = timing

    def set_api_versions(self, api: str, lowest: int, highest: int) -> None:
        """Offer only these versions of a request, like an older broker."""
        self._request("set_api_versions", api=api, lowest=lowest, highest=highest)

    def track_requests(self, on: bool = True) -> None:
        """Start counting requests, or stop and forget them. Each one counted takes memory in the broker's process."""
        self._request("track_requests", on=on)

    def request_counts(self, reset: bool = True) -> dict[str, int]:
        """Return how many requests of each kind came since track_requests(), or since the last reset."""
        counts: dict[str, int] = self._request("request_counts", reset=reset)
        return counts

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash would: every connection breaks and all data is gone."""
        if self._process is None:
            raise BrokerError("The embedded broker does not run: start it before you kill it.")
        self._process.kill()

    def restart(self) -> None:
        """Start again on the same ports with the same topics, empty: the data was memory of the process that ended.

        Works after kill(), after a crash and while running (then it is killed first). Raises UnsupportedByBroker
        with the plain fallback, which cannot come back on the same port.
        """
        if self._process is None:
            raise BrokerError("The embedded broker does not run: start it before you restart it.")
        if self._limitation is not None:
            raise UnsupportedByBroker(f"The embedded broker cannot restart on its port here. {self._limitation}")
        self._process.kill()
        self.start()

    def _request(self, command: str, **arguments: object) -> Any:
        if self._process is None:
            raise BrokerError(f"The embedded broker does not run: start it before {command.replace('_', ' ')}.")
        return self._process.request(command, arguments, self._timeout_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an embedded broker in the foreground until SIGINT or SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m swarm_consumer.testing.embedded_broker", description=main.__doc__)
    parser.add_argument(
        "--port",
        type=int,
        default=9092,
        help="port of the first broker; the others use the following ports; 0: free ports",
    )
    parser.add_argument("--brokers", type=int, default=1)
    parser.add_argument("--round-trip-time-ms", type=float, default=0.0, help="delay every response by MS milliseconds")
    parser.add_argument(
        "--error", action="append", default=[], metavar="API:NAME[:COUNT]", help="inject request errors"
    )
    add_topic_option(parser)
    options = parser.parse_args(arguments)
    return run_embedded_broker(
        port=options.port,
        brokers=options.brokers,
        topics=dict(options.topic),
        round_trip_time_s=options.round_trip_time_ms / 1000,
        errors=options.error,
    )


def run_embedded_broker(
    *,
    port: int = 9092,
    brokers: int = 1,
    topics: Mapping[str, int] | None = None,
    round_trip_time_s: float = 0.0,
    errors: Sequence[str] = (),
) -> int:
    """Run an embedded broker in the foreground: print its address, wait for SIGINT or SIGTERM, end it.

    For the main thread. ``errors`` are texts of the form "Produce:NOT_LEADER_FOR_PARTITION:3": the next three Produce
    requests fail so. A broker process that crashes is restarted, empty. Returns the exit code: 0, or 2 when it could
    not start as asked.
    """
    ports = [port + index if port else 0 for index in range(brokers)]
    try:
        broker = EmbeddedBroker(topics, brokers=brokers, ports=ports)
        broker.start()
    except BrokerError as error:
        sys.stderr.write(f"{error}\n")
        return 2

    def apply_faults() -> None:
        if round_trip_time_s:
            broker.set_round_trip_time(round_trip_time_s)
        for text in errors:
            broker.inject_errors(*_parse_errors(text))

    return run_in_foreground(broker, "embedded broker, in memory only", apply_faults, apply_faults)


def _parse_errors(text: str) -> tuple[str, list[str | None]]:
    api, _, rest = text.partition(":")
    name, _, count = rest.partition(":")
    if not name or (count and not count.isdigit()):
        raise BrokerError(
            f"{text!r} is not an error to inject; write API:NAME or API:NAME:COUNT, as in Produce:_TRANSPORT:3."
        )
    return api, [name] * int(count or 1)


if __name__ == "__main__":
    sys.exit(main())
