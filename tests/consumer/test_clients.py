"""The factory of clients: the one place that makes them, with their log and secrets, and refuses where forks follow."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from swarm_consumer import App, Consumer, Producer, Runtime
from swarm_consumer.events import ClientCreated
from swarm_consumer.kafka.clients import KafkaClients
from swarm_consumer.kafka.librdkafka_log import ContainedLog, scrubbing
from swarm_consumer.kafka.producer_properties import connection_properties
from swarm_consumer.testing import await_committed, produce
from swarm_consumer.testing.errors import UnsupportedByBroker
from swarm_consumer.testing.in_memory import _MemoryClients

ROOT = Path(__file__).parents[2]
CLIENTS = {
    "Consumer", "Producer", "AdminClient", "DeserializingConsumer", "SerializingProducer", "ShareConsumer",
    "DeserializingShareConsumer",
}  # fmt: skip
NOWHERE = {"bootstrap.servers": "127.0.0.1:1"}
GROUP = {"group.id": "g"}


# -- one place -----------------------------------------------------------------------------------------------------


def uses_of_clients(source: str) -> list[int]:
    """The lines where a class of confluent-kafka's clients is named, annotations and types in brackets excepted."""
    tree = ast.parse(source)
    modules, names = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "confluent_kafka":
                    modules.add(alias.asname or "confluent_kafka")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "confluent_kafka":
            names |= {alias.asname or alias.name for alias in node.names if alias.name in CLIENTS}
            modules |= {alias.asname or alias.name for alias in node.names if alias.name in ("admin", "cimpl")}
    types = set()
    for node in ast.walk(tree):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None), getattr(node, "slice", None)):
            types |= {id(inner) for inner in ast.walk(part)} if isinstance(part, ast.AST) else set()
    found = []
    for node in ast.walk(tree):
        if id(node) in types:
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
            found.append(node.lineno)
        if isinstance(node, ast.Attribute) and node.attr in CLIENTS:
            root = ast.unparse(node.value).partition(".")[0]
            found += [node.lineno] if root in modules else []
    return found


def test_the_check_of_the_source_sees_each_way_to_make_a_client():
    for line in (
        "from confluent_kafka import Producer\nProducer({})",
        "from confluent_kafka import Consumer as C\nmake = C",
        "import confluent_kafka\nx: confluent_kafka.Consumer = confluent_kafka.Consumer({})",
        "import confluent_kafka.admin as admin\nadmin.AdminClient({})",
        "from confluent_kafka import cimpl\ncimpl.Producer({})",
        "def f():\n    import confluent_kafka\n    return made(confluent_kafka.Producer)",
        "from confluent_kafka import Consumer\nclass Own(Consumer): pass",
    ):
        assert uses_of_clients(line), line
    for line in (
        "from swarm_consumer import Consumer\nConsumer()",
        "import confluent_kafka\ndef f(client: confluent_kafka.Consumer) -> list[confluent_kafka.Producer]: ...",
        "from confluent_kafka import Consumer\nCall = Callable[[Consumer], None]",
    ):
        assert not uses_of_clients(line), line


def test_clients_are_made_in_one_module_of_all_packages():
    makers = {
        str(path.relative_to(ROOT)): lines
        for path in sorted(ROOT.glob("packages/*/src/**/*.py"))
        if (lines := uses_of_clients(path.read_text()))
    }
    assert makers.keys() == {"packages/consumer/src/swarm_consumer/kafka/clients.py"}
    assert len(next(iter(makers.values()))) == 3, "a consumer, a producer, an admin client"


# -- what it knows -------------------------------------------------------------------------------------------------


def configured(monkeypatch, clients, properties):
    """The configurations that the factory's three clients are made with."""
    made = {}
    for name in ("confluent_kafka.Consumer", "confluent_kafka.Producer", "confluent_kafka.admin.AdminClient"):
        monkeypatch.setattr(name, lambda configuration, name=name: made.setdefault(name, configuration))
    clients.consumer(properties, error_cb=print, stats_cb=repr, on_commit=str)
    clients.producer(properties, error_cb=print)
    clients.admin(properties)
    return [made[name] for name in sorted(made)]


def test_clients_get_their_callbacks_and_the_logger_without_secrets(monkeypatch, caplog):
    given = {**NOWHERE, "sasl.password": "hunter2"}
    consumer, producer, admin = configured(monkeypatch, KafkaClients(), given)
    log = admin.pop("logger")
    assert (consumer.pop("logger"), producer.pop("logger")) == (log, log)
    assert consumer == {**given, "error_cb": print, "stats_cb": repr, "on_commit": str}
    assert producer == {**given, "error_cb": print}
    assert admin == given
    assert given == {**NOWHERE, "sasl.password": "hunter2"}, "nothing is added to what was given"
    with caplog.at_level(logging.INFO, "swarm_consumer.librdkafka"):
        log.log(logging.WARNING, "%s is wrong", "hunter2")
    assert caplog.messages == ["[redacted] is wrong"]


def test_a_log_that_fails_shows_no_secret_on_standard_error_either(capfd):
    class Full(logging.Handler):
        def handle(self, record):
            raise OSError("disk full")

    scrubbing.learn({"hunter2secret"})
    logger, full = logging.getLogger("swarm_consumer.test_clients"), Full()
    logger.addHandler(full)
    try:
        ContainedLog(logger).log(logging.WARNING, "%s", "the password is hunter2secret")
    finally:
        logger.removeHandler(full)
    shown = capfd.readouterr().err
    assert "OSError: disk full" in shown
    assert "the password is [redacted]" in shown
    assert "hunter2secret" not in shown


def test_a_level_of_its_own_log_wins_over_debug_and_needs_no_logger(monkeypatch):
    for made in configured(monkeypatch, KafkaClients(log_level=0), {**NOWHERE, "debug": "all", "log_level": 7}):
        assert made["log_level"] == 0
        assert {"debug", "logger"}.isdisjoint(made)


def test_a_producer_of_its_own_has_the_logger_that_it_is_given(monkeypatch):
    made = []
    monkeypatch.setattr("confluent_kafka.Producer", made.append)
    own = logging.getLogger("own")
    Producer(NOWHERE, None, own)._create()
    assert made[0]["logger"] is own


def test_the_clients_are_those_of_confluent_kafka():
    clients = KafkaClients(log_level=0)
    consumer = clients.consumer({**NOWHERE, **GROUP})
    assert type(consumer).__name__ == "Consumer"
    consumer.close()
    assert clients.producer(NOWHERE).flush(0) == 0
    assert callable(clients.admin(NOWHERE).list_topics)


# -- where forks follow ------------------------------------------------------------------------------------------


SUPERVISOR = """
    import os
    from swarm_consumer import App, ForkError, Runtime, check_cluster
    from swarm_consumer.admin import Cluster
    from swarm_consumer.client_guard import refuse_clients
    from swarm_consumer.kafka.clients import KafkaClients
    from swarm_consumer.testing import produce, read_all

    NOWHERE = {"bootstrap.servers": "localhost:1", "group.id": "g"}
    refuse_clients()
    clients = KafkaClients()
    app = App("shop", {"bootstrap.servers": "localhost:1"})
    app.consume("orders")(lambda batch: None)
    makers = [
        lambda: clients.consumer(NOWHERE),
        lambda: clients.producer({}),
        lambda: clients.admin({}),
        lambda: Cluster({"bootstrap.servers": "localhost:1"}),
        lambda: check_cluster(app),
        lambda: produce("localhost:1", "orders", [b"x"]),
        lambda: read_all("localhost:1", "orders"),
        lambda: Runtime(app, clients=clients),
    ]
    for make in makers:
        try:
            make()
            print("made")
        except ForkError as error:
            print(error)
    print(len(os.listdir("/proc/self/task")), flush=True)
    if os.fork() == 0:
        client = clients.consumer(NOWHERE)
        print("made in the child", flush=True)
        os._exit(0)
    os.wait()
"""


def test_a_supervisor_is_refused_at_the_line_that_asks(tmp_path):
    (tmp_path / "shop.py").write_text(textwrap.dedent(SUPERVISOR))
    done = subprocess.run(
        [sys.executable, "shop.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    *refusals, threads, child = done.stdout.splitlines()
    kinds = ["Consumer", "Producer", "AdminClient", "AdminClient", "Consumer", "Producer", "Consumer", "Runtime"]
    assert [line.partition(", and")[0] for line in refusals] == [
        f"shop.py:{number} makes a Kafka client ({kind}) in the supervisor" for number, kind in enumerate(kinds, 15)
    ]
    assert all("@app.lifespan" in line for line in refusals)
    assert (threads, child) == ("1", "made in the child")


# -- who gets theirs from it ---------------------------------------------------------------------------------------


class Counting(KafkaClients):
    """Notes what was asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def consumer(self, properties, **callbacks):
        self.asked.append(("consumer", properties["client.id"], sorted(callbacks)))
        return super().consumer(properties, **callbacks)

    def producer(self, properties, **callbacks):
        self.asked.append(("producer", properties["client.id"], sorted(callbacks)))
        return super().producer(properties, **callbacks)


def test_a_runtime_gets_all_its_clients_from_the_factory_that_it_is_given(embedded_broker, topic_name):
    topic, out = topic_name("orders"), topic_name("out")
    for name in (topic, out):
        embedded_broker.create_topic(name, 1)
    produce(embedded_broker.bootstrap, topic, [b"1"])
    kafka = {**embedded_broker.client_settings(), "auto.commit.interval.ms": 50}
    app, clients, created = App("shop", kafka), Counting(), []
    app.subscribe(lambda event: created.append(event) if isinstance(event, ClientCreated) else None)

    @app.topic(topic, group=topic)
    class Forward(Consumer):
        def consume(self, messages):
            self.produce(out, messages.raw_payloads()[0])
            runtime.stop()

    runtime = Runtime(app, clients=clients)
    assert runtime.run() == 0
    await_committed(embedded_broker.bootstrap, topic, topic, {0: 1})
    assert clients.asked == [
        ("consumer", "shop", ["error_cb", "on_commit", "stats_cb"]),
        ("producer", "shop-producer", ["error_cb"]),
    ]
    assert len(created) == 1


def test_a_client_for_administration_gets_all_that_says_how_to_reach_the_brokers_and_nothing_else():
    reach = NOWHERE | {
        "client.id": "c", "security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "socket.timeout.ms": 1000,
        "enable.sasl.oauthbearer.unsecure.jwt": True, "ssl.ca.location": "probe", "https.ca.location": "probe",
        "enable.ssl.certificate.verification": True, "reconnect.backoff.ms": 10, "broker.address.family": "v4",
    }  # fmt: skip
    others = GROUP | {"client.rack": "r", "auto.offset.reset": "earliest", "session.timeout.ms": 6000, "linger.ms": 1}
    assert connection_properties(reach | others) == reach
    KafkaClients(log_level=0).admin(reach)  # it knows all of them


def test_the_test_kit_has_no_cluster_to_administer():
    with pytest.raises(UnsupportedByBroker, match="no cluster to administer"):
        _MemoryClients(None).admin({})
