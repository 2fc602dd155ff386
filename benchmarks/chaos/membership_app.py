"""The application under chaos, which also writes down what its member of the group goes through.

To be run with ``debug=cgrp``: librdkafka then names the generation with each heartbeat.
"""

import logging
import os
import time

from benchmarks.chaos.app import app, write
from benchmarks.chaos.generations import MemberGenerations
from benchmarks.chaos.records import MemberSeen
from swarm_consumer.events import Assigned, Lost, Revoked

__all__ = ["app"]


def seen(what: str) -> None:
    """Write it down."""
    write(MemberSeen(time.monotonic(), os.getpid(), int(os.environ["SWARM_NODE_ID"]), what).line())


@app.on(Assigned)
@app.on(Revoked)
@app.on(Lost)
def changed(event: Assigned | Revoked | Lost) -> None:
    """A rebalance has reached this member."""
    seen(type(event).__name__.lower())


_librdkafka = logging.getLogger("swarm_consumer.librdkafka")
_librdkafka.setLevel(logging.DEBUG)
_librdkafka.propagate = False
_librdkafka.addHandler(MemberGenerations(lambda generation: seen(str(generation))))
