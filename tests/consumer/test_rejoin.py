"""A client that lost its partitions and never joins again is made anew."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_consumer._connection import rejoin
from swarm_consumer._connection.rejoin import REJOIN_S, RejoinWatch
from swarm_consumer.events import Assigned, ClientCreated, ClientError, Lost


def looks(watch, states, begin=100.0, step=5.0):
    return [watch.look(group, join, begin + number * step) for number, (group, join) in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "made_anew"),
    [
        ([("up", "init")] * 6, True),
        ([("up", "steady")] * 20, False),
        ([("wait-coord", "init")] * 50, False),  # an outage, however long
        ([("wait-coord", "init")] * 50 + [("up", "init")] * 3, False),  # it has just ended
        ([("wait-coord", "init")] * 50 + [("up", "init")] * 6, True),
        ([("up", "init"), ("up", "wait-assign-call")] * 10, False),  # it moves
        ([(None, None)] * 20, False),  # statistics are off
    ],
)
def test_only_a_client_that_could_join_and_does_not_is_made_anew(states, made_anew):
    watch = RejoinWatch()
    watch.lost(99.0)
    found = [text for text in looks(watch, states) if text]
    assert len(found) == made_anew
    assert all("has not rejoined its group" in text for text in found)


def test_without_a_loss_there_is_nothing_to_come_back_from():
    """A member for which no partition is left stands in the same state for ever, and is left alone."""
    watch = RejoinWatch()
    assert not any(looks(watch, [("up", "init")] * 100))
    watch.lost(1.0)
    watch.settled()
    assert not any(looks(watch, [("up", "init")] * 100))


@given(st.lists(st.sampled_from(["lost", "settled", "init", "steady", "away"])))
def test_it_comes_at_most_once_for_each_loss_and_never_too_early(steps):
    watch, now, losses, told, since = RejoinWatch(), 0.0, 0, 0, None
    for step in steps:
        now += 5.0
        if step == "lost":
            watch.lost(now)
            losses, since = losses + 1, None
        elif step == "settled":
            watch.settled()
            since = None
        else:
            since = (since or now) if step == "init" else None
            state = ("wait-coord", "init") if step == "away" else ("up", step)
            if watch.look(*state, now) is not None:
                told += 1
                assert since is not None
                assert now - since >= REJOIN_S
        assert told <= losses


def test_a_lost_client_that_stays_out_is_made_anew_and_gets_its_partitions(
    embedded_broker, make_app, start, monkeypatch
):
    """What librdkafka does to itself needs a crash at the wrong moment: here its statistics are made up."""
    monkeypatch.setattr(rejoin, "REJOIN_S", 0.5)
    embedded_broker.create_topic("flights", 1)
    app = make_app(kafka={"statistics.interval.ms": 0})
    app.consume("flights", group="g")(lambda messages: None)
    running = start(app)
    running.wait_for_event(Assigned)
    (connection,) = running.runtime._connections
    owner = connection._owner
    out = json.dumps({"cgrp": {"join_state": "init", "state": "up"}})

    def stay_out(consumer):
        owner.rebalances.rejoin.lost(0.0)
        owner._take_statistics(out)
        owner.rebalances.rejoin._idle_since -= 1.0
        owner._take_statistics(out)

    connection.requests.ask(stay_out, 5.0)
    error = running.wait_for_event(ClientError, lambda event: "recreated" in event.reason)
    assert not error.fatal
    running.wait_for(lambda: len(running.of(ClientCreated)) == 2, what="a second connection")
    running.wait_for(lambda: len(running.of(Assigned)) == 2, what="its partitions again")
    assert running.runtime.fatal_error() is None
    assert not running.of(Lost)
    assert running.stop() == 0
