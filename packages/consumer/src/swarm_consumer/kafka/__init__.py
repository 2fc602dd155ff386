"""Facts about librdkafka and its properties, for all that make or ask clients."""
