"""librdkafka's mock cluster, driven through ctypes. Used only inside the process of `_embedded_broker_host.py`.

The library is the very one that the confluent-kafka wheel carries, so that nothing else has to be installed. Its mock
API (src/rdkafka_mock.h) is marked experimental: every symbol is looked up first, and what is missing is named.
"""

import ctypes
import difflib
import glob
import importlib
import importlib.util
import os
import socket
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from swarm_consumer.testing.errors import BrokerError, UnsupportedByBroker

HOST = "127.0.0.1"
ALL_BROKERS = -1
PLAIN_PARTITIONS = 4  # mcluster->defaults.partition_cnt in rdkafka_mock.c; the plain configuration cannot change it
PRODUCER = 0  # rd_kafka_type_t

# Request names by ApiKey: https://kafka.apache.org/protocol#protocol_api_keys
API_KEYS = {
    "Produce": 0,
    "Fetch": 1,
    "ListOffsets": 2,
    "Metadata": 3,
    "OffsetCommit": 8,
    "OffsetFetch": 9,
    "FindCoordinator": 10,
    "JoinGroup": 11,
    "Heartbeat": 12,
    "LeaveGroup": 13,
    "SyncGroup": 14,
    "DescribeGroups": 15,
    "ListGroups": 16,
    "SaslHandshake": 17,
    "ApiVersions": 18,
    "CreateTopics": 19,
    "DeleteTopics": 20,
    "DeleteRecords": 21,
    "InitProducerId": 22,
    "OffsetForLeaderEpoch": 23,
    "AddPartitionsToTxn": 24,
    "AddOffsetsToTxn": 25,
    "EndTxn": 26,
    "TxnOffsetCommit": 28,
    "DescribeConfigs": 32,
    "SaslAuthenticate": 36,
    "CreatePartitions": 37,
    "DeleteGroups": 42,
    "DescribeCluster": 60,
    "ConsumerGroupHeartbeat": 68,
    "ConsumerGroupDescribe": 69,
    "GetTelemetrySubscriptions": 71,
    "PushTelemetry": 72,
}
API_NAMES = {key: name for name, key in API_KEYS.items()}

_pointer, _string, _int, _int16, _int32, _size = (
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_int16,
    ctypes.c_int32,
    ctypes.c_size_t,
)


class _ErrorDescription(ctypes.Structure):
    _fields_ = (("code", _int), ("name", _string), ("description", _string))


# symbol -> (result type, argument types)
SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "rd_kafka_conf_new": (_pointer, ()),
    "rd_kafka_conf_set": (_int, (_pointer, _string, _string, _string, _size)),
    "rd_kafka_new": (_pointer, (_int, _pointer, _string, _size)),
    "rd_kafka_destroy": (None, (_pointer,)),
    "rd_kafka_err2str": (_string, (_int,)),
    "rd_kafka_get_err_descs": (
        None,
        (ctypes.POINTER(ctypes.POINTER(_ErrorDescription)), ctypes.POINTER(_size)),
    ),
    "rd_kafka_mock_cluster_new": (_pointer, (_pointer, _int)),
    "rd_kafka_mock_cluster_destroy": (None, (_pointer,)),
    "rd_kafka_mock_cluster_bootstraps": (_string, (_pointer,)),
    "rd_kafka_mock_topic_create": (_int, (_pointer, _string, _int, _int)),
    "rd_kafka_mock_topic_delete": (_int, (_pointer, _string)),
    "rd_kafka_mock_partition_delete_records": (_int, (_pointer, _string, _int32, ctypes.c_int64)),
    "rd_kafka_mock_topic_set_error": (None, (_pointer, _string, _int)),
    "rd_kafka_mock_broker_set_down": (_int, (_pointer, _int32)),
    "rd_kafka_mock_broker_set_up": (_int, (_pointer, _int32)),
    "rd_kafka_mock_broker_set_rtt": (_int, (_pointer, _int32, _int)),
    "rd_kafka_mock_broker_set_host_port": (None, (_pointer, _int32, _string, _int)),
    "rd_kafka_mock_partition_set_leader": (_int, (_pointer, _string, _int32, _int32)),
    "rd_kafka_mock_coordinator_set": (_int, (_pointer, _string, _string, _int32)),
    "rd_kafka_mock_push_request_errors_array": (None, (_pointer, _int16, _size, ctypes.POINTER(_int))),
    "rd_kafka_mock_clear_request_errors": (None, (_pointer, _int16)),
    "rd_kafka_mock_broker_push_request_error_rtts": (_int, (_pointer, _int32, _int16, _size)),  # then C varargs
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, (_pointer, _int32)),
    "rd_kafka_mock_set_group_consumer_heartbeat_interval_ms": (None, (_pointer, _int)),
    "rd_kafka_mock_set_group_consumer_session_timeout_ms": (None, (_pointer, _int)),
    "rd_kafka_mock_set_apiversion": (_int, (_pointer, _int16, _int16, _int16)),
    "rd_kafka_mock_start_request_tracking": (None, (_pointer,)),
    "rd_kafka_mock_stop_request_tracking": (None, (_pointer,)),
    "rd_kafka_mock_get_requests": (ctypes.POINTER(_pointer), (_pointer, ctypes.POINTER(_size))),
    "rd_kafka_mock_request_api_key": (_int16, (_pointer,)),
    "rd_kafka_mock_request_destroy_array": (None, (ctypes.POINTER(_pointer), _size)),
    "rd_kafka_mock_clear_requests": (None, (_pointer,)),
}

# Without one of these there is no controlled cluster at all, and the plain one takes its place.
ESSENTIAL = frozenset(
    {
        "rd_kafka_conf_new",
        "rd_kafka_conf_set",
        "rd_kafka_new",
        "rd_kafka_destroy",
        "rd_kafka_err2str",
        "rd_kafka_get_err_descs",
        "rd_kafka_mock_cluster_new",
        "rd_kafka_mock_cluster_destroy",
        "rd_kafka_mock_cluster_bootstraps",
        "rd_kafka_mock_topic_create",
        "rd_kafka_mock_broker_set_up",
        "rd_kafka_mock_broker_set_host_port",
    }
)

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


class MissingSymbols(BrokerError):
    """This librdkafka does not export what a controlled mock cluster needs."""


class Cluster(Protocol):
    """What the hosting process drives: the controlled cluster, or the plain one."""

    bootstrap: str
    limitation: str | None
    capabilities: frozenset[str]

    def execute(self, command: str, arguments: dict[str, Any]) -> object:
        """Do what was asked and return its result; raises BrokerError with a sentence."""

    def close(self) -> None:
        """Free the cluster."""


def find_librdkafka() -> str:
    """Return the path of the librdkafka that confluent-kafka uses; raises BrokerError when it cannot be found."""
    specification = importlib.util.find_spec("confluent_kafka")
    if specification is None or specification.origin is None:
        raise BrokerError("confluent-kafka is not installed; install it, its librdkafka hosts the embedded broker.")
    folder = os.path.dirname(specification.origin)
    bundled = sorted(glob.glob(os.path.join(folder, os.pardir, "confluent_kafka.libs", "librdkafka*.so*")))
    if bundled:
        return os.path.realpath(bundled[0])
    importlib.import_module("confluent_kafka.cimpl")  # built from source: linked to the system's librdkafka
    with open("/proc/self/maps") as maps:
        for line in maps:
            if "librdkafka" in line:
                return line.split()[-1]
    raise BrokerError("No shared librdkafka belongs to the installed confluent-kafka; install its binary wheel.")


def nearest(name: str, known: Collection[str], what: str) -> str:
    """Return the sentence that refuses an unknown name."""
    match = difflib.get_close_matches(name, known, 1, 0.5)
    return f"There is no {what} named {name!r}" + (f"; did you mean {match[0]!r}?" if match else ".")


class Librdkafka:
    """The C functions that exist in this library, with their types set."""

    def __init__(self, path: str, hidden: Collection[str] = ()) -> None:
        library = ctypes.CDLL(path)
        self.missing: set[str] = set()
        self._functions: dict[str, Callable[..., Any]] = {}
        for symbol, (result, arguments) in SIGNATURES.items():
            function = None if symbol in hidden else getattr(library, symbol, None)
            if function is None:
                self.missing.add(symbol)
                continue
            function.restype, function.argtypes = result, arguments
            self._functions[symbol] = function

    def __getattr__(self, symbol: str) -> Callable[..., Any]:
        try:
            return self._functions[symbol]
        except KeyError:
            raise MissingSymbols(f"This librdkafka does not export {symbol}.") from None

    def error_codes(self) -> dict[str, int]:
        """Return the library's error codes by name, such as NOT_COORDINATOR and _TRANSPORT."""
        descriptions, count = ctypes.POINTER(_ErrorDescription)(), _size()
        self.rd_kafka_get_err_descs(ctypes.byref(descriptions), ctypes.byref(count))
        entries = (descriptions[index] for index in range(count.value))
        return {entry.name.decode(): entry.code for entry in entries if entry.name}


class Listener:
    """One mock broker's listening socket, moved to a port of our choice.

    The mock binds 127.0.0.1:0 and its API has no word for another port. But its thread knows its listener only by the
    number of the descriptor: dup2() of a socket of ours over that number moves it. Two sockets that are bound and
    never listen keep both ports from being given to anybody else while the broker is down (both sides set SO_REUSEADDR;
    Linux then lets a bound socket stand beside a listening one).
    """

    def __init__(self, mock_port: int, port: int, wake: Callable[[], None]) -> None:
        self._mock_port = mock_port
        self._wake = wake
        self._reserved = _bind(port)
        self.port: int = self._reserved.getsockname()[1]
        self.move()
        # If somebody else had this port when the broker goes down, librdkafka would abort (assert in SET_UPDOWN).
        self._reserved_mock_port = _bind(mock_port)

    def move(self) -> None:
        """Put a listening socket on our port in the place of the mock's own."""
        with _bind(self.port) as listening:
            try:
                listening.listen(128)
            except OSError:
                raise _port_taken(self.port) from None
            listening.setblocking(False)
            descriptor = _find_listening_descriptor(self._mock_port)
            if descriptor is None:
                raise BrokerError(f"The mock broker does not listen on port {self._mock_port}; restart it.")
            os.dup2(listening.fileno(), descriptor, inheritable=False)
        # poll(2) holds the file it began with: only the next round of the mock's thread lets go of the old listener and
        # looks at the new one.
        self._wake()

    def bring_back(self) -> None:
        """Move the listener again after its broker came up: the mock listens on its own port then."""
        if _find_listening_descriptor(self._mock_port) is not None:  # None: the broker was up already
            self.move()

    def close(self) -> None:
        """Give both ports back."""
        self._reserved.close()
        self._reserved_mock_port.close()


def _bind(port: int) -> socket.socket:
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise _port_taken(port) from None
    return bound


def _port_taken(port: int) -> BrokerError:
    return BrokerError(f"Port {port} on {HOST} is taken by another process; choose another port, or 0 for a free one.")


def _find_listening_descriptor(port: int) -> int | None:
    for name in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:  # not a socket, or the descriptor of the listing itself
            continue
        with found:
            if (
                found.family == socket.AF_INET
                and found.getsockname()[1] == port
                and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            ):
                return int(name)
    return None


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
            array = (_int * len(codes))(*codes)
            self._library.rd_kafka_mock_push_request_errors_array(self._cluster, key, len(codes), array)
            return
        number = self._broker(broker)
        pairs = [_int(value) for code in codes for value in (code, milliseconds)]
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
        count = _size()
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


class PlainCluster:
    """The cluster that librdkafka starts for `test.mock.num.brokers`: it serves records and groups, obeys nothing."""

    capabilities = frozenset({"create_topic"})

    def __init__(self, brokers: int, ports: Sequence[int], reason: str) -> None:
        from confluent_kafka import Producer

        self.limitation: str | None = (
            f"{reason} So the embedded broker is librdkafka's plain one: a free port, {PLAIN_PARTITIONS} partitions in "
            "every topic and no faults. Install another version of confluent-kafka, or use a real broker."
        )
        if any(ports):
            raise UnsupportedByBroker(f"The embedded broker cannot use a port of your choice here. {self.limitation}")
        self._producer = Producer({"test.mock.num.brokers": brokers, "log_level": 3})
        known = self._producer.list_topics(timeout=10.0).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in known)

    def execute(self, command: str, arguments: dict[str, Any]) -> object:
        """Create a topic of four partitions; refuse everything else with a sentence."""
        if command != "create_topic":
            raise UnsupportedByBroker(f"The embedded broker cannot {command.replace('_', ' ')} here. {self.limitation}")
        if arguments["partitions"] != PLAIN_PARTITIONS or arguments["replication"] != 1:
            raise UnsupportedByBroker(
                f"The embedded broker cannot make a topic of {arguments['partitions']} partitions and "
                f"{arguments['replication']} replicas here. {self.limitation}"
            )
        self._producer.list_topics(arguments["name"], timeout=10.0)  # asking for it creates it
        return None

    def close(self) -> None:
        """Free the cluster: it lives inside the producer."""
        del self._producer
