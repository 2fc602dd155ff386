"""What the embedded broker can be made to do."""

from swarm_consumer.testing import EmbeddedBroker

with EmbeddedBroker({"orders": 8}, brokers=3) as broker:
    broker.client_settings()  # Kafka properties that make tests against it fast
    broker.take_down(2)  # one broker; take_down() takes all
    broker.bring_up(2)
    broker.set_round_trip_time(0.1)  # seconds, for every response
    broker.inject_errors("Produce", ["NOT_LEADER_FOR_PARTITION", "_TRANSPORT"])
    broker.inject_errors("OffsetCommit", ["NOT_COORDINATOR"], broker=1, delay_s=0.5)
    broker.move_leader("orders", 0, broker=3)
    broker.move_coordinator("my-group", broker=2)
    broker.track_requests()
    broker.request_counts()  # {"Fetch": 12, "OffsetCommit": 1, ...}
    broker.kill()  # SIGKILL, like a crash
    broker.restart()  # same ports, same topics, and empty
