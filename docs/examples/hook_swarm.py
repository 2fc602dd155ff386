"""Load a table once for all nodes, and report nodes that die: hooks of the supervisor's process."""

import csv
import logging
import os
from pathlib import Path
from typing import Any

from swarm_consumer import App, Batch

logger = logging.getLogger("shop")
app = App("shop", kafka={"bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")})
prices: dict[str, float] = {}


@app.warmup
def load_prices() -> None:
    """Load before the fork: all nodes share this memory. If it raises, nothing starts and the exit code is 1."""
    with Path(os.environ.get("PRICES", "prices.csv")).open(newline="") as file:
        prices.update((name, float(price)) for name, price in csv.reader(file))


@app.on_swarm("NodeExited", "CrashLoop")
def report(event: Any) -> None:
    """Report deaths. This runs in the supervisor and blocks it: write a line, call no service."""
    if not getattr(event, "planned", False):
        logger.error("page the operator: %s", event)


@app.consume("orders", group="shop")
def handle(messages: Batch[bytes]) -> None:
    """Add up the prices of a batch."""
    logger.info("%.2f", sum(prices.get(message.payload.decode(), 0.0) for message in messages))
