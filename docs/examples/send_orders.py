"""Send 10,000 orders; the exit code is 0 when the broker has them all."""

import os
import sys

import msgspec
from confluent_kafka import Producer

producer = Producer({"bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")})
for number in range(10_000):
    order = {"number": number, "prices": [(number * 7 + item) % 100 + 0.5 for item in range(5)]}
    producer.produce("orders", msgspec.json.encode(order), key=str(number))
    producer.poll(0)
if left := producer.flush(30):
    sys.exit(f"{left} of 10,000 orders were not acknowledged within 30 seconds")
print("10,000 orders sent to the topic 'orders'")
