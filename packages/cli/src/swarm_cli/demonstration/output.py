"""Read the output topic as it grows, from outside the swarm and outside of any consumer group."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from confluent_kafka import TopicPartition

from swarm_cli.demonstration.tally import Tally
from swarm_cli.errors import CommandError
from swarm_consumer.kafka.clients import KafkaClients


class OutputReader:
    """A plain consumer assigned to all partitions of one topic; it commits nothing."""

    def __init__(self, settings: Mapping[str, str | int], topic: str, partitions: int) -> None:
        self._consumer = KafkaClients(log_level=6).consumer(
            {
                **settings,
                "group.id": "swarm-demo-reader",
                "enable.auto.commit": False,
                "enable.partition.eof": False,
                "auto.offset.reset": "earliest",
            }
        )
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])

    def read_into(self, tally: Tally, seconds: float) -> int:
        """Read for at most `seconds`. Returns the number of records read. Raises CommandError on a client error."""
        deadline = time.monotonic() + seconds
        count = 0
        while (left := deadline - time.monotonic()) > 0:
            first = self._consumer.poll(left)
            if first is None:
                break
            for message in [first, *self._consumer.consume(999, 0)]:
                if (error := message.error()) is not None:
                    raise CommandError(f"the output topic cannot be read: {error.str()}.")
                headers = dict(message.headers() or [])
                node = headers.get("node") or headers.get("pid") or b"?"
                name = node.decode() if isinstance(node, bytes) else node
                tally.add(message.key() or b"", message.value() or b"", name)
                count += 1
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()
