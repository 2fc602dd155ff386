"""/livez, /readyz and /status as pure functions of a snapshot."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from swarm_health import NodeStatistics, PartitionStatistics
from swarm_liveness import LivenessListener
from swarm_liveness._serving.checks import check_body, live, process_live, ready, status_parts
from swarm_liveness._serving.snapshots import ProcessObserver

STATES = ("starting", "running", "degraded", "quieting", "quiet", "stopping", "stopped")


@pytest.mark.parametrize("state", STATES)
def test_live_until_stopped_and_ready_only_while_running(swarm: Any, state: str) -> None:
    snapshot = swarm(state=state)
    assert live(snapshot).ok == (state != "stopped")
    assert ready(snapshot).ok == (state == "running")
    assert ready(snapshot).code == (200 if state == "running" else 503)


def test_an_unwell_node_costs_readiness_but_not_the_supervisors_liveness(swarm: Any, node: Any) -> None:
    snapshot = swarm(nodes=[node(0), node(1, status=3, reason="uss of 300 MB is over the memory_limit of 200 MB")])
    assert live(snapshot).ok
    assert ready(snapshot).reasons == (
        "node 1 is unhealthy (3): uss of 300 MB is over the memory_limit of 200 MB",
        "1 of 2 wanted nodes are healthy",
    )


def test_an_unwell_process_without_supervisor_is_not_live(swarm: Any, node: Any) -> None:
    snapshot = swarm(wanted=1, nodes=[node(0, status=2, reason="consume of flights/3 has been running")])
    assert process_live(snapshot).reasons == ("consume of flights/3 has been running",)
    assert process_live(swarm(wanted=1, nodes=[node(0)])).ok
    assert not process_live(swarm(state="stopped")).ok


@pytest.mark.parametrize("state", ["booting", "stopping", "backing off", "killing"])
def test_a_node_that_does_not_run_is_named(swarm: Any, node: Any, state: str) -> None:
    assert f"node 1 is {state}" in ready(swarm(nodes=[node(0), node(1, state=state)])).reasons


@pytest.mark.parametrize(("phase", "ok"), [("", True), ("running", True), ("starting", False), ("quiet", False)])
def test_the_runtimes_own_phase_counts(swarm: Any, node: Any, phase: str, ok: bool) -> None:
    one = node(1, statistics=NodeStatistics(state=phase))
    assert ready(swarm(nodes=[node(0), one])).ok == ok


def test_idle_by_right_is_ready(swarm: Any, node: Any) -> None:
    """A node without a single partition, as with more nodes than partitions."""
    assert ready(swarm(nodes=[node(0), node(1, statistics=NodeStatistics(state="running", partitions=[]))])).ok


def test_too_few_nodes_are_not_ready_and_one_too_many_on_its_way_out_is(swarm: Any, node: Any) -> None:
    assert not ready(swarm(wanted=2, nodes=[node(0)])).ok
    assert ready(swarm(wanted=1, nodes=[node(0), node(1, state="stopping")])).ok


def test_the_body_says_what_the_code_says(swarm: Any) -> None:
    snapshot = swarm(state="stopping", reason="SIGTERM")
    body = json.loads(check_body(ready(snapshot), snapshot))
    assert body["status"] == "failed"
    assert body["state"] == "stopping"
    assert "the swarm is stopping: SIGTERM" in body["reasons"]


def test_status_shows_everything_a_node_at_a_time(swarm: Any, node: Any) -> None:
    statistics = NodeStatistics(
        state="running",
        messages=5,
        poll_age_s=math.nan,
        partitions=[PartitionStatistics(topic="flights", partition=3, lag=7)],
        extra={"cache": 1},
    )
    snapshot = swarm(nodes=[node(0, statistics=statistics), node(1)])
    parts = list(status_parts(snapshot, {"ready": ready(snapshot)}))
    assert [part.count(b'{"id"') for part in parts if b'{"id"' in part] == [1, 1]
    body = json.loads(b"".join(parts))
    assert body["checks"] == {"ready": {"ok": True, "reasons": []}}
    assert body["nodes"][0]["statistics"]["partitions"][0]["lag"] == 7
    assert body["nodes"][0]["statistics"]["poll_age_s"] is None
    assert body["nodes"][0]["statistics"]["extra"] == {"cache": 1}
    assert body["nodes"][1]["statistics"] is None
    assert [(one["node"], one["lag"]) for one in body["partitions"]] == [(0, 7)]


def test_many_partitions_are_told_in_parts(swarm: Any, node: Any) -> None:
    rows = [PartitionStatistics(topic="flights", partition=number, lag=1) for number in range(1000)]
    snapshot = swarm(nodes=[node(0, statistics=NodeStatistics(partitions=rows))])
    parts = list(status_parts(snapshot, {}))
    assert [one["partition"] for one in json.loads(b"".join(parts))["partitions"]] == list(range(1000))
    assert max(part.count(b'"unowned_s"') for part in parts) == 100


def test_a_quiet_swarm_is_not_ready_and_its_nodes_are_healthy(swarm: Any, node: Any) -> None:
    """status, /readyz and the page said three numbers of nodes."""
    quiet = NodeStatistics(state="quiet")
    snapshot = swarm(state="quiet", nodes=[node(0, statistics=quiet), node(1, statistics=quiet)])
    assert ready(snapshot).reasons == ("the swarm is quiet", "node 0 is quiet", "node 1 is quiet")
    dead = swarm(nodes=[node(0), node(1, state="backing off", pid=None)])
    assert ready(dead).reasons[-1] == "1 of 2 wanted nodes are healthy"


def test_no_nodes_is_valid_json(swarm: Any) -> None:
    assert json.loads(b"".join(status_parts(swarm(nodes=[]), {})))["nodes"] == []


def test_one_process_looks_like_a_swarm_of_one(runtime: Any, run: Any) -> None:
    observed = runtime(hooks=[run(started=0.0, ttl_s=0.001)], numbers={"state": "running", "messages": 4})
    listener = LivenessListener()
    listener.start(observed)
    try:
        snapshot = ProcessObserver(listener, observed).snapshot()
        assert snapshot.state == "degraded"
        assert not process_live(snapshot).ok
        assert not ready(snapshot).ok
        assert snapshot.nodes[0].statistics is not None
        assert snapshot.nodes[0].statistics.messages == 4
        observed.hooks.clear()
        healthy = ProcessObserver(listener, observed).snapshot()
        assert process_live(healthy).ok
        assert ready(healthy).ok
        observed.phase = "quiet"
        quiet = ProcessObserver(listener, observed).snapshot()
        assert process_live(quiet).ok
        assert not ready(quiet).ok
    finally:
        listener.stop()
