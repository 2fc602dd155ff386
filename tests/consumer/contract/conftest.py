"""What the contract suite runs on: the same scenarios on the embedded broker and on real Kafka.

Every scenario asserts state read from the broker with a client from outside, not only what the runtime says of itself.
"""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from swarm_consumer import App, Runtime
from swarm_consumer.testing import (
    EmbeddedBroker,
    Record,
    await_committed,
    committed_offsets,
    end_offsets,
    produce,
    read_all,
)

WAIT_S = 30.0  # for what should come at once; a loaded machine may take its time
NODE_PROGRAM = Path(__file__).with_name("node_program.py")


class Cluster:
    """A broker as scenarios see it."""

    def __init__(self, broker, kind):
        self.broker = broker
        self.kind = kind
        self.bootstrap = broker.bootstrap

    @property
    def embedded(self):
        return self.kind == "embedded"

    def settings(self, protocol="consumer", **properties):
        """Client properties; underscores in names stand for dots."""
        given = {name.replace("_", "."): value for name, value in properties.items()}
        return {**self.broker.client_settings(protocol), "auto.commit.interval.ms": 50, **given}

    def app(self, group=None, *, protocol="consumer", kafka=None, **settings):
        """An app whose default group is new, unless one is given."""
        name = group or f"group-{uuid.uuid4().hex[:10]}"
        properties = {**self.settings(protocol), **(kafka or {})}
        settings = {"retry_backoff": 0.1, "retry_backoff_max": 0.2, "max_wait": 0.1, **settings}
        return App(name, kafka=properties, **settings)

    def topic(self, partitions=1, prefix="topic"):
        name = f"{prefix}-{uuid.uuid4().hex[:10]}"
        self.broker.create_topic(name, partitions)
        return name

    def fill(self, topic, count, *, partitions=1, first=0):
        """Produce values b"0", b"1", ... round the partitions: value n goes to partition n % partitions."""
        records = [Record(b"%d" % n, partition=n % partitions) for n in range(first, first + count)]
        return produce(self.bootstrap, topic, records)

    def produce(self, topic, *records):
        return produce(self.bootstrap, topic, records)

    def committed(self, app, topic):
        return committed_offsets(self.bootstrap, app if isinstance(app, str) else app.default_group, topic)

    def await_committed(self, app, topic, expected=None, timeout_s=WAIT_S):
        group = app if isinstance(app, str) else app.default_group
        return await_committed(self.bootstrap, group, topic, expected, timeout_s=timeout_s)

    def ends(self, topic):
        return end_offsets(self.bootstrap, topic)

    def values(self, topic):
        return [record.value for record in read_all(self.bootstrap, topic)]

    def records(self, topic):
        return read_all(self.bootstrap, topic)

    @contextlib.contextmanager
    def away(self):
        """The broker cannot be reached inside the block; what it holds is there again afterwards."""
        if self.embedded:
            self.broker.take_down()
            yield
            self.broker.bring_up()
        else:
            self.broker.kill()
            yield
            self.broker.restart()


class Journal:
    """What handlers were given, in order; can be waited for."""

    def __init__(self):
        self._changed = threading.Condition()
        self.entries = []  # (partition, offset, value)

    def add(self, batch):
        with self._changed:
            self.entries += [(message.partition, message.offset, message.raw_payload) for message in batch]
            self._changed.notify_all()

    def await_count(self, count, timeout_s=WAIT_S):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.entries) >= count, timeout_s), (
                f"{len(self.entries)} of {count} messages were handled within {timeout_s:g} s"
            )

    @property
    def values(self):
        return [value for _, _, value in self.entries]

    def offsets(self, partition=0):
        return [offset for number, offset, _ in self.entries if number == partition]

    @property
    def places(self):
        return [(partition, offset) for partition, offset, _ in self.entries]


class Node:
    """A runtime on a thread of this process."""

    def __init__(self, app, **options):
        self._changed = threading.Condition()
        self.events = []
        self.app = app
        self.exit_code = None
        self.failure = None
        self.runtime = Runtime(app, **options)
        app.subscribe(self._seen)
        self.leaving = False
        self.thread = threading.Thread(target=self._run, name="contract-node")
        self.thread.start()

    def _run(self):
        try:
            self.exit_code = self.runtime.run(leaving=lambda code: self.leaving)
        except BaseException as error:
            self.failure = error

    def _seen(self, event):
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def of(self, kind):
        return [event for event in list(self.events) if isinstance(event, kind)]

    def await_event(self, kind, condition=lambda event: True, *, count=1, timeout_s=WAIT_S):
        with self._changed:
            found = []

            def there():
                found[:] = [event for event in self.events if isinstance(event, kind) and condition(event)]
                return len(found) >= count

            assert self._changed.wait_for(there, timeout_s), f"no {kind.__name__} within {timeout_s:g} s: {self.events}"
            return found[count - 1]

    def await_phase(self, phase, timeout_s=WAIT_S):
        deadline = time.monotonic() + timeout_s
        while self.runtime.phase != phase:
            assert time.monotonic() < deadline, f"the runtime is {self.runtime.phase}, not {phase}"
            time.sleep(0.005)

    @property
    def partitions(self):
        """What this node has now, by its own events."""
        from swarm_consumer.events import Assigned, Lost, Revoked

        mine = set()
        for event in list(self.events):
            if isinstance(event, Assigned):
                mine |= set(event.partitions)
            elif isinstance(event, Revoked | Lost):
                mine -= set(event.partitions)
        return mine

    def await_partitions(self, count, timeout_s=WAIT_S):
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while len(self.partitions) != count:
                remaining = deadline - time.monotonic()
                assert remaining > 0, f"{len(self.partitions)} partitions after {timeout_s:g} s, not {count}"
                self._changed.wait(remaining)

    def stop(self, timeout_s=WAIT_S, *, leaving=False):
        self.leaving = leaving
        self.runtime.stop()
        return self.join(timeout_s)

    def join(self, timeout_s=WAIT_S):
        self.thread.join(timeout_s)
        assert not self.thread.is_alive(), "run() did not return"
        if self.failure is not None:
            raise self.failure
        return self.exit_code


class NodeProcess:
    """A runtime in a process of its own, to be killed or stopped by a signal. It logs each message before and after."""

    def __init__(self, folder, configuration):
        self.log = folder / f"node-{uuid.uuid4().hex[:8]}.log"
        self.log.touch()
        self.process = subprocess.Popen(
            [sys.executable, str(NODE_PROGRAM), json.dumps({**configuration, "log": str(self.log)})],
            stderr=subprocess.DEVNULL,
        )

    def entries(self, kind):
        """(partition, offset) of each logged message of this kind: "handling" or "handled"."""
        lines = self.log.read_text().splitlines()
        rows = [line.split() for line in lines if line.startswith(f"{kind} ")]
        return [(int(partition), int(offset)) for _, partition, offset in rows]

    def await_entries(self, kind, count, timeout_s=WAIT_S):
        deadline = time.monotonic() + timeout_s
        while len(self.entries(kind)) < count:
            assert self.process.poll() is None, f"the node ended with {self.process.returncode}"
            assert time.monotonic() < deadline, f"{len(self.entries(kind))} of {count} were logged"
            time.sleep(0.01)

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s=WAIT_S):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.real_kafka)])
def cluster(request):
    """The broker of this run: each scenario runs once on either."""
    if request.param == "kafka":
        yield Cluster(request.getfixturevalue("kafka_broker"), "kafka")
        return
    with EmbeddedBroker(brokers=2) as broker:
        yield Cluster(broker, "embedded")


@pytest.fixture
def embedded_cluster():
    """For the scenarios that only the embedded broker can serve: injected faults."""
    with EmbeddedBroker(brokers=2) as broker:
        yield Cluster(broker, "embedded")


@pytest.fixture
def kafka_cluster(kafka_broker):
    """For the scenarios that only a real broker can serve."""
    return Cluster(kafka_broker, "kafka")


@pytest.fixture
def journal():
    return Journal()


@pytest.fixture
def new_journal():
    return Journal


@pytest.fixture
def start():
    """Start nodes on threads; what still runs at the end is stopped."""
    nodes = []

    def make(app, **options):
        node = Node(app, **options)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.runtime.stop()
    for number, node in enumerate(nodes):
        node.thread.join(WAIT_S)
        print(f"node {number}: {node.runtime.phase}, {node.exit_code}, {node.failure}", *node.events, sep="\n  ")
    assert not [node for node in nodes if node.thread.is_alive()], "a node did not stop"


@pytest.fixture
def start_process(tmp_path):
    """Start nodes as processes; what still runs at the end is killed."""
    processes = []

    def make(**configuration):
        process = NodeProcess(tmp_path, configuration)
        processes.append(process)
        return process

    yield make
    for one in processes:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGCONT)
            one.kill()


@pytest.fixture
def gate():
    """An event that handlers wait for; opened at the end in any case, so that no thread is left behind."""
    event = threading.Event()
    yield event
    event.set()
