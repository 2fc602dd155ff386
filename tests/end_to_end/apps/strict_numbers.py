"""An application whose payloads must be numbers, and that writes down those it got."""

import os

from swarm_consumer import App, Batch

LEDGER = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
app = App("strict-numbers", max_messages=1, retry_backoff=0.1, retry_backoff_max=0.4)


@app.consume(os.environ["TOPIC"], group=os.environ["GROUP"], payload=int)
def number(messages: Batch[int]) -> None:
    """One line a number."""
    for message in messages:
        os.write(LEDGER, f"{message.partition} {message.offset} {message.payload}\n".encode())
