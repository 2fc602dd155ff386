"""Loss and duplicates of a million messages while nodes come, go and are killed, and the broker is restarted.

Three nodes, each a process, consume 8 partitions of a real Kafka while a producer fills them. A node leaves and comes
back, another is killed with SIGKILL and replaced, the broker is killed and started again. Every node appends each
message it has handled (partition, offset, key) to a file of its own, in one write at the end of its batch: that is the
handler's effect, and what is counted. The bound of duplicates is the documented one: what was handled and not yet
committed when a node was killed or the broker went away. So each duplicate must have been handled first within
auto.commit.interval.ms before one of these, or while the broker was away; what leaves and comes in order repeats none.

    python -m benchmarks.consumer_million [--messages 1000000] [--rate 20000] [--protocol classic|consumer]
"""

import argparse
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PARTITIONS = 8
BATCH = 500
HEAD = struct.Struct("<dHI")  # when, partition, how many follow
ROW = struct.Struct("<qq")  # offset, key
COMMIT_INTERVAL_S = 1.0
GRACE_S = 1.0  # a commit that is due may take so long on a busy machine: to be sent, written and answered
FORCED = 4  # the exit code of a node that could not close its client in time
GROUP, TOPIC = "million", "million"


@dataclass(frozen=True)
class Outage:
    """A time after which what was not committed may be handled again."""

    what: str
    begin: float
    end: float

    @property
    def window(self) -> tuple[float, float]:
        """When a message must have been handled first to be repeated because of this."""
        return self.begin - COMMIT_INTERVAL_S - GRACE_S, self.end


@dataclass
class Verdict:
    """What was counted."""

    sent: int
    handled: int
    lost: int
    duplicates: int
    bound: int  # messages handled within the windows of the outages
    unexplained: int  # duplicates outside them
    wrong_keys: int
    foreign: int  # handled, but never acknowledged to the producer
    uncommitted: int

    @property
    def holds(self) -> bool:
        """Whether nothing was lost and every duplicate is within the bound."""
        return not (self.lost or self.unexplained or self.wrong_keys or self.foreign or self.uncommitted) and (
            self.duplicates <= self.bound
        )


def judge(
    keys: Sequence[array],
    handled: Iterator[tuple[float, int, int, int]],
    outages: Sequence[Outage],
    committed: dict[int, int],
) -> Verdict:
    """Count by key and offset.

    keys: by partition, the key at each offset. handled: when, partition, offset and key, one for each time.
    """
    first = [array("d", [0.0]) * len(one) for one in keys]
    verdict = Verdict(sum(map(len, keys)), 0, 0, 0, 0, 0, 0, 0, 0)
    windows = [outage.window for outage in outages]
    for at, partition, offset, key in sorted(handled):
        verdict.handled += 1
        within = any(begin <= at <= end for begin, end in windows)
        verdict.bound += within
        if offset >= len(keys[partition]):
            verdict.foreign += 1
        elif keys[partition][offset] != key:
            verdict.wrong_keys += 1
        elif not first[partition][offset]:
            first[partition][offset] = at
        else:
            verdict.duplicates += 1
            before = first[partition][offset]
            verdict.unexplained += not any(begin <= before <= end for begin, end in windows)
    verdict.lost = sum(1 for one in first for at in one if not at)
    verdict.uncommitted = sum(len(one) - committed.get(partition, 0) for partition, one in enumerate(keys))
    return verdict


# -- a node --------------------------------------------------------------------------------------------------------


def node(log: str, settings: dict, node_id: int) -> int:
    """Consume until told to stop, noting what was handled."""
    from swarm_consumer import App

    logging.basicConfig(level=logging.CRITICAL)  # a broker that is away is no news here
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    app = App(GROUP, settings, max_messages=BATCH, max_wait=0.1)

    @app.consume(TOPIC)
    def handle(messages):
        rows = [ROW.pack(message.offset, int(message.key)) for message in messages]
        os.write(descriptor, HEAD.pack(time.monotonic(), messages.partition, len(rows)) + b"".join(rows))

    return app.run(signals=True, node_id=node_id)


def read_log(path: Path) -> Iterator[tuple[float, int, int, int]]:
    """What a node has handled; a last write that a SIGKILL cut short counts as far as it came."""
    data = path.read_bytes()
    place = 0
    while place + HEAD.size <= len(data):
        at, partition, count = HEAD.unpack_from(data, place)
        place += HEAD.size
        for _ in range(count):
            if place + ROW.size > len(data):
                return
            offset, key = ROW.unpack_from(data, place)
            place += ROW.size
            yield at, partition, offset, key


@dataclass
class Nodes:
    """The nodes that run now, and the files of all that ever ran."""

    folder: Path
    settings: dict
    running: dict[int, subprocess.Popen] = field(default_factory=dict)
    exits: list[int] = field(default_factory=list)

    def start(self, number: int) -> None:
        """Start a node."""
        given = json.dumps([str(self.folder / f"node-{number}.log"), self.settings, number])
        command = [sys.executable, "-m", "benchmarks.consumer_million", "--node", given]
        self.running[number] = subprocess.Popen(command)

    def stop(self, number: int) -> int:
        """Tell a node to stop, wait for it, and return its exit code."""
        process = self.running.pop(number)
        process.send_signal(signal.SIGTERM)
        self.exits.append(process.wait(90))
        return self.exits[-1]

    def kill(self, number: int) -> Outage:
        """Kill a node."""
        process = self.running.pop(number)
        begin = time.monotonic()
        process.kill()
        process.wait()
        return Outage(f"kill -9 of node {number}", begin, time.monotonic())

    def handled(self) -> Iterator[tuple[float, int, int, int]]:
        """What all nodes have handled."""
        for path in sorted(self.folder.glob("node-*.log")):
            yield from read_log(path)


# -- the run -------------------------------------------------------------------------------------------------------


class Load:
    """An idempotent producer that keeps the key of every acknowledged message at its place."""

    def __init__(self, bootstrap: str) -> None:
        import confluent_kafka

        self.keys = [array("q") for _ in range(PARTITIONS)]
        self.failed = 0
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 120_000,
                "queue.buffering.max.messages": 1_000_000,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    def send(self, key: int) -> None:
        """Send a message to the partition of its key."""
        text = b"%d" % key
        self._producer.produce(TOPIC, b"x" * 200, text, partition=key % PARTITIONS, on_delivery=self._delivered)
        if not key % 100:
            self._producer.poll(0)

    def wait(self, seconds: float) -> None:
        """Serve acknowledgements for so long: poll() itself returns with the first of them."""
        until = time.monotonic() + seconds
        self._producer.poll(0)
        while (left := until - time.monotonic()) > 0:
            self._producer.poll(left)

    def finish(self) -> None:
        """Wait until everything is acknowledged."""
        left = self._producer.flush(120)
        assert not left, f"{left} messages were not sent"
        assert not self.failed, f"{self.failed} messages were not acknowledged"

    def _delivered(self, error, message) -> None:
        if error is not None:
            self.failed += 1
            return
        keys = self.keys[message.partition()]
        assert message.offset() == len(keys), "an offset without a message of ours"
        keys.append(int(message.key()))


def run(messages: int, rate: float, protocol: str, say=print) -> Verdict:
    """Do it all once and count."""
    from swarm_consumer.testing import await_committed
    from swarm_consumer.testing.kafka_broker import KafkaBroker

    outages: list[Outage] = []
    with tempfile.TemporaryDirectory() as folder, KafkaBroker() as broker:
        broker.create_topic(TOPIC, PARTITIONS)
        milliseconds = int(COMMIT_INTERVAL_S * 1000)
        settings = {**broker.client_settings(protocol), "auto.commit.interval.ms": milliseconds}
        nodes = Nodes(Path(folder), settings)

        def restart_broker() -> None:
            begin = time.monotonic()
            broker.kill()
            broker.restart()
            # Until then a member may not have been able to commit, or have found its session expired.
            outages.append(Outage("kill -9 and restart of the broker", begin, time.monotonic() + 6.0))

        def stop(number: int) -> None:
            if nodes.stop(number) == FORCED:
                # Its client did not come back from close() in time (librdkafka after an outage): it was left, as by a
                # kill, and may have been unable to commit since the outage.
                begin = min((outage.begin for outage in outages), default=begun)
                outages.append(Outage(f"node {number} had to be left", begin, time.monotonic()))

        restarting = threading.Thread(target=restart_broker)
        plan = [
            (0.00, "node 0 comes", lambda: nodes.start(0)),
            (0.05, "node 1 comes", lambda: nodes.start(1)),
            (0.10, "node 2 comes", lambda: nodes.start(2)),
            (0.25, "node 2 leaves", lambda: stop(2)),
            (0.35, "node 2 is back", lambda: nodes.start(2)),
            (0.45, "node 1 is killed", lambda: outages.append(nodes.kill(1))),
            (0.50, "node 1 is replaced", lambda: nodes.start(1)),
            (0.65, "the broker is killed and restarted", restarting.start),
            (0.90, "node 0 leaves", lambda: stop(0)),
            (0.95, "node 0 is back", lambda: nodes.start(0)),
        ]
        begun = time.monotonic()
        try:
            load = Load(broker.bootstrap)
            for key in range(messages):
                while plan and key >= plan[0][0] * messages:
                    _, what, act = plan.pop(0)
                    say(f"{time.monotonic() - begun:6.1f} s  {key:>9,}  {what}")
                    act()
                load.send(key)
                if not key % 200:
                    load.wait(begun + key / rate - time.monotonic())
            restarting.join()
            load.finish()
            say(f"{time.monotonic() - begun:6.1f} s  {messages:>9,}  everything is sent")
            ends = {partition: len(keys) for partition, keys in enumerate(load.keys)}
            committed = await_committed(broker.bootstrap, GROUP, TOPIC, ends, timeout_s=120)
            say(f"{time.monotonic() - begun:6.1f} s  {messages:>9,}  everything is committed")
            for number in sorted(nodes.running):
                stop(number)
        finally:
            for process in nodes.running.values():
                process.kill()
                process.wait()
        assert {*nodes.exits} <= {0, FORCED}, f"nodes ended with {nodes.exits}"
        say(f"exit codes: {nodes.exits}")
        return judge(load.keys, nodes.handled(), outages, committed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=20_000, help="messages a second that are produced")
    parser.add_argument("--protocol", choices=("classic", "consumer"), default="classic")
    parser.add_argument("--node", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        code = node(*json.loads(options.node))
        sys.stdout.flush()
        os._exit(code)
    verdict = run(options.messages, options.rate, options.protocol)
    print(
        f"\n{verdict.sent:,} messages acknowledged, {verdict.handled:,} handled: lost {verdict.lost}, duplicates "
        f"{verdict.duplicates:,} (bound {verdict.bound:,}; outside it {verdict.unexplained}), wrong keys "
        f"{verdict.wrong_keys}, never sent {verdict.foreign}, not committed {verdict.uncommitted}"
    )
    return 0 if verdict.holds else 1


if __name__ == "__main__":
    sys.exit(main())
