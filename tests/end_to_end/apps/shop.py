"""An application with several topics and groups, that says in its log and its ledger what it handles, and where."""

import logging
import os
import threading
import time

from swarm_consumer import App, Batch

LEDGER = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
IMPORTED_BY = os.getpid()
logger = logging.getLogger("shop")
app = App("shop", kafka={"bootstrap.servers": "127.0.0.1:1"})  # where nobody answers: the option must win


def handle_as(group: str, topic: str) -> None:
    """Register a handler of a topic."""

    def handle(messages: Batch[bytes]) -> None:
        """One line of the log and one of the ledger: group, topic, pid, importing pid, thread."""
        time.sleep(0.002)
        logger.info("handled %d", len(messages), extra={"topic": topic, "partition": messages.partition})
        words = (group, topic, os.getpid(), IMPORTED_BY, threading.current_thread().name)
        os.write(LEDGER, f"{' '.join(map(str, words))}\n".encode())

    app.consume(topic, group=group, max_messages=5)(handle)


for name in os.environ["GROUPS"].split():
    for each in os.environ["TOPICS"].split():
        handle_as(name, each)
