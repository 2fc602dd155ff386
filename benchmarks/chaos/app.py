"""The application under chaos: it writes down every record that it handles, and misbehaves when it is told to.

Each line of the log is one write to a file opened with O_APPEND, so that a kill leaves whole lines and the order of
the lines is the order of what happened. An order to misbehave is a file; whoever renames it first has taken it.
"""

import ctypes
import os
import random
import signal
import threading
import time
from pathlib import Path

from benchmarks.chaos.records import BatchBegun, Continued, Handled, Misbehaved, NoteRefused, decode
from benchmarks.chaos.scribble import scribble
from swarm_consumer import App, Batch, Consumer, DeadLetters, Message
from swarm_consumer.events import TakenOver, TakeOverRefused

LOG = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
ORDERS = Path(os.environ["CHAOS_ORDERS"])
SECONDS_PER_RECORD = float(os.environ.get("CHAOS_SECONDS_PER_RECORD", "0.001"))
SABOTAGE = os.environ.get("CHAOS_SABOTAGE", "")
KILLED_TOPIC = os.environ.get("CHAOS_KILLED_TOPIC")
"""Where records go that kill processes: those of no other kind, because a handler that raises is retried for ever."""
MAX_DEATHS = 3
LEAK_MB = 300

app = App(os.environ.get("CHAOS_CLIENT", "chaos"), max_messages=100, retry_backoff=0.5, retry_backoff_max=2.0)
hoard: list[bytearray] = []


class OrderedToFail(Exception):
    """The handler was told to raise."""


@app.topic(
    os.environ["CHAOS_TOPIC"],
    group=os.environ["CHAOS_GROUP"],
    dead_letters=DeadLetters(topic=KILLED_TOPIC, max_retries=10**6, max_deaths=MAX_DEATHS, hangs=True)
    if KILLED_TOPIC
    else None,
)
class Chaos(Consumer):
    """Write down, and misbehave in the middle of a batch."""

    def consume(self, messages: Batch[bytes]) -> None:
        """One line for the batch and one for each record, after its work."""
        node, generation = int(os.environ.get("SWARM_NODE_ID", 0)), int(os.environ.get("SWARM_NODE_GENERATION", 1))
        pid = os.getpid()
        order, poison = taken_order(node), poisoned(messages.partition)
        write(
            BatchBegun(
                time.monotonic(), pid, node, generation, messages.partition, messages.first_offset, messages.last_offset
            ).line()
        )
        for number, message in enumerate(sabotaged(list(messages))):
            if order is not None and number == len(messages) // 2:
                write(Misbehaved(time.monotonic(), pid, node, order).line())
                misbehave(order)
            if message.offset == poison[0]:
                write(Misbehaved(time.monotonic(), pid, node, f"poison={poison[1]}").line())
                misbehave(poison[1])
            value = message.payload
            time.sleep(SECONDS_PER_RECORD)
            write(Handled(time.monotonic(), pid, messages.partition, message.offset, decode(value)).line())


def sabotaged(messages: list[Message[bytes]]) -> list[Message[bytes]]:
    """The messages of a batch; when a test wants to see the ledger complain, not as they should be."""
    if SABOTAGE == "drop":
        return [message for message in messages if message.offset % 100 != 50]
    if SABOTAGE == "double":
        return [message for message in messages for _ in range(2 if message.offset % 100 == 50 else 1)]
    if SABOTAGE == "reorder":
        return messages[::-1]
    return messages


def taken_order(node: int) -> str | None:
    """The order for this node, which is gone from then on."""
    order, taken = ORDERS / str(node), ORDERS / f"taken-{os.getpid()}"
    try:
        order.rename(taken)
    except OSError:
        return None
    return taken.read_text()


def poisoned(partition: int) -> tuple[int, str]:
    """The offset of the record of a partition that must not be touched, and what it does; -1: there is none."""
    try:
        found, offset, what = (ORDERS / "poison").read_text().split()
    except (OSError, ValueError):
        return -1, ""
    return (int(offset), what) if int(found) == partition else (-1, "")


@app.on(TakenOver)
@app.on(TakeOverRefused)
def judged(event: TakenOver | TakeOverRefused) -> None:
    """A new owner believes a note, or does not. The events do not name the group; the thread of its owner does."""
    if threading.current_thread().name != f"swarm-owner-{os.environ['CHAOS_GROUP']}"[:60]:
        return
    at, pid = time.monotonic(), os.getpid()
    if isinstance(event, TakenOver):
        write(Continued(at, pid, event.partition, event.position, event.committed).line())
    else:
        write(NoteRefused(at, pid, event.partition, event.reason).line())


def misbehave(order: str) -> None:
    """Do what was ordered."""
    what, _, argument = order.partition("=")
    if what == "hang":
        ctypes.PyDLL(None).sleep(3600)  # PyDLL keeps the GIL: no thread of this process runs any more
    elif what == "segfault":
        ctypes.string_at(0)
    elif what == "sleep":
        time.sleep(3600)  # beside it, the process reports that a handler has run for too long
    elif what == "scribble":
        scribble(random.Random(int(argument)))
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "raise":
        raise OrderedToFail("told to")
    elif what == "long":
        time.sleep(float(argument))
    elif what == "leak":
        hoard.append(bytearray(b"\1" * (LEAK_MB * 2**20)))
    elif what == "quit":
        raise SystemExit("told to")  # the node ends in order, with exit code 1
    elif what == "exit":
        os._exit(int(argument))
    else:
        raise AssertionError(f"there is no order {order!r}")


def write(line: str) -> None:
    """Append one line."""
    os.write(LOG, line.encode())
