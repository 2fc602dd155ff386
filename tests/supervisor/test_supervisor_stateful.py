"""Hypothesis drives the simulated machine: it looks for the shortest history that breaks a promise."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from swarm_supervisor._core import messages as m
from swarm_supervisor.settings import Settings

node_ids = st.integers(0, 5)


def machine(simulation):
    """The state machine over a simulation module."""

    class SwarmMachine(RuleBasedStateMachine):
        world = None

        @initialize(
            nodes=st.integers(1, 4),
            seed=st.integers(0, 2**16),
            delay=st.sampled_from([0.0, 5.0]),
            first=st.sampled_from([None, 0.0]),
            unavailable=st.integers(1, 3),
            restart=st.sampled_from(["always", "on-failure", "never"]),
            crash_loop=st.sampled_from(["degrade", "exit"]),
        )
        def begin(self, nodes, seed, delay, first, unavailable, restart, crash_loop):
            chosen = Settings(
                node_report_timeout=60.0,
                boot_timeout=30.0,
                max_unavailable=unavailable,
                node_restart_delay=delay,
                first_restart_delay=first,
                restart=restart,
                on_crash_loop=crash_loop,
            )
            # Faults come from the rules alone.
            self.world = simulation.World(chosen, nodes, seed, fault_every_s=1e12)

        def at_work(self, node_id):
            return self.world.auditor.at_work.get(node_id)

        def over(self):
            return self.world is None or self.world.auditor.finished is not None

        @rule(seconds=st.one_of(st.floats(0.0, 1.0), st.floats(1.0, 200.0)))
        def time_passes(self, seconds):
            self.world.run(self.world.now + seconds)

        @precondition(lambda self: not self.over())
        @rule(node_id=node_ids, how=st.sampled_from([(None, 9), (None, 15), (0, None), (1, None), (125, None)]))
        def dies(self, node_id, how):
            if (process := self.at_work(node_id)) is not None:
                self.world.end(process, *how)

        @precondition(lambda self: not self.over())
        @rule(node_id=node_ids)
        def spare_dies(self, node_id):
            if (process := self.world.auditor.spares.get(node_id)) is not None:
                self.world.end(process, 1)

        @precondition(lambda self: not self.over())
        @rule(node_id=node_ids, obeys=st.booleans(), dumps=st.booleans(), dies=st.booleans())
        def hangs(self, node_id, obeys, dumps, dies):
            if (process := self.at_work(node_id)) is not None:
                process.beats, process.obeys_term = False, obeys
                process.answers_dump, process.slow_to_die = dumps, not dies
                self.world._expect_notice(process)

        @precondition(lambda self: not self.over())
        @rule(node_id=node_ids, status=st.sampled_from([0, 1, 3, 3, 77]))
        def reports(self, node_id, status):
            if (process := self.at_work(node_id)) is not None:
                self.world.report(process, status)

        @precondition(lambda self: not self.over())
        @rule(node_id=node_ids)
        def leaves(self, node_id):
            if (process := self.at_work(node_id)) is not None:
                self.world._leaving(process)

        @precondition(lambda self: not self.over())
        @rule(node_id=st.one_of(st.none(), node_ids))
        def restart(self, node_id):
            if node_id is not None:
                self.world.auditor.not_before.pop(node_id, None)
            self.world.decide(m.Restart("rule", node_id))

        @precondition(lambda self: not self.over())
        @rule(nodes=st.integers(1, 6))
        def scale(self, nodes):
            self.world.scale(nodes)

        @precondition(lambda self: not self.over())
        @rule()
        def quiet(self):
            self.world.decide(m.QuietSwarm("rule"))

        @precondition(lambda self: not self.over())
        @rule()
        def supervisor_sleeps(self):
            self.world._sleep()

        @precondition(lambda self: not self.over())
        @rule()
        def listener_blocks(self):
            self.world._listener_blocks()

        @precondition(lambda self: not self.over())
        @rule()
        def stale_event(self):
            self.world._stale()

        @invariant()
        def deadlines_are_right(self):
            if not self.over():
                self.world.auditor.check_deadlines(self.world.fleet, self.world.now)

        def teardown(self):
            if not self.over():
                self.world.settle()
            if not self.over() and self.world.fleet.mode.value != "stopping":
                self.world.shut_down()

    return SwarmMachine


@pytest.mark.timeout(300)
def test_no_history_breaks_a_promise(simulation):
    run_state_machine_as_test(
        machine(simulation),
        settings=settings(
            max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
