"""A process that will fork makes no Kafka client: each way to make one is refused where it is called."""

from __future__ import annotations

import subprocess
import sys
import textwrap

PROGRAM = """
    import os
    import sys
    import confluent_kafka
    from confluent_kafka import Producer as Early
    from swarm_consumer import App, ForkError, Runtime
    from swarm_consumer.client_guard import refuse_clients
    refuse_clients()
    refuse_clients()
    from confluent_kafka import Consumer, DeserializingConsumer, Producer, SerializingProducer
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import Producer as Native

    settings = {"bootstrap.servers": "localhost:1", "group.id": "g"}
    app = App("shop", {"bootstrap.servers": "localhost:1"})
    app.consume("orders")(lambda batch: None)

    class Own(Producer):
        pass

    class Consumer(Consumer):  # of the same name
        pass

    makers = {
        "Consumer": lambda: Consumer(settings),
        "Producer": lambda: Producer(settings),
        "Early": lambda: Early(settings),
        "Native": lambda: Native(settings),
        "attribute": lambda: confluent_kafka.Producer(settings),
        "subclass": lambda: Own(settings),
        "SerializingProducer": lambda: SerializingProducer({"bootstrap.servers": "localhost:1"}),
        "DeserializingConsumer": lambda: DeserializingConsumer(settings),
        "AdminClient": lambda: AdminClient({"bootstrap.servers": "localhost:1"}),
        "Runtime": lambda: Runtime(app),
        "run": lambda: app.run(),
    }

    def refused():
        for name, make in makers.items():
            try:
                make()
                print(name, "made")
            except ForkError as error:
                print(name, "refused", error)

    refused()
    sys.stdout.flush()
    if os.fork() == 0:
        producer = Producer({"bootstrap.servers": "localhost:1"})
        assert type(producer).__mro__[-2].__name__ == "Producer", type(producer).__mro__
        assert isinstance(producer, Producer) and isinstance(producer, confluent_kafka.Producer)
        assert isinstance(SerializingProducer({"bootstrap.servers": "localhost:1"}), Producer)
        AdminClient({"bootstrap.servers": "localhost:1"})
        assert isinstance(Own({"bootstrap.servers": "localhost:1"}), Own)
        assert not isinstance(confluent_kafka.Consumer(settings), Consumer)
        print("child made all")
        sys.stdout.flush()
        os._exit(0)
    assert os.wait()[1] == 0
    print(sorted(os.listdir("/proc/self/task")) == [str(os.getpid())])
"""


def test_every_client_is_refused_in_the_process_and_made_in_its_children(tmp_path):
    (tmp_path / "shop.py").write_text(textwrap.dedent(PROGRAM))
    done = subprocess.run(
        [sys.executable, "shop.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *refusals, child, alone = done.stdout.splitlines()
    assert len(refusals) == 11
    for line in refusals:
        name, verdict, place, *_ = line.split()
        assert verdict == "refused", line
        assert place.startswith("shop.py:"), line
        assert "makes a Kafka client" in line, (name, line)
        assert "in the supervisor" in line
        assert "@app.lifespan" in line
    assert (child, alone) == ("child made all", "True")
