"""An app with every hook; each writes a line (name, pid, node, detail) to the file LEDGER. FAULT makes one fail."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from swarm_consumer import App, Batch, Consumer, NodeInfo

FAULT = os.environ.get("FAULT", "")


def note(name: str, node: object = "-", detail: object = "-") -> None:
    with open(os.environ["LEDGER"], "a") as ledger:
        ledger.write(f"{name} {os.getpid()} {node} {detail}\n")


app = App("hooked", kafka={"auto.commit.interval.ms": 100})

if FAULT == "import":
    from confluent_kafka import Producer

    Producer({"bootstrap.servers": "localhost:1"})  # a client on import


@app.warmup
def load() -> None:
    note("warmup")
    if FAULT == "slow-warmup":
        time.sleep(600)
    if FAULT == "warmup":
        raise FileNotFoundError("no model.bin")
    if FAULT == "warmup-client":
        from confluent_kafka.admin import AdminClient

        AdminClient({"bootstrap.servers": "localhost:1"})


if os.environ.get("ASYNC") == "1":

    @app.lifespan
    async def resources(node: NodeInfo) -> AsyncIterator[dict[str, Any]]:
        note("enter", node.id, node.generation)
        yield {"made in": os.getpid(), "loop": asyncio.get_running_loop()}
        note("leave", node.id, node.generation)

else:

    @app.lifespan
    @contextlib.contextmanager
    def resources(node: NodeInfo) -> Iterator[dict[str, Any]]:
        if FAULT == "enter":
            raise ConnectionError("no database at db:5432")
        if FAULT == "hang":
            time.sleep(600)
        note("enter", node.id, node.generation)
        yield {"made in": os.getpid()}
        note("leave", node.id, node.generation)
        if FAULT == "leave":
            raise ConnectionError("the pool is still in use")


@app.on_swarm("BeforeWarmup", "BeforeFork", "AfterFork", "NodeStarted", "NodeStopping", "NodeExited", "Stopped")
def tell(event: Any) -> None:
    note(type(event).__name__, getattr(event, "node_id", "-"))


if FAULT == "event":

    @app.on_swarm("NodeExitd")  # the line that is meant
    def tell_wrongly(event: Any) -> None: ...


if os.environ.get("ASYNC") == "1":

    @app.consume(os.environ.get("TOPIC", "hooked"), group=os.environ.get("GROUP", "hooked"))
    async def handle(messages: Batch[bytes], consumer: Consumer) -> None:
        assert consumer.state["loop"] is asyncio.get_running_loop()
        note("handled", "-", consumer.state["made in"])

else:

    @app.consume(os.environ.get("TOPIC", "hooked"), group=os.environ.get("GROUP", "hooked"))
    def handle(messages: Batch[bytes], consumer: Consumer) -> None:
        note("handled", "-", consumer.state["made in"])
        if FAULT == "handler":
            os._exit(9)
