"""Write orders to a database with SQLAlchemy: one engine in each node, made after the fork, disposed of at its end."""

import os
from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from swarm_consumer import App, Batch, Consumer, NodeInfo

metadata = sa.MetaData()
orders = sa.Table(
    "orders", metadata, sa.Column("number", sa.Integer, primary_key=True), sa.Column("total", sa.Float, nullable=False)
)


class Order(msgspec.Struct):
    """An order as it comes from the shop, in JSON."""

    number: int
    total: float


app = App("orders", kafka={"bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")})


@app.lifespan
def database(node: NodeInfo) -> Iterator[sa.Engine]:
    """Make the engine of this node."""
    engine = sa.create_engine(os.environ["DATABASE_URL"], pool_pre_ping=True)
    try:
        yield engine
    finally:
        engine.dispose()


@app.topic("orders", group="database")
class Orders(Consumer):
    """Writes each batch in one transaction; an order that comes twice is written once."""

    def consume(self, messages: Batch[Order]) -> None:
        """Replace what is there by what came."""
        rows = {order.number: {"number": order.number, "total": order.total} for order in messages.payloads()}
        with self.state.begin() as connection:
            connection.execute(sa.delete(orders).where(orders.c.number.in_(rows)))
            connection.execute(sa.insert(orders), list(rows.values()))
