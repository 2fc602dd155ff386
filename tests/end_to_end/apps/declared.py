"""An application that declares its topics; what it declares, and where, the environment says."""

import json
import os

from swarm_consumer import App, Batch

app = App("declared", kafka={"bootstrap.servers": os.environ["SERVERS"], "auto.commit.interval.ms": 100})


def look(messages: Batch[bytes]) -> None:
    """Read every payload."""
    for message in messages:
        assert message.payload is not None


for name, wanted in json.loads(os.environ.get("DECLARED", "{}")).items():
    app.declare_topic(name, **wanted)
for group, topics in json.loads(os.environ.get("GROUPS", "{}")).items():
    for name, settings in topics.items():
        app.consume(name, group=group, **settings)(look)
