"""What a crash costs on real Kafka, with sessions of 45 s: a moment for its own partitions, nothing for others.

Bounds are far above what a quiet machine needs, and far below the session, which a member that is not known to be
coming back, or to have left, would cost.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.crash_lab import Lab, Swarm, expect, longest

AT_ONCE = ("--first-restart-delay", "0", "--node-restart-delay", "0.5", "--restart-delay-max", "1")
SOON_S = 12.0
"""Of a session of 45 s."""

pytestmark = [pytest.mark.real_kafka, pytest.mark.timeout(300)]


@pytest.fixture
def lab(kafka_broker: Any, tmp_path: Path) -> Iterator[Lab]:
    with Lab(kafka_broker, tmp_path) as made:
        yield made


def nothing_lost(lab: Lab) -> None:
    expect(lambda: lab.missing() == 0, 30.0, "every record", lab.swarms)


def test_a_node_or_a_supervisor_that_dies_is_back_before_anybody_notices(lab: Lab) -> None:
    swarm = lab.swarm(*AT_ONCE)
    swarm.settled()
    for node in (0, 1, 2):
        pids = swarm.settled()
        repeats = lab.repeats()
        _, killed = swarm.kill(node)
        swarm.settled()
        silence = longest(lab.silences(killed))
        assert silence < SOON_S, f"node {node}: {silence:.1f} s"
        others = {pid for number, pid in pids.items() if number != node}
        assert not lab.rebalances(killed, others)
        assert lab.repeats() - repeats <= 600  # half a second of work and more; without progress memory, too
        print(f"kill -9 of node {node}: silent for {silence:.2f} s, {lab.repeats() - repeats} records repeated")

    pids = swarm.settled()
    _, told = swarm.signal(1, signal.SIGTERM)  # by somebody: the node comes back at once, so it stays a member
    swarm.settled()
    assert longest(lab.silences(told)) < SOON_S
    assert not lab.rebalances(told, {pids[0], pids[2]})

    swarm.scale(4)  # its member joins while another one dies
    began = time.monotonic()
    expect(lambda: 3 in swarm.nodes(), 30.0, "a fourth node", [swarm])
    swarm.kill(1)
    swarm.settled()
    assert longest(lab.silences(began)) < 45.0 / 2

    pids = swarm.settled()
    theirs = [partition for partition, pid in lab.owners().items() if pid == pids[3]]
    scaled = time.monotonic()
    swarm.scale(3)
    swarm.settled()
    assert longest(lab.silences(scaled), theirs) < SOON_S

    swarm.settled()
    killed = time.monotonic()
    swarm.die()
    successor = lab.swarm(*AT_ONCE)
    successor.settled()
    silence = longest(lab.silences(killed))
    assert silence < SOON_S
    print(f"kill -9 of the supervisor: silent for {silence:.2f} s, with the start of its successor")
    slots = [set(slots_of(one)) for one in (swarm, successor)]
    assert slots[0] == slots[1]  # 0, unless this host runs other swarms of that client id
    assert len(slots[0]) == 1

    outsider = lab.outsider()
    expect(lambda: outsider.partitions, 30.0, "partitions of the outsider", [successor])
    stopped = time.monotonic()
    assert successor.terminate() == 0
    expect(lambda: len(outsider.partitions) == lab.partitions, SOON_S, "all partitions at the outsider", [successor])
    expect(lambda: longest(lab.silences(time.monotonic() - 1.0)) < 0.9, 30.0, "records of all partitions")
    assert longest(lab.silences(stopped)) < SOON_S
    print(f"orderly end of the swarm: silent for {longest(lab.silences(stopped)):.2f} s")
    nothing_lost(lab)


def slots_of(swarm: Swarm) -> Iterator[str]:
    """The slots in the static ids that a swarm's nodes had."""
    for line in swarm.output().splitlines():
        if " as static member " in line:
            member = line.rpartition(" ")[2]
            yield member.split("_")[0].rpartition(".")[2]


def own_fault(swarm: Swarm) -> tuple[int, float]:
    return swarm.order(1, "quit")


def terminated(swarm: Swarm) -> tuple[int, float]:
    return swarm.signal(1, signal.SIGTERM)


@pytest.mark.parametrize(
    ("options", "end", "comes_back"),
    [
        pytest.param(("--node-restart-delay", "20", "--restart-delay-max", "20"), own_fault, True, id="exit 1"),
        pytest.param(("--node-restart-delay", "20", "--restart-delay-max", "20"), terminated, True, id="TERM"),
        pytest.param(("--restart", "never"), terminated, False, id="never"),
    ],
)
def test_a_node_that_ends_in_order_and_is_not_back_at_once_leaves(
    lab: Lab, options: tuple[str, ...], end: Callable[[Swarm], tuple[int, float]], comes_back: bool
) -> None:
    """Its partitions would wait for its return, or for its session, where those of a dynamic member do not."""
    swarm = lab.swarm(*options)
    pids = swarm.settled()
    gone, began = end(swarm)
    assert gone == pids[1]
    others = {pids[0], pids[2]}
    expect(lambda: lab.shared_by(others), SOON_S, "the others' takeover", [swarm])
    ended = time.monotonic()
    assert longest(lab.silences(began, ended)) < SOON_S
    print(f"in order: silent for {longest(lab.silences(began, ended)):.2f} s")
    if comes_back:
        swarm.settled()
        assert longest(lab.silences(began)) < SOON_S
    nothing_lost(lab)


def test_two_swarms_that_start_at_the_same_moment_have_ids_of_their_own(lab: Lab) -> None:
    swarms = [lab.swarm(*AT_ONCE, nodes=2), lab.swarm(*AT_ONCE, nodes=2)]
    lab.settled(lambda: [pid for swarm in swarms if swarm.pids() for pid in swarm.pids().values()], 2.0)
    expect(lambda: all(swarm.pids() for swarm in swarms), 30.0, "both swarms", swarms)
    lab.settled(lambda: [pid for swarm in swarms for pid in swarm.pids().values()])
    slots = [set(slots_of(swarm)) for swarm in swarms]  # 0 and 1, unless this host runs other swarms of that client id
    assert [len(slots[0]), len(slots[1]), len(slots[0] | slots[1])] == [1, 1, 2]
    for swarm in swarms:
        assert "FENCED" not in swarm.output()
    others = set(swarms[1].pids().values())
    _, killed = swarms[0].kill(0)
    lab.settled(lambda: [pid for swarm in swarms for pid in swarm.pids().values()])
    assert longest(lab.silences(killed)) < SOON_S
    assert not lab.rebalances(killed, others)
    nothing_lost(lab)


def test_members_under_an_id_of_the_users_stay_when_the_swarm_stops_and_leave_when_scaled_away(lab: Lab) -> None:
    """As in a StatefulSet: a pod stops all nodes, and comes back under its name."""
    own = ("--group-instance-id", "rack")
    swarm, outsider = lab.swarm(*own, nodes=2), lab.outsider()

    def sharing(one: Swarm) -> Callable[[], list[int]]:
        return lambda: [*pids, os.getpid()] if (pids := one.pids().values()) else []

    lab.settled(sharing(swarm))
    its, noticed = set(outsider.partitions), outsider.rebalances
    assert swarm.terminate() == 0
    again = lab.swarm(*own, nodes=2)
    lab.settled(sharing(again))
    assert (outsider.partitions, outsider.rebalances) == (its, noticed)
    began = time.monotonic()
    again.scale(1)
    lab.settled(sharing(again))
    assert longest(lab.silences(began)) < SOON_S
    assert outsider.rebalances > noticed
    nothing_lost(lab)
