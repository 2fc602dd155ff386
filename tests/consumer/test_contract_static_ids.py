"""Contract, static ids under group.protocol=consumer, where a broker keeps an id for the session of its last holder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from swarm_consumer.admin import Cluster
from swarm_consumer.events import ClientError

HOLDER = """
import sys, json, confluent_kafka
client = confluent_kafka.Consumer(json.loads(sys.argv[1]))
client.subscribe([sys.argv[2]], on_assign=lambda c, p: print("assigned", flush=True))
while True:
    client.poll(0.1)
"""


def die_as_a_member(world, topic, **kafka):
    """Have a process join the group under the id of node 7, and kill it."""
    settings = {**world.broker.client_settings(), "group.id": world.group, "log_level": 0, **kafka}
    settings["group.instance.id"] = f"rack_7_{world.group}"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, json.dumps(settings), topic], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "assigned\n"
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(10)
        holder.stdout.close()


def test_a_stop_for_good_before_a_node_has_joined_leaves_for_its_dead_predecessor_too(real_world):
    """The id stayed in the group for its session, and the partitions with it: who has not joined cannot leave."""
    world = real_world
    topic = world.topic()
    world.produce(topic, [b"x"] * 5)
    assignor = {"partition.assignment.strategy": "cooperative-sticky"}
    classic = {"group.protocol": "classic", "session.timeout.ms": 45000, **assignor}
    die_as_a_member(world, topic, **classic)
    with Cluster({"bootstrap.servers": world.bootstrap}) as cluster:
        assert cluster.group(world.group).members() == 1
        app = world.app(kafka={"group.instance.id": "rack", **classic})
        app.consume(topic)(lambda messages: None)
        running = world.start(app, node_id=7, leaving=lambda code: True)
        assert running.stop() == 0
        running.wait_for(lambda: cluster.group(world.group).members() == 0, 10, "a group without members")
    assert not world.committed(topic), "nobody has handled anything"


def test_a_node_whose_predecessor_died_waits_for_its_id_and_then_goes_on(real_world):
    world = real_world
    topic = world.topic()
    world.produce(topic, [b"x"] * 5)
    die_as_a_member(world, topic)
    app = world.app(kafka={"group.instance.id": "rack", "auto.commit.interval.ms": 50})
    app.consume(topic)(lambda messages: None)
    running = world.start(app, node_id=7)
    waiting = running.wait_for_event(ClientError, lambda event: event.code == "UNRELEASED_INSTANCE_ID")
    assert not waiting.fatal
    assert f"rack_7_{world.group}" in waiting.reason
    world.await_committed(topic, {0: 5})
    assert running.runtime.fatal_error() is None
    assert running.stop() == 0
