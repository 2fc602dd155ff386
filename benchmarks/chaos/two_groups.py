"""The application of a chaos run: `app` and a second group on the same topic, with hooks and dead letters in play.

The second group is a bulk writer, the pattern that is easiest to get wrong: `consume` only collects, and a hook writes
what was collected and marks it. Its poison records go to a dead-letter topic. What it wrote is one file of its own.
"""

import os
import time

from benchmarks.chaos import liar
from benchmarks.chaos.app import app
from benchmarks.chaos.audit import Hooked, Written, is_poison
from benchmarks.chaos.records import decode
from swarm_consumer import Batch, Consumer, DeadLetters, Message

LOG = os.open(os.environ["CHAOS_AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
SABOTAGE = os.environ.get("CHAOS_AUDIT_SABOTAGE", "")
MOST_COLLECTED = 400

if os.environ.get("CHAOS_LIES"):
    liar.install(int(os.environ["CHAOS_LIES"]))


class Poison(Exception):
    """A record that this group cannot handle."""


@app.topic(
    os.environ["CHAOS_TOPIC"],
    group=os.environ["CHAOS_AUDIT_GROUP"],
    manual_marking=True,
    tick_interval=0.5,
    retry_backoff=0.1,
    retry_backoff_max=0.5,
    dead_letters=DeadLetters(topic=os.environ["CHAOS_DEAD_TOPIC"], max_retries=1),
)
class Audit(Consumer):
    """Collect in `consume`, write and mark in the hooks."""

    def initialized(self) -> None:
        """Begin with nothing collected."""
        self.collected: list[Message[bytes]] = []
        self.hooked("initialized")

    def consume(self, messages: Batch[bytes]) -> None:
        """Collect, up to a bound."""
        for message in messages:
            if is_poison(decode(message.payload)):
                if SABOTAGE == "drop-poison":
                    continue  # collected by nobody, no letter: whatever is marked behind it passes it
                raise Poison(f"offset {message.offset} is poison")
            self.collected.append(message)
        if len(self.collected) >= MOST_COLLECTED:
            self.write_and_mark()

    def tick(self) -> None:
        """Write what was collected since the last time."""
        self.hooked("tick")
        self.write_and_mark()

    def revoked(self) -> None:
        """Write the rest before another node goes on."""
        self.hooked("revoked")
        self.write_and_mark()

    def shutdown(self) -> None:
        """Write the rest before the end."""
        self.hooked("shutdown")
        self.write_and_mark()

    def write_and_mark(self) -> None:
        """One write for all that was collected, then the mark."""
        if not self.collected:
            return
        last = self.collected[-1]
        if SABOTAGE != "mark-only":
            lines = [Written(last.partition, message.offset).line() for message in self.collected]
            os.write(LOG, "".join(lines).encode())
        self.collected = []
        self.mark_as_consumed(last)

    def hooked(self, name: str) -> None:
        """Note that a hook was called."""
        os.write(LOG, Hooked(time.monotonic(), name).line().encode())
