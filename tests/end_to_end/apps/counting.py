"""An application that only looks at its records."""

import os

from swarm_consumer import App, Batch

app = App("counting")


@app.consume(os.environ["TOPIC"], group=os.environ["GROUP"])
def count(messages: Batch[bytes]) -> None:
    """Read every payload."""
    for message in messages:
        assert message.payload is not None
