"""A member that is not the swarm's: joins its group, is given partitions, handles nothing, commits nothing, leaves.

Arguments: bootstrap, group, topic, and properties as key=value. Prints "assigned" once it has partitions; leaves when
stdin ends.
"""

import select
import sys

from confluent_kafka import Consumer, TopicPartition


def main() -> None:
    """Join, tell, wait, leave."""
    bootstrap, group, topic, *properties = sys.argv[1:]
    given = dict(text.split("=", 1) for text in properties)
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 0, **given}
    )

    def assigned(_: Consumer, partitions: list[TopicPartition]) -> None:
        if partitions:
            print("assigned", flush=True)

    consumer.subscribe([topic], on_assign=assigned)
    while not select.select([sys.stdin], [], [], 0)[0]:
        consumer.poll(0.05)
    consumer.close()


if __name__ == "__main__":
    main()
