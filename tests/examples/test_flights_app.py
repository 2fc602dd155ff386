"""The application on the embedded broker: every flight comes out, equal to the single-process pass."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.flights import app, enrich, produce, records, reference, source
from swarm_consumer import testing
from swarm_consumer.testing import EmbeddedBroker

ROOT = Path(app.__file__).parents[2]
FLIGHTS = 2_000

RUN = """
import json, sys
from examples.flights.app import create_app
sys.exit(create_app(json.loads(sys.argv[1])).run(signals=True))
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker({app.TOPIC: 4, app.OUTPUT_TOPIC: 4}) as broker:
        yield broker


def test_the_flights_topic_is_consumed_by_the_group_delays() -> None:
    route = app.app.routes[0]
    assert (route.topic, route.group) == ("flights", "delays")
    assert len(app.app.routes) == 1


def test_the_environment_may_name_topics_and_group() -> None:
    names = {"FLIGHTS_TOPIC": "in", "FLIGHTS_OUTPUT_TOPIC": "out", "FLIGHTS_GROUP": "team"}
    script = (
        "from examples.flights.app import app; route = app.routes[0]; "
        "print(route.topic, route.consumer.output_topic, route.group)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **names},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["in", "out", "team"]


def test_the_tables_are_loaded_with_the_module() -> None:
    assert len(app.REFERENCE.airports) == 93
    assert len(app.REFERENCE.weather) == 1764


def test_the_app_enriches_every_flight_like_a_single_process(
    broker: EmbeddedBroker, tables: reference.Reference
) -> None:
    seen: list[tuple[int, int]] = []
    done = produce.produce(broker.bootstrap, app.TOPIC, 4, lambda *progress: seen.append(progress), limit=FLIGHTS)
    assert (done.records, done.partitions) == (FLIGHTS, 4)
    assert seen[-1] == (FLIGHTS, FLIGHTS)

    expected = {
        key.encode(): records.encode(enrich.enrich(flight, tables))
        for (key, flight), _ in zip(source.flights(), range(FLIGHTS), strict=False)
    }
    environment = {**os.environ, "SWARM_NODE_ID": "3", "SWARM_NODE_GENERATION": "2"}
    settings = {**broker.client_settings(), "auto.commit.interval.ms": 100}
    process = subprocess.Popen([sys.executable, "-c", RUN, json.dumps(settings)], cwd=ROOT, env=environment)
    try:
        testing.await_committed(broker.bootstrap, app.GROUP, app.TOPIC, timeout_s=60.0)
        # Once an offset is committed its output is there, so nothing has to be waited for.
        output = testing.read_all(broker.bootstrap, app.OUTPUT_TOPIC)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
    assert len(output) == FLIGHTS  # nothing died, so nothing is repeated
    assert {record.key: record.value for record in output} == expected
    for record in output:
        assert dict(record.headers) == {"pid": str(process.pid).encode(), "node": b"3", "generation": b"2"}


def test_a_topic_that_the_broker_cannot_create_is_one_sentence(broker: EmbeddedBroker) -> None:
    with pytest.raises(produce.ProduceError, match=r"did not create the topic 'elsewhere': .* with 3 partitions"):
        produce.ensure_topics(broker.bootstrap, {"elsewhere": 3}, timeout_s=1.0)


def test_a_deadline_that_is_too_short_is_one_sentence(broker: EmbeddedBroker) -> None:
    broker.set_round_trip_time(2.0)
    try:
        with pytest.raises(produce.ProduceError, match=r"within 0\.5 s, after 0 of 10 records|No Kafka broker answers"):
            produce.produce(broker.bootstrap, app.TOPIC, limit=10, timeout_s=0.5)
    finally:
        broker.set_round_trip_time(0.0)
