"""Each of the six verdicts stops exactly the right node, in time, with the right code and reason, twice in a row.

One swarm of three nodes on a broker that keeps getting records; a node at a time is told to misbehave for real: its
handler hangs, deadlocks in C with the GIL held, eats memory; its polling thread hangs; its join state never settles.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from prometheus_client.parser import text_string_to_metric_families

from swarm_consumer.testing import EmbeddedBroker
from swarm_liveness.metrics_table import BY_NAME
from tests.end_to_end.liveness_lab import (
    INTERVAL_S,
    NODES,
    PARTITIONS,
    SETTLED_S,
    SILENCE_S,
    TTL_S,
    Feed,
    Watched,
    settings_for,
)

# Two cores shared with a broker, a producer and whatever else runs on the machine.
LATE_S = 2.0


@pytest.fixture(scope="module")
def misbehaving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One swarm for all verdicts: they come one after the other, as in life."""
    with EmbeddedBroker() as broker:
        broker.create_topic("work", PARTITIONS)
        feed = Feed(broker.bootstrap, ["work"])
        swarm = Watched(tmp_path_factory.mktemp("swarm"), **settings_for(broker, ["work"]))
        try:
            swarm.until(lambda: all(swarm.handled(node) for node in range(NODES)), 60, "all nodes to work")
            yield swarm
            assert swarm.stop() == 0
        finally:
            swarm.end()
            feed.stop()


REASONS = {
    "consuming": r"consume of work/\d \(offsets? \d+(?: to \d+)?\) has been running for [\d.]+ s \(consuming_ttl 3 s\)",
    "polling": r"subscription group '.*' has not been polled for [\d.]+ s \(polling_ttl 3 s\)",
    "stability": r"subscription group '.*' has been in join state wait-sync for [\d.]+ s \(stability_ttl 8 s\)",
    "memory": r"uss of [\d.]+ MB is over the memory_limit of 150 MB, in 3 samples in a row",
    "silence": r"no report for [\d.]+ s",
    "custom": r"status 77: work\[\d\]: the license server refuses us",
}
# (code, seconds until the report is due). Memory: three samples, one a second.
VERDICTS = {
    "consuming": (2, TTL_S),
    "polling": (1, TTL_S),
    "stability": (4, SETTLED_S),
    "memory": (3, TTL_S),
    "silence": (-1, SILENCE_S),
    "custom": (77, 0.0),
}


@pytest.mark.parametrize(("victim", "kind"), list(enumerate(VERDICTS)))
def test_a_verdict_stops_the_right_node_in_time_twice(misbehaving: Watched, victim: int, kind: str) -> None:
    swarm, victim = misbehaving, victim % NODES
    code, due_s = VERDICTS[kind]
    for _ in range(2):
        swarm.until(lambda: swarm.steady(NODES), 60, "a steady swarm")
        (pid,) = {node.pid for node in swarm.status().nodes if node.id == victim}
        logged = len(swarm.log.read_text())
        begun = swarm.order(victim, kind)
        (stopping,) = swarm.until(
            lambda begun=begun: swarm.of("NodeStopping", begun), due_s + INTERVAL_S + 20, "a verdict"
        )
        stopped = stopping["at"]

        # The right node, with code and reason, in time.
        assert (stopping["node_id"], stopping["pid"], stopping["status"]) == (victim, pid, code)
        assert re.search(REASONS[kind], stopping["reason"]), stopping["reason"]
        # The last sign of life may be a beat, or a poll, before the order.
        print(f"{kind}: stopped {stopped - begun:.2f} s after it began, due {due_s:g} s")
        assert due_s - INTERVAL_S - 0.5 <= stopped - begun <= due_s + INTERVAL_S + LATE_S

        # Nobody else was stopped, and everybody else kept consuming meanwhile.
        for other in {0, 1, 2} - {victim}:
            worked = [at for at in swarm.handled(other, begun) if at <= stopped]
            if stopped - begun > 2.0:  # a verdict that comes at once leaves no time for any work
                assert worked, f"node {other} did nothing while node {victim} misbehaved"
            moments = [begun, *worked, stopped]
            assert max(after - before for before, after in pairwise(moments)) < 2.0

        # It is replaced and works again; only it.
        swarm.until(
            lambda stopped=stopped: swarm.handled(victim, stopped) and swarm.of("NodeRunning", stopped),
            40,
            f"node {victim} to work again",
        )
        assert {event["node_id"] for event in swarm.of("NodeExited", begun)} == {victim}
        assert len(swarm.of("NodeStopping", begun)) == 1
        # What it hung in was told before it was stopped: by itself, or by its supervisor where it could not.
        if kind in ("consuming", "polling"):
            assert "in hang_in_handler" in swarm.log.read_text()[logged:]
        elif kind == "silence":
            (dump, *_) = [event for event in swarm.of("StacksDumped", begun) if event["node_id"] == victim]
            assert "in hang_holding_the_gil" in dump["text"]
            assert dump["at"] <= swarm.of("NodeExited", begun)[0]["at"]


def test_metrics_and_probes_tell_what_has_happened(misbehaving: Watched) -> None:
    """After the verdicts above, in the same swarm: counted by reason, and ready again."""
    code, _ = misbehaving.get("/livez")
    assert code == 200
    misbehaving.until(lambda: misbehaving.get("/readyz")[0] == 200, 30, "readiness")
    _, text = misbehaving.get("/metrics")
    for kind in VERDICTS:
        total = sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("swarm_node_stops_total{") and f'reason="{kind}"' in line.replace("silent", "silence")
        )
        assert total == 2, f"{kind}: {total}"
    # Of a swarm that has lived through all this nothing is missing but what has not happened, and nothing is unknown.
    found = {
        family.name if family.type == "histogram" else sample.name
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    not_happened = {"swarm_node_crash_loops_total", "swarm_supervisor_errors_total", "swarm_supervisor_signals_total"}
    assert found | not_happened == set(BY_NAME)
