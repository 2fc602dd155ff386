"""Two consumer groups of one topic: one does well, the other fails from its first record."""

import os

from swarm_consumer import App

app = App("two-groups", kafka={"auto.commit.interval.ms": 200})


@app.consume(os.environ["TOPIC"], group="billing")
def bill(messages):
    """All is well."""


@app.consume(os.environ["TOPIC"], group="audit", retry_backoff=0.2, retry_backoff_max=0.5)
def audit(messages):
    """A bug of the first deploy."""
    raise RuntimeError("poison")
