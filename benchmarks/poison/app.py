"""A handler for poison_table.py that writes down each message that it is given, and does what poison says."""

from __future__ import annotations

import ctypes
import os
import re
import time
from typing import Any

from swarm_consumer import App, Batch, Consumer, DeadLetters

LEDGER = os.open(os.environ["POISON_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
SECONDS_PER_RECORD = float(os.environ.get("POISON_SECONDS", "0.0005"))
STOP_FILE = os.environ.get("POISON_STOP_FILE", "")
"""While it exists, every call hangs."""
TICK_FILE = os.environ.get("POISON_TICK_FILE", "")
"""While it exists, tick() kills its process."""
letters = os.environ.get("POISON_LETTERS")
ttl = os.environ.get("POISON_TTL")
settings: dict[str, Any] = {"max_messages": int(os.environ.get("POISON_BATCH", "100"))}
if letters:
    settings["dead_letters"] = DeadLetters(topic=letters)
if ttl:
    settings["consuming_ttl"] = float(ttl)

app = App("poison", concurrency=int(os.environ.get("POISON_CONCURRENCY", "4")))


class Poisoned(Consumer):
    """One line for each message before it is handled, one after it."""

    def consume(self, messages: Batch[Any]) -> None:
        """Handle a batch, or die with it."""
        for message in messages:
            value = bytes(message.raw_payload or b"")
            write(f"given {os.getpid()} {message.partition} {message.offset} {len(messages)}")
            while STOP_FILE and os.path.exists(STOP_FILE):
                time.sleep(0.05)
            poison(value)
            write(f"handled {os.getpid()} {message.partition} {message.offset} {len(messages)}")


class Ticking(Poisoned):
    """The same, with a hook that may kill its process."""

    def tick(self) -> None:
        """Die if that is wanted."""
        if os.path.exists(TICK_FILE):
            ctypes.string_at(0)


def poison(value: bytes) -> None:
    """Do what the poison says."""
    if value == b"segfault":
        ctypes.string_at(0)
    elif value == b"exit":
        os._exit(7)
    elif value == b"regex":
        re.match(r"(a+)+$", "a" * 64 + "b")
    elif value == b"sleep":
        time.sleep(100_000)
    elif value == b"memory":
        held = []
        while True:
            held.append(bytearray(os.urandom(4096) * 2560))
    else:
        time.sleep(SECONDS_PER_RECORD)


def write(line: str) -> None:
    """Append one line, whole."""
    os.write(LEDGER, f"{line}\n".encode())


settings["tick_interval"] = 0.2 if TICK_FILE else 5.0
app.topic(os.environ["POISON_TOPIC"], group=os.environ["POISON_GROUP"], **settings)(Ticking if TICK_FILE else Poisoned)
