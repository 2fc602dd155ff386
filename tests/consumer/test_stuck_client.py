"""A client that never lets go of its partitions is noticed, and the node ends instead of waiting with it."""

from __future__ import annotations

import json

from swarm_consumer._connection import ending, stuck_client
from swarm_consumer.events import Assigned, ClientError


def test_a_client_that_never_lets_go_ends_the_node(embedded_broker, make_app, start, monkeypatch):
    monkeypatch.setattr(stuck_client, "LET_GO_S", 1.0)
    # What librdkafka does to itself needs a cluster that is fenced at the wrong moment; here any state will do.
    monkeypatch.setattr(stuck_client, "LETTING_GO", frozenset(("steady",)))
    embedded_broker.create_topic("flights", 1)
    app = make_app(kafka={"statistics.interval.ms": 200})
    app.consume("flights", group="g")(lambda messages: None)
    running = start(app)
    running.wait_for_event(Assigned)
    error = running.wait_for_event(ClientError, lambda event: event.fatal)
    assert "has not released its partitions" in error.reason
    assert running.join() == 1
    while ending._abandoned:  # this one was not stuck: it can be closed
        ending._abandoned.pop().close()


def test_letting_go_for_a_moment_or_being_steady_for_long_is_nothing(embedded_broker, make_app, start):
    embedded_broker.create_topic("flights", 1)
    app = make_app(kafka={"statistics.interval.ms": 0})
    app.consume("flights", group="g")(lambda messages: None)
    running = start(app)
    running.wait_for_event(Assigned)
    (connection,) = running.runtime._connections
    for state, seconds in (
        ("steady", 0.0),
        ("wait-incr-unassign-to-complete", 60.0),
        ("steady", 5.0),
        ("steady", 60.0),
    ):
        if connection.statistics.join_state_since is not None:
            connection.statistics.join_state_since -= seconds
        connection._owner._take_statistics(json.dumps({"cgrp": {"join_state": state}}))
    assert running.runtime.fatal_error() is None
    assert running.stop() == 0
