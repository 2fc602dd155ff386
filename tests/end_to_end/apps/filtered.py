"""An application with four topics and two groups, to run a part of; what it is assigned is a line of its ledger."""

import os

from swarm_consumer import App, Batch
from swarm_consumer.events import Assigned

LEDGER = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
NUMBER = os.environ["NUMBER"]  # in the names of the groups, so that one broker serves many of this application
AUDIT, BILLING, SLOW = (f"{name}-{NUMBER}" for name in ("audit", "billing", "slow"))
app = App("filtered")


def note(*words: str) -> None:
    """One line, in one write."""
    os.write(LEDGER, f"{' '.join(words)}\n".encode())


def handle_for(name: str, topic: str) -> None:
    """Register a handler that notes what it gets."""

    def handle(messages: Batch[bytes]) -> None:
        note("handled", name, messages.topic)

    kafka = {"fetch.wait.max.ms": 400} if name == SLOW else {}
    group = BILLING if name == SLOW else name
    app.consume(topic, group=group, subscription_group=name, kafka=kafka, active=topic != "archived")(handle)


for name, topic in (
    (BILLING, "orders-eu"), (BILLING, "orders-us"), (SLOW, "refunds"),
    (AUDIT, "orders-eu"), (AUDIT, "payments"), (AUDIT, "archived"),
):  # fmt: skip
    handle_for(name, topic)


@app.on(Assigned)
def assigned(event: Assigned) -> None:
    """Every partition that this process gets."""
    for partition in event.partitions:
        note("assigned", event.subscription_group, *map(str, partition))
