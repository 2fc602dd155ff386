"""The producer: numbered, keyed records at a steady rate, directly to the broker, each acknowledged."""

import os
import random
import threading
import time
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from benchmarks.chaos.ledger import Ledger
from benchmarks.chaos.records import decode, encode

TURN_S = 0.02
MOST_UNACKNOWLEDGED = 5000


class SteadyProducer:
    """A thread that produces until it is told to end, and enters each acknowledged record into the ledger."""

    def __init__(
        self, bootstrap: str, topic: str, partitions: int, keys: int, rate: float, ledger: Ledger, lock: threading.Lock
    ) -> None:
        self.ends = [0] * partitions
        """The offset that the next record of each partition gets, as far as acknowledged."""
        self.failures: list[str] = []
        self.unacknowledged = 0
        self._topic, self._keys, self._rate = topic, keys, rate
        self._ledger, self._lock = ledger, lock
        self._sequences = [0] * keys
        self._ending = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "linger.ms": 5,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._run, name="producer")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """End, and wait until everything is acknowledged, or ``timeout_s`` have passed."""
        self._ending.set()
        self._thread.join()
        self.unacknowledged = self._producer.flush(timeout_s)

    def _run(self) -> None:
        draw = random.Random(1)
        filling = os.urandom(60).hex().encode()
        started, sent = time.monotonic(), 0
        while not self._ending.wait(TURN_S):
            due = int((time.monotonic() - started) * self._rate)
            if len(self._producer) > MOST_UNACKNOWLEDGED:
                sent = due  # the broker is away: do not pile up what it will not take soon
            while sent < due:
                sent += 1
                self._produce(draw.randrange(self._keys), filling)
            self._producer.poll(0)

    def _produce(self, key: int, filling: bytes) -> None:
        name, sequence = f"k{key}", self._sequences[key]
        self._sequences[key] += 1
        value = encode(name, sequence, filling)
        self._producer.produce(
            self._topic, value, key=name, partition=key % len(self.ends), on_delivery=self._delivered
        )

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failures.append(error.str())
            return
        try:
            self._enter(message)
        except Exception as problem:  # noqa: BLE001  raised into the client it would end the thread without a word
            self.failures.append(repr(problem))

    def _enter(self, message: Message) -> None:
        partition: Any = message.partition()
        offset: Any = message.offset()
        value: Any = message.value()
        self.ends[partition] = max(self.ends[partition], offset + 1)
        with self._lock:
            self._ledger.produced(partition, offset, decode(value), time.monotonic())
