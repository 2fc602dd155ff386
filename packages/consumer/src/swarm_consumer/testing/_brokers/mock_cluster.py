"""librdkafka's mock cluster under control. Used only inside the process of `_brokers/embedded_broker_host.py`."""

from __future__ import annotations

import ctypes
import difflib
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from swarm_consumer.testing._brokers.librdkafka import (
    API_KEYS,
    API_NAMES,
    ESSENTIAL,
    PRODUCER,
    Librdkafka,
    MissingSymbols,
    find_librdkafka,
)
from swarm_consumer.testing._brokers.mock_listener import HOST, Listener
from swarm_consumer.testing.errors import BrokerError, UnsupportedByBroker

ALL_BROKERS = -1

# What may be asked -> the symbols that it needs.
CAPABILITIES: dict[str, tuple[str, ...]] = {
    "create_topic": ("rd_kafka_mock_topic_create",),
    "delete_topic": ("rd_kafka_mock_topic_delete",),
    "delete_records": ("rd_kafka_mock_partition_delete_records",),
    "set_topic_error": ("rd_kafka_mock_topic_set_error",),
    "take_down": ("rd_kafka_mock_broker_set_down",),
    "bring_up": ("rd_kafka_mock_broker_set_up",),
    "set_round_trip_time": ("rd_kafka_mock_broker_set_rtt",),
    "inject_errors": ("rd_kafka_mock_push_request_errors_array", "rd_kafka_mock_broker_push_request_error_rtts"),
    "clear_errors": ("rd_kafka_mock_clear_request_errors",),
    "move_leader": ("rd_kafka_mock_partition_set_leader",),
    "move_coordinator": ("rd_kafka_mock_coordinator_set",),
    "set_rebalance_delay": ("rd_kafka_mock_group_initial_rebalance_delay_ms",),
    "set_group_timing": (
        "rd_kafka_mock_set_group_consumer_heartbeat_interval_ms",
        "rd_kafka_mock_set_group_consumer_session_timeout_ms",
    ),
    "set_api_versions": ("rd_kafka_mock_set_apiversion",),
    "track_requests": ("rd_kafka_mock_start_request_tracking", "rd_kafka_mock_stop_request_tracking"),
    "request_counts": (
        "rd_kafka_mock_get_requests",
        "rd_kafka_mock_request_api_key",
        "rd_kafka_mock_request_destroy_array",
        "rd_kafka_mock_clear_requests",
    ),
}


class Cluster(Protocol):
    """What the hosting process drives: the controlled cluster, or the plain one."""

    bootstrap: str
    limitation: str | None
    capabilities: frozenset[str]

    def execute(self, command: str, arguments: dict[str, Any]) -> object:
        """Do what was asked and return its result; raises BrokerError with a sentence."""

    def close(self) -> None:
        """Free the cluster."""


def nearest(name: str, known: Collection[str], what: str) -> str:
    """Return the sentence that refuses an unknown name."""
    match = difflib.get_close_matches(name, known, 1, 0.5)
    return f"There is no {what} named {name!r}" + (f"; did you mean {match[0]!r}?" if match else ".")


class MockCluster:
    """A mock cluster under control: topics, ports, faults, moves, group timings and request counts."""

    limitation: str | None = None

    def __init__(self, brokers: int, ports: Sequence[int], hidden: Collection[str] = ()) -> None:
        self._library = library = Librdkafka(find_librdkafka(), hidden)
        if missing := sorted(library.missing & ESSENTIAL):
            raise MissingSymbols(f"This librdkafka does not export {', '.join(missing)}.")
        self.capabilities = frozenset(
            name for name, symbols in CAPABILITIES.items() if library.missing.isdisjoint(symbols)
        )
        self._brokers = brokers
        self._errors = library.error_codes()
        message = ctypes.create_string_buffer(512)
        configuration = library.rd_kafka_conf_new()
        # log_level 3: the handle has no bootstrap.servers on purpose, and would complain about that at level 4.
        for key, value in (("client.id", "embedded-broker"), ("log_level", "3")):
            if library.rd_kafka_conf_set(configuration, key.encode(), value.encode(), message, len(message)) != 0:
                raise BrokerError(message.value.decode())
        self._handle = library.rd_kafka_new(PRODUCER, configuration, message, len(message))
        if not self._handle:
            raise BrokerError(f"librdkafka did not start: {message.value.decode()}.")
        self._cluster = library.rd_kafka_mock_cluster_new(self._handle, brokers)
        if not self._cluster:
            raise BrokerError(f"librdkafka could not make a mock cluster of {brokers} brokers.")
        addresses = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode().split(",")
        mock_ports = [int(address.rsplit(":", 1)[1]) for address in addresses]
        self._listeners = [Listener(*pair, self._wake) for pair in zip(mock_ports, ports, strict=True)]
        for number, listener in enumerate(self._listeners, start=1):
            library.rd_kafka_mock_broker_set_host_port(self._cluster, number, HOST.encode(), listener.port)
        self.bootstrap = ",".join(f"{HOST}:{listener.port}" for listener in self._listeners)

    def execute(self, command: str, arguments: dict[str, Any]) -> object:
        """Do what was asked and return its result; raises BrokerError with a sentence."""
        if command not in CAPABILITIES:
            raise BrokerError(nearest(command, CAPABILITIES, "command"))
        if command not in self.capabilities:
            missing = sorted(self._library.missing.intersection(CAPABILITIES[command]))
            raise UnsupportedByBroker(
                f"The embedded broker cannot {command.replace('_', ' ')} here: this librdkafka does not export "
                f"{', '.join(missing)}. Install another version of confluent-kafka, or use a real broker."
            )
        return getattr(self, f"_{command}")(**arguments)

    def close(self) -> None:
        """Free the cluster and its ports."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)
        for listener in self._listeners:
            listener.close()

    def _wake(self) -> None:
        # Any operation is answered by the mock's thread after its poll(2) returned; "up" for a broker that is up
        # changes nothing (rd_kafka_mock_broker_cmd).
        self._library.rd_kafka_mock_broker_set_up(self._cluster, 1)

    def _check(self, code: int, doing: str) -> None:
        if code:
            reason = self._library.rd_kafka_err2str(code).decode()
            raise BrokerError(f"The embedded broker could not {doing}: {reason}.")

    def _error(self, name: str | None) -> int:
        if name is None:
            return 0
        if name not in self._errors:
            raise BrokerError(nearest(name, self._errors, "Kafka error"))
        return self._errors[name]

    def _api(self, name: str) -> int:
        if name not in API_KEYS:
            raise BrokerError(nearest(name, API_KEYS, "Kafka request"))
        return API_KEYS[name]

    def _broker(self, broker: int | None) -> int:
        if broker is None:
            return ALL_BROKERS
        if not 1 <= broker <= self._brokers:
            raise BrokerError(f"There is no broker {broker}; this embedded broker has 1 to {self._brokers}.")
        return broker

    def _create_topic(self, name: str, partitions: int, replication: int) -> None:
        if partitions < 1 or not 1 <= replication <= self._brokers:
            raise BrokerError(
                f"Topic {name!r} needs at least 1 partition and 1 to {self._brokers} replicas, "
                f"not {partitions} and {replication}."
            )
        code = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, replication)
        self._check(code, f"create topic {name!r} with {partitions} partitions and {replication} replicas")

    def _delete_topic(self, name: str) -> None:
        code = self._library.rd_kafka_mock_topic_delete(self._cluster, name.encode())
        self._check(code, f"delete topic {name!r}")

    def _delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        delete = self._library.rd_kafka_mock_partition_delete_records
        code = delete(self._cluster, topic.encode(), partition, before_offset)
        self._check(code, f"delete the records of {topic!r}/{partition} before offset {before_offset}")

    def _set_topic_error(self, topic: str, error: str | None) -> None:
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), self._error(error))

    def _take_down(self, broker: int | None) -> None:
        code = self._library.rd_kafka_mock_broker_set_down(self._cluster, self._broker(broker))
        self._check(code, "take the broker down")

    def _bring_up(self, broker: int | None) -> None:
        number = self._broker(broker)
        for each in range(1, self._brokers + 1) if number == ALL_BROKERS else (number,):
            self._check(self._library.rd_kafka_mock_broker_set_up(self._cluster, each), "bring the broker up")
            self._listeners[each - 1].bring_back()

    def _set_round_trip_time(self, broker: int | None, milliseconds: int) -> None:
        code = self._library.rd_kafka_mock_broker_set_rtt(self._cluster, self._broker(broker), milliseconds)
        self._check(code, "set the round-trip time")

    def _inject_errors(self, api: str, errors: list[str | None], broker: int | None, milliseconds: int) -> None:
        key, codes = self._api(api), [self._error(name) for name in errors]
        if broker is None and not milliseconds:
            array = (ctypes.c_int * len(codes))(*codes)
            self._library.rd_kafka_mock_push_request_errors_array(self._cluster, key, len(codes), array)
            return
        number = self._broker(broker)
        pairs = [ctypes.c_int(value) for code in codes for value in (code, milliseconds)]
        for each in range(1, self._brokers + 1) if number == ALL_BROKERS else (number,):
            push = self._library.rd_kafka_mock_broker_push_request_error_rtts
            self._check(push(self._cluster, each, key, len(codes), *pairs), "inject errors")

    def _clear_errors(self, api: str) -> None:
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, self._api(api))

    def _move_leader(self, topic: str, partition: int, broker: int) -> None:
        # Broker -1 ("no leader") makes librdkafka read through a null pointer: _broker() refuses it.
        number = self._broker(broker)
        code = self._library.rd_kafka_mock_partition_set_leader(self._cluster, topic.encode(), partition, number)
        self._check(code, f"move the leader of {topic!r}/{partition} to broker {broker}")

    def _move_coordinator(self, kind: str, key: str, broker: int) -> None:
        number = self._broker(broker)
        code = self._library.rd_kafka_mock_coordinator_set(self._cluster, kind.encode(), key.encode(), number)
        self._check(code, f"move the {kind} coordinator of {key!r} to broker {broker}")

    def _set_rebalance_delay(self, milliseconds: int) -> None:
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, milliseconds)

    def _set_group_timing(self, heartbeat_ms: int, session_ms: int) -> None:
        self._library.rd_kafka_mock_set_group_consumer_heartbeat_interval_ms(self._cluster, heartbeat_ms)
        self._library.rd_kafka_mock_set_group_consumer_session_timeout_ms(self._cluster, session_ms)

    def _set_api_versions(self, api: str, lowest: int, highest: int) -> None:
        code = self._library.rd_kafka_mock_set_apiversion(self._cluster, self._api(api), lowest, highest)
        self._check(code, f"limit {api} to versions {lowest} to {highest}")

    def _track_requests(self, on: bool) -> None:
        symbol = "start" if on else "stop"
        getattr(self._library, f"rd_kafka_mock_{symbol}_request_tracking")(self._cluster)

    def _request_counts(self, reset: bool) -> dict[str, int]:
        count = ctypes.c_size_t()
        requests = self._library.rd_kafka_mock_get_requests(self._cluster, ctypes.byref(count))
        counts: dict[str, int] = {}
        for index in range(count.value):
            key = self._library.rd_kafka_mock_request_api_key(requests[index])
            name = API_NAMES.get(key, str(key))
            counts[name] = counts.get(name, 0) + 1
        self._library.rd_kafka_mock_request_destroy_array(requests, count.value)
        if reset:
            self._library.rd_kafka_mock_clear_requests(self._cluster)
        return counts
