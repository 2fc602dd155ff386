"""The C functions of librdkafka's mock cluster, through ctypes, for the process of `embedded_broker_host.py`.

The library is the very one that the confluent-kafka wheel carries, so that nothing else has to be installed. Its mock
API (src/rdkafka_mock.h) is marked experimental: every symbol is looked up first, and what is missing is named.
"""

from __future__ import annotations

import ctypes
import glob
import importlib
import importlib.util
import os
from collections.abc import Callable, Collection
from typing import Any

from swarm_consumer.testing.errors import BrokerError

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


class MissingSymbols(BrokerError):
    """This librdkafka does not export what a controlled mock cluster needs."""


def find_librdkafka() -> str:
    """Return the path of the librdkafka that confluent-kafka uses; raises BrokerError when it cannot be found."""
    specification = importlib.util.find_spec("confluent_kafka")
    if specification is None or specification.origin is None:
        raise BrokerError("confluent-kafka is not installed; install it: its librdkafka hosts the embedded broker.")
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
