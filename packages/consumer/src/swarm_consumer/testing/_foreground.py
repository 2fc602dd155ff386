"""Running a test broker in the foreground, for development: print its address, wait for a signal, end it."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from typing import Protocol

from swarm_consumer.testing.errors import BrokerError

CRASH_CHECK_INTERVAL_S = 1.0


class ForegroundBroker(Protocol):
    """What the foreground needs of a broker."""

    @property
    def bootstrap(self) -> str:
        """The value for bootstrap.servers."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    def restart(self) -> None:
        """Start it again on the same ports."""

    def close(self) -> None:
        """End it."""


def add_topic_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--topic NAME:PARTITIONS``, which may be given several times."""
    parser.add_argument("--topic", action="append", default=[], type=_topic, metavar="NAME:PARTITIONS")


def _topic(text: str) -> tuple[str, int]:
    name, _, partitions = text.rpartition(":")
    if not name or not partitions.isdigit() or int(partitions) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:PARTITIONS, as in flights:8")
    return name, int(partitions)


def run_in_foreground(
    broker: ForegroundBroker, description: str, prepare: Callable[[], None], after_restart: Callable[[], None]
) -> int:
    """Prepare a started broker, print its address, wait for SIGINT or SIGTERM, close it.

    A crash of the broker is reported and mended. Returns the exit code.
    """
    ending = threading.Event()
    previous = {number: signal.signal(number, lambda *_: ending.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        prepare()
        sys.stdout.write(f"{broker.bootstrap}\n")
        sys.stdout.flush()
        sys.stderr.write(f"Kafka ({description}) at {broker.bootstrap}; Ctrl-C ends it.\n")
        while not ending.wait(CRASH_CHECK_INTERVAL_S):
            if not broker.alive:
                sys.stderr.write("The broker's process ended unexpectedly; restarting it on the same address.\n")
                broker.restart()
                after_restart()
    except BrokerError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    finally:
        broker.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0
