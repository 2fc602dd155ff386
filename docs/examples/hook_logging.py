"""Log to a slow place: a thread of the node writes what handlers log, with the node's number in each line."""

import logging
import os
import queue
from collections.abc import Iterator
from logging.handlers import QueueHandler, QueueListener

from swarm_consumer import App, Batch, NodeInfo

logger = logging.getLogger("shop")
app = App("shop", kafka={"bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")})


@app.lifespan
def slow_log(node: NodeInfo) -> Iterator[None]:
    """Start the thread in the node: a fork would not have copied it. Its end writes what is left."""
    slow = logging.FileHandler(os.environ.get("AUDIT_LOG", "audit.log"))
    slow.setFormatter(logging.Formatter(f"%(asctime)s node {node.id} %(message)s"))
    records: queue.Queue[logging.LogRecord] = queue.Queue(maxsize=10_000)
    fast = QueueHandler(records)
    listener = QueueListener(records, slow)
    logger.addHandler(fast)
    listener.start()
    try:
        yield
    finally:
        logger.removeHandler(fast)
        listener.stop()
        slow.close()


@app.consume("orders", group="audit")
def audit(messages: Batch[bytes]) -> None:
    """Log each order."""
    for message in messages:
        logger.warning("order %s", message.payload)
