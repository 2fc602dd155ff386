"""The pure core against a machine where everything goes wrong, for 100,000 simulated node-hours."""

import pytest

from swarm_supervisor.lifecycle import TABLE
from swarm_supervisor.settings import Settings

LONG_RUNS = 430
SHORT_RUNS = 1500
FAULTS = 1_000_000
NODE_HOURS = 100_000
ENTRIES = 100


def settings_of(seed):
    """Settings that differ between runs as those of real swarms do."""
    return Settings(
        node_report_timeout=(600.0, 60.0, 600.0, 300.0)[seed % 4],
        boot_timeout=(30.0, 60.0)[seed % 2],
        max_unavailable=1 + seed % 3,
        node_restart_delay=(5.0, 0.0, 1.0)[seed % 3],
        stable_after=(60.0, 0.0, 60.0, 10.0, 60.0)[seed % 5],
        shutdown_timeout=(60.0, 10.0, 60.0, 60.0, 1.0)[seed % 5],
        restart=("always", "always", "always", "on-failure", "always", "always", "never")[seed % 7],
    )


@pytest.mark.timeout(900)
def test_a_million_faults_in_a_hundred_thousand_node_hours(simulation):
    table = simulation.CountingTable()
    faults, seconds = 0, 0.0
    for seed in range(LONG_RUNS):
        world = simulation.World(settings_of(seed), 8, seed, table=table, fault_every_s=275.0)
        try:
            while world.node_seconds < 262 * 3600.0 and world.auditor.finished is None:
                world.run(world.now + 3600.0)
                world.revive()
            world.settle()
            world.shut_down()
        except simulation.Violation as violation:
            raise AssertionError(f"seed {seed}, {world.now} s: {violation}") from violation
        faults += world.faults
        seconds += world.node_seconds
    for seed in range(SHORT_RUNS):
        world = simulation.World(settings_of(seed), 8, seed, table=table, fault_every_s=40.0)
        try:
            world.interrupted()
        except simulation.Violation as violation:
            raise AssertionError(f"short seed {seed}, {world.now} s: {violation}") from violation
        faults += world.faults
        seconds += world.node_seconds
    assert faults >= FAULTS
    assert seconds / 3600.0 >= NODE_HOURS
    rare = {f"{state.value}, {trigger.value}": table.entered[state, trigger] for state, trigger in TABLE
            if table.entered[state, trigger] < ENTRIES}  # fmt: skip
    assert rare == {}
