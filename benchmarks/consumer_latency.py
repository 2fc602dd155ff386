"""Latency of a single message on an idle topic: from produce to handler, beside a bare poll() with the same settings.

Producer and consumer are one process and one clock. The two consumers take turns, message by message, so that both see
the same machine.

    python -m benchmarks.consumer_latency [--messages 200] [--broker embedded|kafka]
"""

import argparse
import statistics
import sys
import threading
import time
import uuid

import confluent_kafka

LIMIT_MS = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="embedded")
    options = parser.parse_args()
    from swarm_consumer import App, Runtime
    from swarm_consumer.testing.embedded_broker import EmbeddedBroker
    from swarm_consumer.testing.kafka_broker import KafkaBroker

    with EmbeddedBroker() if options.broker == "embedded" else KafkaBroker() as broker:
        topics = {kind: f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("bare", "swarm")}
        for topic in topics.values():
            broker.create_topic(topic, 1)
        settings = {**broker.client_settings(), "fetch.queue.backoff.ms": 10, "queued.max.messages.kbytes": 16384}
        settings["log_level"] = 0
        arrivals: dict[str, list[float]] = {"bare": [], "swarm": []}
        arrived = threading.Event()
        ending = threading.Event()

        def note(kind: str) -> None:
            arrivals[kind].append(time.monotonic())
            arrived.set()

        def bare() -> None:
            client = confluent_kafka.Consumer(
                {**settings, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
            )
            client.subscribe([topics["bare"]])
            while not ending.is_set():
                message = client.poll(0.1)
                if message is not None and message.error() is None:
                    note("bare")
            client.close()

        app = App("latency", settings)
        app.consume(topics["swarm"], group=uuid.uuid4().hex)(lambda messages: note("swarm"))
        runtime = Runtime(app)
        threads = [threading.Thread(target=bare), threading.Thread(target=runtime.run)]
        for thread in threads:
            thread.start()
        producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0, "log_level": 0})
        latencies: dict[str, list[float]] = {"bare": [], "swarm": []}
        for number in range(options.messages + 5):
            for kind in ("bare", "swarm"):
                arrived.clear()
                sent = time.monotonic()
                producer.produce(topics[kind], b"x", partition=0)
                producer.poll(0)
                if not arrived.wait(30):
                    print(f"the {kind} consumer did not get its message within 30 s", file=sys.stderr)
                    return 1
                if number >= 5:  # the first ones join the group
                    latencies[kind].append(1000 * (arrivals[kind][-1] - sent))
                producer.flush(5)
        ending.set()
        runtime.stop()
        for thread in threads:
            thread.join(20)
    print(f"{options.messages} messages each, {options.broker} broker, milliseconds")
    for kind, taken in latencies.items():
        ordered = sorted(taken)
        print(
            f"{kind:<6} median {statistics.median(taken):6.2f}   p90 {ordered[int(len(ordered) * 0.9)]:6.2f}"
            f"   p99 {ordered[int(len(ordered) * 0.99)]:6.2f}"
        )
    added = statistics.median(latencies["swarm"]) - statistics.median(latencies["bare"])
    print(f"added  median {added:6.2f}   limit {LIMIT_MS:.2f}")
    return 1 if added > LIMIT_MS else 0


if __name__ == "__main__":
    sys.exit(main())
