"""Spans of a swarm: made in the nodes, linked to what produced each message, sent before a node ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer.testing import Record, await_committed, produce

pytest.importorskip("opentelemetry.sdk", reason="the OpenTelemetry SDK is not installed")


@pytest.mark.parametrize("command", ["swarm", "server"])
def test_every_message_is_linked_from_the_span_of_its_batch(
    command: str,
    embedded_broker: Any,
    start_swarm: Any,
    point_at: Any,
    topic_name: Callable[..., str],
    tmp_path: Path,
) -> None:
    topic, group, spans = topic_name("traced"), topic_name("tracers"), tmp_path / "spans"
    embedded_broker.create_topic(topic, 4)
    records = [
        Record(b"x", partition=number % 4, headers=(("traceparent", b"00-%032x-%016x-01" % (number, number)),))
        for number in range(1, 41)
    ]
    produce(embedded_broker.bootstrap, topic, records)
    swarm = start_swarm(
        command, "tests.end_to_end.apps.traced:app", "--nodes", "2", *point_at(embedded_broker),
        "--kafka", "auto.commit.interval.ms=100", TOPIC=topic, GROUP=group, SPANS=str(spans),
    )  # fmt: skip
    await_committed(embedded_broker.bootstrap, group, topic)
    assert not spans.exists()
    # A supervisor that had made the exporter's thread itself would show it here.
    assert swarm.stop() == 0, swarm.output()
    lines = [line.rsplit(" ", 1) for line in spans.read_text().splitlines()]
    assert sorted(int(trace_id) for _, trace_id in lines) == list(range(1, 41))
    pids = {int(words.split()[0]) for words, _ in lines}
    assert {words.split(" ", 1)[1] for words, _ in lines} == {f"process {topic}"}
    assert (swarm.popen.pid in pids) == (command == "server")
