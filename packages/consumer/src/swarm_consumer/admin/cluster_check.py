"""Questions to the brokers before anything is run.

Are they there, do the topics exist, does the client take its properties?

It makes clients, and with them threads: call it in a short-lived process, never in one that will fork.
"""

from __future__ import annotations

import time
from typing import Protocol

import msgspec
from confluent_kafka import KafkaException

from swarm_consumer.admin._questions import CLIENTS, Questions, UnansweredError, always
from swarm_consumer.routing.client_properties import ClientProperties, client_error
from swarm_consumer.routing.routes import Routed
from swarm_consumer.routing.selection import Selection

LEAST_S = 1.0
"""Time for the next group after an answer for another: without it, its topics would not be checked."""


class Application(Routed, Protocol):
    """What the check needs of an application: its groups, and the name of its clients. `App` is one."""

    client_id: str


class ClusterReport(msgspec.Struct, kw_only=True):
    """The answer of a cluster."""

    reachable: bool = False
    """Whether a broker answered."""
    error: str | None = None
    """Why none did."""
    brokers: list[str] = []
    topics: dict[str, int | None] = {}
    """Partitions by topic name, None for a topic that does not exist; patterns are not listed."""
    property_errors: list[str] = []
    """The errors of clients about their properties."""


def check_cluster(app: Application, selection: Selection | None = None, timeout_s: float = 10.0) -> ClusterReport:
    """Ask the brokers about everything the selection runs; never raises for what they answer, or do not."""
    report = ClusterReport()
    deadline = time.monotonic() + timeout_s
    for group in (selection or Selection()).apply(app.subscription_groups()):
        properties = ClientProperties(group, app.client_id, None)
        questions = Questions(
            str(properties.in_effect().get("bootstrap.servers", "")), deadline - time.monotonic(), properties.secrets
        )
        try:
            client = CLIENTS.consumer(questions.client_properties(properties.for_client()), error_cb=questions.note)
        except (KafkaException, TypeError, ValueError) as error:
            report.property_errors.append(str(client_error(error, properties)))
            continue
        questions.poll = client.poll  # without a subscription it returns nothing
        try:
            metadata = questions.until(lambda left: client.list_topics(timeout=min(left, 1.0)), always)  # noqa: B023
        except UnansweredError as error:
            report.error = questions.reason(error.problem)
            continue
        finally:
            client.close()
        report.reachable = True
        deadline = max(deadline, time.monotonic() + LEAST_S)
        report.brokers = sorted({f"{broker.host}:{broker.port}" for broker in metadata.brokers.values()})
        for route in group.routes:
            if route.is_pattern:
                continue
            known = metadata.topics.get(route.topic)
            exists = known is not None and known.error is None and known.partitions
            report.topics[route.topic] = len(known.partitions) if exists else None
    return report
