"""The flights example with a ledger outside Kafka: one line for each batch begun and each record handled.

SABOTAGE breaks the promise on purpose, so that the test which counts on it is seen to fail.
"""

import os
import time
from typing import Any

from examples.flights import reference
from examples.flights.enrich import enrich
from examples.flights.records import Flight, encode
from swarm_consumer import App, Batch, Consumer
from swarm_consumer._scheduling.ledger import Committable, Key, Ledger

LEDGER = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
SECONDS_PER_RECORD = float(os.environ.get("SECONDS_PER_RECORD", "0.008"))
TABLES = reference.load()

app = App("flights-ledger", max_messages=100)


@app.topic(os.environ["TOPIC"], group=os.environ["GROUP"], payload=Flight)
class Ledgered(Consumer):
    """Enrich, produce, and write down what was done."""

    def consume(self, messages: Batch[Flight]) -> None:
        """One line per batch and one per record; each is one write, so that a kill leaves whole lines."""
        write(f"batch {os.getpid()} {messages.partition} {messages.first_offset} {messages.last_offset}")
        for message in messages:
            self.produce(os.environ["OUTPUT"], encode(enrich(message.payload, TABLES)), key=message.key)
            time.sleep(SECONDS_PER_RECORD)
            write(f"record {os.getpid()} {message.partition} {message.offset} {message.payload.key}")


def write(line: str) -> None:
    """Append one line."""
    os.write(LEDGER, f"{line}\n".encode())


def sabotage(kind: str) -> None:
    """Switch commits off, or store offsets before the handler has run."""
    if kind == "commits-off":

        def nothing(self: Ledger) -> list[Committable]:
            return []

        def nothing_left(self: Ledger, key: Key, *, gracefully: bool = False) -> None:
            self._entries.pop(key, None)

        Ledger.take_committable = nothing  # type: ignore[method-assign]
        Ledger.release = nothing_left  # type: ignore[method-assign]
    elif kind == "store-before":
        deliver = Ledger.deliver

        def deliver_and_mark(self: Ledger, key: Key, epoch: int, first: int, next_offset: int, runs: Any) -> bool:
            return deliver(self, key, epoch, first, next_offset, runs) and self.mark(key, epoch, next_offset)

        Ledger.deliver = deliver_and_mark  # type: ignore[method-assign]
    elif kind:
        raise ValueError(f"no such sabotage: {kind}")


sabotage(os.environ.get("SABOTAGE", ""))
