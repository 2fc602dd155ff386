"""Pytest fixtures of the test kit, loaded by pytest through the ``pytest11`` entry point.

Pytest loads this file in every session of every project that has the package installed: it imports nothing heavy, and
the broker modules only inside the fixtures.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from swarm_consumer.testing.embedded_broker import EmbeddedBroker
    from swarm_consumer.testing.kafka_broker import KafkaBroker

REQUIRE_VARIABLE = "SWARM_REQUIRE_KAFKA"
MARKER = "real_kafka"


def kafka_required() -> bool:
    """Whether a skipped test of the real broker counts as a failure."""
    return os.environ.get(REQUIRE_VARIABLE) == "1"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", f"{MARKER}: needs a real Apache Kafka broker (Java and Maven, or KAFKA_BOOTSTRAP_SERVERS)"
    )


@pytest.hookimpl(tryfirst=True)  # before -m selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the kafka_broker fixture."""
    for item in items:
        if "kafka_broker" in getattr(item, "fixturenames", ()) and item.get_closest_marker(MARKER) is None:
            item.add_marker(MARKER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test of the real broker into a failed one where the broker is required."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and kafka_required() and item.get_closest_marker(MARKER):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{REQUIRE_VARIABLE}=1 requires a real Kafka broker, but this test was skipped. {reason}"
    return report


@pytest.fixture
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """A fresh embedded broker with no topics, for this test alone."""
    from swarm_consumer.testing.embedded_broker import EmbeddedBroker

    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """A real Kafka broker for the whole session; the test is skipped, with the reason, where none can run."""
    from swarm_consumer.testing.errors import KafkaUnavailable
    from swarm_consumer.testing.kafka_broker import KafkaBroker

    broker = KafkaBroker()
    try:
        broker.start()
    except KafkaUnavailable as error:
        pytest.skip(str(error))
    with broker:
        yield broker


@pytest.fixture
def topic_name(request: pytest.FixtureRequest) -> Callable[..., str]:
    """A function that creates unused topic and group names: ``topic_name()`` or ``topic_name("orders")``."""
    test = re.sub(r"[^a-zA-Z0-9_-]+", "-", request.node.name).strip("-")[:80]

    def make(prefix: str = test) -> str:
        return f"{prefix}-{uuid.uuid4().hex[:10]}"

    return make
