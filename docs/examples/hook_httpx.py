"""Call a service for each message: one async client in each node, on the event loop of the async handlers."""

import asyncio
import os
from collections.abc import AsyncIterator

import httpx
import msgspec

from swarm_consumer import App, Batch, Consumer, NodeInfo


class Order(msgspec.Struct):
    """An order as it comes from the shop, in JSON."""

    number: int
    total: float


app = App("prices", kafka={"bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")})


@app.lifespan
async def client(node: NodeInfo) -> AsyncIterator[httpx.AsyncClient]:
    """Keep the connections of this node open between batches."""
    async with httpx.AsyncClient(base_url=os.environ["PRICES_URL"], timeout=5.0) as service:
        yield service


@app.consume("orders", group="prices", max_messages=20)
async def tell(messages: Batch[Order], consumer: Consumer) -> None:
    """Send a batch side by side; a failure of one has the whole batch tried again."""
    service: httpx.AsyncClient = consumer.state
    answers = await asyncio.gather(
        *(service.post("/orders", json={"number": order.number, "total": order.total}) for order in messages.payloads())
    )
    for answer in answers:
        answer.raise_for_status()
