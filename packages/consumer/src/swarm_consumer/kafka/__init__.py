"""Facts about librdkafka and its properties, and the factory of its clients."""
