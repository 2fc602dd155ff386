"""The pure core against a machine where everything goes wrong, for 100,000 simulated node-hours."""

import pytest

from swarm_supervisor.lifecycle import TABLE
from swarm_supervisor.settings import Settings

SHORT_RUNS = 3000
FAULTS = 1_000_000
NODE_HOURS = 100_000
FAULT_EVERY_S = 300.0
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
    faults, hours = 0, 0.0

    def play(world, story):
        nonlocal faults, hours
        try:
            story(world)
        except simulation.Violation as violation:
            raise AssertionError(f"{story.__name__}, seed {world.seed}, {world.now} s: {violation}") from violation
        faults += world.faults
        hours += world.node_seconds / 3600.0

    def short_story(world):
        world.interrupted()

    def long_story(world):
        while world.node_seconds < 260 * 3600.0 and world.auditor.finished is None:
            world.run(world.now + 3600.0)
            world.revive()
        world.settle()
        world.shut_down()

    for seed in range(SHORT_RUNS):
        play(simulation.World(settings_of(seed), 8, seed, table=table, fault_every_s=40.0), short_story)
    seed = 0
    while faults < FAULTS or hours < NODE_HOURS:
        play(simulation.World(settings_of(seed), 8, seed, table=table, fault_every_s=FAULT_EVERY_S), long_story)
        seed += 1
    rare = {
        f"{state.value}, {trigger.value}": table.entered[state, trigger]
        for state, trigger in TABLE
        if table.entered[state, trigger] < ENTRIES
    }
    assert rare == {}
    print(f"{faults} faults in {hours:.0f} node-hours, {SHORT_RUNS} short runs and {seed} long ones")
