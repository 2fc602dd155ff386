import msgspec

from swarm_consumer import App, Batch, Consumer

app = App("flights", kafka={"bootstrap.servers": "localhost:9092"})


class Flight(msgspec.Struct):
    carrier: str
    dep_delay: int | None = None


@app.topic("flights", group="delays", payload=Flight)
class Delays(Consumer):
    def consume(self, messages: Batch[Flight]) -> None:  # one batch, of one partition, in order
        late = [message for message in messages if (message.payload.dep_delay or 0) > 15]
        print(f"{len(late)} of {len(messages)} departed late")
