"""A swarm whose nodes misbehave when told to: a file `order-<node id>` in the folder names how.

Everything that a node does is a line of the ledger, with the monotonic time that all processes of a machine share:

    <time> <node> <pid> handled <topic> <partition> <first> <last>
    <time> <node> <pid> order <kind>
    <time> <node> <pid> assigned <number of partitions>
"""

import ctypes
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from swarm_consumer import App, Consumer, Runtime
from swarm_consumer._connection.connection import Connection
from swarm_consumer._connection.owner import Owner
from swarm_consumer.events import Assigned
from swarm_liveness import LivenessListener, ProcessMemory
from swarm_liveness.serving import serve_supervisor
from swarm_supervisor import Node, Supervisor

SETTINGS = json.loads(os.environ["SETTINGS"])
FOLDER = Path(os.environ["FOLDER"])
LEDGER = os.open(FOLDER / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

app = App("misbehaving", kafka=SETTINGS["kafka"], **SETTINGS.get("app", {}))
node_id = -1
hoard: list[bytearray] = []


def note(*words: object) -> None:
    """Append one line: one write, so that a kill leaves whole lines."""
    line = " ".join(map(str, (time.monotonic(), node_id, os.getpid(), *words)))
    os.write(LEDGER, f"{line}\n".encode())


def hang_in_handler() -> None:
    """Wait for ever, as for a lock: the GIL is free."""
    while True:
        time.sleep(60)


def hang_holding_the_gil() -> None:
    """Deadlock in C code: a mutex taken twice, by a call that keeps the GIL. No signal ends it."""
    library = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(64)  # zeros are PTHREAD_MUTEX_INITIALIZER
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def stop_polling() -> None:
    """The owner thread hangs before its next poll; handlers go on with what there is."""

    def turn(self: Owner, client: Any) -> None:
        hang_in_handler()

    Owner._turn = turn  # type: ignore[method-assign]


def unsettle() -> None:
    """The client's statistics tell of one join state, for ever."""
    since = time.monotonic()
    Connection.join_state = property(lambda self: "wait-sync")  # type: ignore[assignment,method-assign]
    Connection.join_state_since = property(lambda self: since)  # type: ignore[assignment,method-assign]


def eat() -> None:
    """Keep 200 MB."""
    hoard.append(bytearray(b"x") * (200 * 2**20))


MISBEHAVIOUR = {
    "consuming": hang_in_handler,
    "silence": hang_holding_the_gil,
    "polling": stop_polling,
    "stability": unsettle,
    "memory": eat,
}


class Work(Consumer):
    """Takes some time for each batch; grows, when it is told to leak."""

    def initialized(self) -> None:
        """Nothing."""

    def consume(self, messages: Any) -> None:
        """Note, obey, work."""
        order = FOLDER / f"order-{node_id}"
        if order.exists():
            kind, _, topic = order.read_text().partition(" ")
            if topic in ("", self.topic):
                order.unlink()
                note("order", kind)
                if kind.startswith("sleep-"):
                    time.sleep(float(kind.partition("-")[2]))
                elif kind == "custom":
                    self.unhealthy(77, "the license server refuses us")
                else:
                    MISBEHAVIOUR[kind]()
        if leak_mb := SETTINGS.get("leak_mb", 0):
            hoard.append(bytearray(b"x") * int(leak_mb * 2**20))
        time.sleep(SETTINGS.get("seconds_per_batch", 0.02))
        uss = f"{memory.exact().uss_mb:.1f}" if leak_mb else ""
        note("handled", self.topic, self.partition, messages.first_offset, messages.last_offset, uss)

    def revoked(self) -> None:
        """A rebalance took this partition away."""
        note("revoked", self.topic, self.partition)


@app.on(Assigned)
def assigned(event: Assigned) -> None:
    """A rebalance has ended, with or without anything new."""
    note("assigned", len(event.partitions))


memory = ProcessMemory()
for topic in SETTINGS["topics"]:
    app.topic(topic, group=SETTINGS["group"])(type("Work", (Work,), {}))


def target(node: Node) -> int:
    """What a node runs."""
    global node_id
    node_id = node.id
    runtime = Runtime(app, node_id=node.id, drain_timeout=SETTINGS.get("drain_timeout", 2.0))
    listener.start(runtime, node)
    try:
        return runtime.run(node.stopping, node.quieting, lambda code: node.leaving)
    finally:
        listener.stop()


if __name__ == "__main__":
    listener = LivenessListener(**SETTINGS["liveness"])
    supervisor = Supervisor(target, control_socket=FOLDER / "control", **SETTINGS["supervisor"])
    probes = serve_supervisor(supervisor, "0")
    assert probes is not None
    (FOLDER / "port").write_text(str(probes.port))
    listener.before_fork(SETTINGS["supervisor"]["nodes"])
    sys.exit(supervisor.run())
