"""Write orders to PostgreSQL: one pool in each node. A pool has threads and sockets, and neither survives a fork."""

import os
from collections.abc import Iterator

import msgspec
from psycopg_pool import ConnectionPool

from swarm_consumer import App, Batch, Consumer, NodeInfo


class Order(msgspec.Struct):
    """An order as it comes from the shop, in JSON."""

    number: int
    total: float


app = App("orders", kafka={"bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")})


@app.lifespan
def pool(node: NodeInfo) -> Iterator[dict[str, ConnectionPool]]:
    """Open the pool of this node; without a database within 10 s the node ends, says why, and is tried again later."""
    with ConnectionPool(os.environ["DATABASE_URL"], min_size=1, max_size=4, name=f"node-{node.id}") as connections:
        connections.wait(timeout=10)
        yield {"pool": connections}


@app.consume("orders", group="database")
def write(messages: Batch[Order], consumer: Consumer) -> None:
    """Write a batch in one transaction; an order that comes twice is written once."""
    with consumer.state["pool"].connection() as connection, connection.cursor() as cursor:
        for order in messages.iter_payloads():
            cursor.execute(
                "INSERT INTO orders (number, total) VALUES (%s, %s) ON CONFLICT (number) DO UPDATE SET total = %s",
                (order.number, order.total, order.total),
            )
