"""The swarm application: reads flights, writes enriched flights.

    swarm-cli swarm examples.flights.app:app --nodes 2

The reference tables are loaded when this module is imported, before the fork, so all nodes share one copy. The
environment may name another cluster (KAFKA_BOOTSTRAP_SERVERS), other topics (FLIGHTS_TOPIC, FLIGHTS_OUTPUT_TOPIC) and
another group (FLIGHTS_GROUP), so that two runs can stand side by side.
"""

import os
from collections.abc import Mapping
from typing import Any

from swarm_consumer import App, Batch, Consumer

from . import reference
from .enrich import enrich
from .records import Flight, encode

TOPIC = "flights"
OUTPUT_TOPIC = "flights-enriched"
GROUP = "delays"

REFERENCE = reference.load()


class Delays(Consumer):
    """Enriches every flight of a batch. What it produces is acknowledged before the batch's offsets are stored."""

    output_topic = OUTPUT_TOPIC

    def initialized(self) -> None:
        """Note which process this is: the supervisor sets the variables in each node, a lone process has neither."""
        self.origin = [("pid", str(os.getpid()).encode())]
        for name, variable in (("node", "SWARM_NODE_ID"), ("generation", "SWARM_NODE_GENERATION")):
            if value := os.environ.get(variable):
                self.origin.append((name, value.encode()))

    def consume(self, messages: Batch[Flight]) -> None:
        """Handle one batch of one partition."""
        for message in messages:
            enriched = enrich(message.payload, REFERENCE)
            self.produce(self.output_topic, encode(enriched), key=message.raw_key, headers=self.origin)


def create_app(
    kafka: Mapping[str, Any],
    *,
    topic: str = TOPIC,
    output_topic: str = OUTPUT_TOPIC,
    group: str = GROUP,
    **settings: Any,
) -> App:
    """Return the application for another cluster, other topics or other settings than those of `app`."""
    app = App("flights", kafka=kafka, producer={"compression.type": "lz4"}, **settings)
    app.topic(topic, group=group, payload=Flight)(type("Delays", (Delays,), {"output_topic": output_topic}))
    return app


app = create_app(
    {"bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")},
    topic=os.environ.get("FLIGHTS_TOPIC", TOPIC),
    output_topic=os.environ.get("FLIGHTS_OUTPUT_TOPIC", OUTPUT_TOPIC),
    group=os.environ.get("FLIGHTS_GROUP", GROUP),
)
