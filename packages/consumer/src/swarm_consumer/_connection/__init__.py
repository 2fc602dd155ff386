"""One Kafka client of a subscription group: its thread, its partitions, its commits."""
