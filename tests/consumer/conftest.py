"""What the consumer package's tests share: records without a broker, and lanes over a ledger."""

from __future__ import annotations

import confluent_kafka
import pytest


@pytest.fixture
def make_records():
    """Return a function that makes the client's message objects, without any client."""

    def make(first: int, count: int, topic: str = "flights", partition: int = 0, value=None) -> list:
        return [
            confluent_kafka.Message(
                topic=topic,
                partition=partition,
                offset=offset,
                value=b"%d" % offset if value is None else value,
                timestamp=(1, 1_700_000_000_000 + offset),
            )
            for offset in range(first, first + count)
        ]

    return make
