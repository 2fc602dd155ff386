"""A real broker, killed and started again. Needs Java and Maven."""

from swarm_consumer.testing import KafkaBroker

with KafkaBroker(properties={"num.partitions": 8}) as broker:
    broker.create_topic("orders", 8)
    broker.kill()  # SIGKILL; the data stays
    broker.restart()  # same port, same data
