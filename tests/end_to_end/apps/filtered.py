"""An application with two topics and two groups, to run a part of."""

import os

from swarm_consumer import App, Batch

app = App("filtered")


def look(messages: Batch[bytes]) -> None:
    """Read every payload."""
    for message in messages:
        assert message.payload is not None


app.consume(os.environ["ORDERS"], group=os.environ["BILLING"])(look)
app.consume(os.environ["ORDERS"], group=os.environ["AUDIT"])(look)
app.consume(os.environ["REFUNDS"], group=os.environ["BILLING"])(look)
