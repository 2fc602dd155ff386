"""Send 10,000 orders."""

import os
import random

import msgspec
from confluent_kafka import Producer

producer = Producer({"bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")})
for number in range(10_000):
    order = {"number": number, "prices": [round(random.uniform(1, 100), 2) for _ in range(5)]}
    producer.produce("orders", msgspec.json.encode(order), key=str(number))
    producer.poll(0)
left = producer.flush(30)
print(f"{10_000 - left} orders sent")
