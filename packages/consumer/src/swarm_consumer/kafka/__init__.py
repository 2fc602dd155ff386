"""Facts about librdkafka and its properties, for all code that creates or queries clients."""
