"""Single decisions of the pure core, each for a history that went wrong once."""

import contextlib
from typing import get_args

import pytest

from swarm_health import NodeStatistics, Status
from swarm_supervisor._core import messages as m
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._listeners import Listeners
from swarm_supervisor._loop import Loop
from swarm_supervisor._runner import Runner
from swarm_supervisor.events import (
    CrashLoop,
    NodeExited,
    NodeRestarting,
    NodeStopping,
    ReplacementAborted,
    ReplacementFinished,
)
from swarm_supervisor.settings import Settings
from swarm_supervisor.signals import SignalInbox
from tests.supervisor.script import Script


def test_scaling_down_to_nodes_that_are_done_ends_the_swarm():
    script = Script(2, restart="on-failure")
    script.boot(0)
    script.boot(1)
    script.exits(0, code=0)
    script.exits(1)
    assert script.main(1).state is State.BACKING_OFF
    assert script.do(m.Scale(1))[-1] == m.Finish(0)


@pytest.mark.parametrize("timeout", [60.0, 120.0, 3600.0])
def test_a_node_that_hangs_after_each_boot_is_never_stable(timeout):
    """What it hung for until it was noticed, and until it was dead, is no healthy time."""
    script = Script(node_report_timeout=timeout, max_restarts=5)
    for _ in range(5):
        script.boot()
        script.until(State.KILLING)
        script.exits(code=None, signal=9)
    assert [event.attempt for event in script.events(NodeRestarting)] == [1, 2, 3, 4, 5]
    assert len(script.events(CrashLoop)) == 1
    assert script.snapshot().state == "degraded"
    script.boot()
    script.do(m.Tick(), later=timeout - 1.0)  # healthy once, and silent since: it may be hung again
    assert script.snapshot().state == "degraded"


@pytest.mark.parametrize(
    ("status", "age"), [(Status.CONSUMING, "in_flight_age_s"), (Status.POLLING, "poll_age_s")]
)  # fmt: skip
def test_a_handler_that_hangs_for_its_whole_ttl_again_and_again_is_no_stable_node(status, age):
    """Its node beats for it until then. The batch that hung began with the life: no time was healthy."""
    script = Script(node_report_timeout=60.0, max_restarts=5)
    for _ in range(5):
        script.boot()
        for second in range(10, 301, 10):
            script.healthy(later=10.0)
            script.do(m.Reported(0, script.main().generation, statistics=NodeStatistics(**{age: float(second)})))
        script.do(m.Reported(0, script.main().generation, status, "300 s in a batch"))
        script.exits(code=4)
    assert [event.attempt for event in script.events(NodeRestarting)] == [1, 2, 3, 4, 5]
    assert len(script.events(CrashLoop)) == 1


@pytest.mark.parametrize(("status", "dumps"), [(Status.CONSUMING, 1), (Status.POLLING, 1), (Status.STABILITY, 0)])
def test_a_node_that_reports_a_hang_is_asked_for_its_stacks_while_it_drains(status, dumps):
    script = Script(1)
    script.boot()
    new = script.do(m.Reported(0, 1, status, "too long"))
    assert [type(each) for each in new if isinstance(each, m.Term | m.Dump)] == [m.Term, *[m.Dump] * dumps]
    script.do(m.StacksThere(0, 1))
    assert script.main().state is State.STOPPING


def test_a_hang_after_a_good_time_follows_a_stable_life():
    script = Script(node_report_timeout=60.0)
    for _ in range(3):
        script.boot()
        for _ in range(8):
            script.healthy(later=10.0)
        script.until(State.KILLING)
        script.exits(code=None, signal=9)
    assert [event.attempt for event in script.events(NodeRestarting)] == [1, 1, 1]


def test_the_time_of_a_drain_makes_nobody_stable():
    script = Script(stable_after=60.0)
    for _ in range(3):
        script.boot()
        script.do(m.Reported(0, script.main().generation, Status.MEMORY, "600 MB"), later=5.0)
        assert script.main().state is State.STOPPING
        script.exits(code=0, later=58.0)
    assert [event.attempt for event in script.events(NodeRestarting)] == [1, 2, 3]


def test_a_spare_that_cannot_be_forked_leaves_the_swarm_as_it_was():
    script = Script()
    script.boot()
    script.do(m.Restart("asked", 0))
    script.do(m.Tick())
    spare = script.fleet.members[0].spare
    script.do(m.ForkFailed(0, spare.generation, "Resource temporarily unavailable"))
    assert script.events(ReplacementAborted)
    assert (script.snapshot().state, script.snapshot().running) == ("running", 1)


def test_a_node_that_had_failed_for_good_and_runs_again_is_no_trouble():
    script = Script(2)
    script.boot(0)
    script.boot(1)
    script.exits(0, code=125)
    assert script.snapshot().state == "degraded"
    script.do(m.Restart("mended", 0))
    script.boot(0)
    assert script.snapshot().state == "running"


def test_a_node_that_is_done_after_crashes_is_no_crash_loop():
    script = Script(2, restart="on-failure", max_restarts=2)
    script.boot(1)
    for code in (1, 1, 0):
        script.boot(0)
        script.exits(0, code=code)
    assert script.events(CrashLoop)
    assert script.main(0).state is State.DEAD
    assert script.snapshot().state == "running"


def test_a_swarm_with_a_node_that_is_done_early_is_no_start_that_never_ends():
    script = Script(2, restart="never")
    script.boot(0)
    script.do(m.Tick())
    script.do(m.Forked(1, 1, 200))
    script.exits(1, code=0)
    assert script.snapshot().state == "running"


def test_a_node_that_is_scaled_away_gets_no_new_process():
    script = Script(2)
    script.boot(0)
    script.boot(1)
    spare = script.spare(1)
    script.do(m.Scale(1))
    script.exits(1, code=0)
    assert script.fleet.members[1].main.state is State.DEAD  # only its killed spare is left
    script.do(m.Restart("asked", 1))
    assert not [action for action in script.do(m.Tick()) if isinstance(action, m.Fork)]
    script.exits(1, code=None, signal=9, generation=spare)
    assert set(script.fleet.members) == {0}


@pytest.mark.parametrize(("code", "signal"), [(1, None), (None, 9), (0, None), (None, 15)])
def test_a_warm_spare_takes_over_at_once_however_the_old_process_ends(code, signal):
    script = Script(2)
    spare = script.warm_spare()
    before = len(script.actions)
    script.exits(0, code=code, signal=signal)
    orders = script.actions[before:]
    assert [action for action in orders if isinstance(action, m.Go | m.Kill | m.Fork)] == [m.Go(0, spare)]
    script.healthy(0)
    (finished,) = script.events(ReplacementFinished)
    assert finished.generation == spare
    counted = signal != 15
    assert script.fleet.members[0].history.row == counted


def test_a_warm_spare_does_not_hide_a_crash_loop():
    script = Script(2, max_restarts=2, on_crash_loop="exit")
    script.boot(0)
    script.exits(0)
    script.warm_spare()
    script.exits(0)
    assert script.events(CrashLoop)
    assert script.fleet.exit_code == 5


def test_a_spare_is_not_used_by_a_node_that_is_done():
    script = Script(2, restart="on-failure")
    spare = script.warm_spare()
    script.exits(0, code=0)
    assert script.main(0).state is State.DEAD
    assert m.Kill(0, spare) in script.actions
    assert m.Go(0, spare) not in script.actions


def recycle(script, node_id=0, reason="1,000 jobs"):
    script.do(m.Reported(node_id, script.main(node_id).generation, recycle=reason))


def test_a_node_that_wants_to_be_recycled_is_replaced_by_a_spare_and_no_crash_is_counted():
    script = Script(node_restart_delay=5.0, on_crash_loop="exit")
    for _ in range(20):
        script.boot() if script.main().state is State.BACKING_OFF else None
        script.healthy(later=10.0)
        recycle(script)
        script.do(m.Tick())
        spare = script.fleet.members[0].spare
        script.do(m.Forked(0, spare.generation, 900))
        script.do(m.Reported(0, spare.generation, ready=True))
        assert script.main().state is State.STOPPING
        script.exits(code=0)
        script.healthy()
    assert not script.events(CrashLoop)
    assert not script.events(NodeRestarting)
    assert script.fleet.members[0].history.row == 0
    reasons = {event.reason for event in script.events(NodeStopping)}
    assert reasons == {"recycled: 1,000 jobs"}


@pytest.mark.parametrize("restart", ["always", "on-failure", "never"])
def test_a_target_may_return_after_it_has_asked_to_be_recycled(restart):
    script = Script(restart=restart)
    script.boot()
    script.healthy(later=60.0)
    recycle(script)
    script.exits(code=0)
    (exited,) = script.events(NodeExited)
    assert exited.planned
    assert exited.reason == "recycled: 1,000 jobs"
    (restarting,) = [event for event in script.events(NodeRestarting) if event.generation == script.main().generation]
    assert (restarting.delay_s, restarting.attempt) == (0.0, 0)


def test_a_node_that_recycles_as_soon_as_it_has_come_waits_for_the_delay_and_is_no_crash_loop():
    script = Script(node_restart_delay=5.0, max_restarts=3, on_crash_loop="exit")
    for _ in range(10):
        script.boot()
        recycle(script)
        assert script.main().state is State.STOPPING
        script.exits(code=0)
        assert script.events(NodeRestarting)[-1].delay_s == 5.0
    assert script.fleet.members[0].history.row == 0


def test_a_crash_after_the_wish_to_be_recycled_is_a_crash():
    script = Script(2)
    script.boot(0)
    script.boot(1)
    script.healthy(0, later=10.0)
    recycle(script)
    assert script.main(0).cause is None  # it works on until its spare is ready
    script.exits(0, code=1)
    assert script.fleet.members[0].history.row == 1


def test_a_node_is_recycled_without_a_spare_where_none_can_be_had():
    script = Script()
    script.boot()
    script.healthy(later=60.0)
    recycle(script)
    script.do(m.Tick())
    script.do(m.ForkFailed(0, script.fleet.members[0].spare.generation, "EAGAIN"))
    assert script.main().state is State.STOPPING
    script.exits(code=0)
    assert script.fleet.members[0].history.row == 0


def test_no_more_nodes_are_recycled_at_a_time_than_may_be_down():
    script = Script(3, max_unavailable=1)
    for node_id in range(3):
        script.boot(node_id)
    for node_id in range(3):
        script.healthy(node_id, later=10.0)
        recycle(script, node_id)
    assert [member.spare is not None for member in script.fleet.members.values()] == [True, False, False]


def test_the_wish_of_a_node_that_boots_is_remembered():
    script = Script()
    script.do(m.Tick())
    script.do(m.Forked(0, 1, 77))
    recycle(script)
    assert script.main().state is State.BOOTING
    script.healthy()
    assert script.main().state is State.STOPPING


def test_the_unions_name_every_message_once_and_the_shell_carries_out_every_action():
    """A message that is in no union would be refused by nobody but mypy; an action without an entry ends the swarm."""
    happenings, actions = get_args(m.Happening), get_args(m.Action)
    messages = {
        value
        for value in vars(m).values()
        if isinstance(value, type) and value.__module__ == m.__name__ and value is not m.NodeAction
    }
    assert sorted(each.__name__ for each in (*happenings, *actions)) == sorted(each.__name__ for each in messages)
    with contextlib.closing(Loop()) as loop:
        runner = Runner(lambda node: 0, Settings(nodes=1), 1, Listeners(), loop, SignalInbox())
        assert set(runner._actions) == set(actions)
