"""Questions to the brokers before anything is run.

Are they there, do the topics exist, does the client take its properties?

It makes clients, and with them threads: call it in a short-lived process, never in one that will fork.
"""

from __future__ import annotations

import time

import confluent_kafka
import msgspec
from confluent_kafka import KafkaError, KafkaException

from swarm_consumer._connection.client_properties import ClientProperties, client_error
from swarm_consumer.app import App
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.kafka.connection_reasons import connection_reason
from swarm_consumer.routing.selection import Selection


class ClusterReport(msgspec.Struct, kw_only=True):
    """What was found.

    reachable: whether a broker answered. error: why not. topics: partitions by topic name, None for
    a topic that does not exist; patterns are not listed. property_errors: what clients say about their properties.
    """

    reachable: bool = False
    error: str | None = None
    brokers: list[str] = []
    topics: dict[str, int | None] = {}
    property_errors: list[str] = []


def check_cluster(app: App, selection: Selection | None = None, timeout_s: float = 10.0) -> ClusterReport:
    """Ask the brokers about everything the selection runs; never raises for what they answer, or do not."""
    report = ClusterReport()
    deadline = time.monotonic() + timeout_s
    for group in (selection or Selection()).apply(app.subscription_groups()):
        properties = ClientProperties(group, app.client_id, None)
        reasons: dict[str, None] = {}

        def noted(error: KafkaError, reasons: dict[str, None] = reasons) -> None:
            reasons.setdefault(error.str())

        configuration = {**properties.for_client(), "error_cb": noted, "statistics.interval.ms": 0, "log_level": 0}
        configuration.pop("group.instance.id", None)  # asking is not joining
        configuration.pop("debug", None)  # it would win over log_level, and write past the application's log
        try:
            client = confluent_kafka.Consumer(configuration)
        except (KafkaException, TypeError, ValueError) as error:
            refusal: ConfigurationError = client_error(error, properties)
            report.property_errors.append(str(refusal))
            continue
        try:
            # error_cb is served by poll alone; without a subscription poll returns nothing else.
            metadata = None
            problem = ""
            while metadata is None:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    break
                try:
                    metadata = client.list_topics(timeout=min(remaining, 1.0))
                except KafkaException as error:
                    problem = error.args[0].str()
                    client.poll(0)
            if metadata is None:
                report.error = properties.scrub(connection_reason(reasons, connection_reason([problem])))
                continue
            report.reachable = True
            report.brokers = sorted({f"{broker.host}:{broker.port}" for broker in metadata.brokers.values()})
            for route in group.routes:
                if route.is_pattern:
                    continue
                known = metadata.topics.get(route.topic)
                exists = known is not None and known.error is None and known.partitions
                report.topics[route.topic] = len(known.partitions) if exists else None
        finally:
            client.close()
    return report
